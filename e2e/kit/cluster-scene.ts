/** A scene on a NATS cluster of three nodes, and a load through a fault of it: what came of each id, and how long nothing went. */
import assert from "node:assert/strict";
import type { TestContext } from "node:test";
import { type ClusterOptions, type NatsCluster, startNatsCluster } from "#test/kit/nats-cluster.ts";
import { until } from "#test/kit/until.ts";
import { type Audit, assertNoneLost } from "./audit.ts";
import { longestGap } from "./gaps.ts";
import type { Load } from "./load.ts";
import { type Scene, type SceneOptions, startScene } from "./scene.ts";

export interface ClusterScene extends AsyncDisposable {
  readonly cluster: NatsCluster;
  readonly scene: Scene;
}

export async function startClusterScene(
  options: SceneOptions = {},
  nodes: ClusterOptions = {},
): Promise<ClusterScene> {
  const cluster = await startNatsCluster(nodes);
  const scene = await startScene({ ...options, nats: cluster.urls }).catch(async (error: unknown) => {
    await cluster[Symbol.asyncDispose]();
    throw error;
  });
  return {
    cluster,
    scene,
    async [Symbol.asyncDispose]() {
      await scene[Symbol.asyncDispose]();
      await cluster[Symbol.asyncDispose]();
    },
  };
}

export interface FaultReport {
  readonly audit: Audit;
  readonly load: Load;
  /** `performance.now()` at the start of the fault. */
  readonly at: number;
  /** From the fault on: the longest time in which nothing was accepted, and nothing arrived; ms. */
  readonly acceptGap: number;
  readonly arrivalGap: number;
}

const perSecond = 150;
/** Enough that those who wait for a shard without a leader leave some to the others. */
const connections = 64;

/** A load runs before, through and after `fault`; ends when all that was accepted has arrived. Asserts that none is lost. */
export async function throughFault(
  t: TestContext,
  { scene }: ClusterScene,
  fault: () => Promise<unknown>,
): Promise<FaultReport> {
  const load = scene.load({ messages: Infinity, perSecond, connections, bytes: 2000 });
  const more = (count: number, boundMs: number): Promise<unknown> => {
    const goal = load.accepted.size + count;
    return until(`${count} more to be accepted`, () => load.accepted.size >= goal, boundMs);
  };
  let at: number;
  try {
    await more(2 * perSecond, 30_000);
    at = performance.now();
    await fault();
    await more(2 * perSecond, 60_000);
  } finally {
    load.stop();
  }
  await load.done;
  await scene.drained([load], 90_000);
  const audit = assertNoneLost(t, [load], scene.sink);
  const end = Math.max(...load.accepted.values());
  const acceptGap = longestGap(load.accepted.values(), { from: at, to: end });
  const arrived = [...scene.sink.arrivals.values()].map(({ firstAt }) => firstAt);
  const arrivalGap = longestGap(arrived, { from: at, to: end });
  t.diagnostic(
    `longest time in which nothing was accepted ${Math.round(acceptGap)} ms, nothing arrived ${Math.round(arrivalGap)} ms; longest wait for a 250 ${Math.round(load.longestMs())} ms; ${audit.doubled.length} doubled`,
  );
  assert.equal(load.lostConnections(), 0, "no session is lost");
  return { audit, load, at, acceptGap, arrivalGap };
}
