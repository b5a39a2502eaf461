/** A NATS cluster of three nodes goes from 2.14 to the pinned release and back under a load, node after node, as charts/README.md tells it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type NatsBinary, natsOfRelease, pinnedNats } from "#operator/local/nats-binary.ts";
import type { NatsCluster, NatsNode } from "#test/kit/nats-cluster.ts";
import { until } from "#test/kit/until.ts";
import { assertOnlyOpenDoubled } from "./kit/audit.ts";
import { type ClusterScene, startClusterScene, throughFault } from "./kit/cluster-scene.ts";
import { formerNats } from "./kit/former-nats.ts";
import { longestGap } from "./kit/gaps.ts";
import type { Scene } from "./kit/scene.ts";

/** An election takes 4 to 9 s; clients and repeats add to it. */
const pauseMs = 15_000;
const copies = 3;

interface Step {
  readonly name: string;
  readonly from: number;
  readonly to: number;
}

/** One that does not lead the meta group, while there is one. */
async function nextOf(cluster: NatsCluster, left: ReadonlySet<NatsNode>): Promise<NatsNode> {
  const leader = await until("a leader of the meta group", () => cluster.metaLeader());
  const node = [...left].find((one) => one !== leader) ?? leader;
  assert.ok(left.size > 1 || node === leader, "the leader has stayed, to be the last");
  return node;
}

/** Each stream has been seen with all its copies current since: under a load a copy is behind for a moment now and then. */
async function allCurrent(cluster: NatsCluster, streams: Iterable<string>): Promise<void> {
  const waiting = new Set(streams);
  const look = async (): Promise<boolean> => {
    for (const [name, current] of await cluster.currentCopies()) if (current === copies) waiting.delete(name);
    return waiting.size === 0;
  };
  await cluster.healthy();
  await until("every stream to have three copies that are current", look, 60_000);
}

async function running({ cluster }: ClusterScene): Promise<Set<string | undefined>> {
  return new Set(await Promise.all(cluster.nodes.map((node) => node.version())));
}

function pids({ local }: Scene): Promise<(number | undefined)[]> {
  return Promise.all([0, 1].map((pod) => local.podPid(pod)));
}

/** Node after node ends and starts with the other program. */
async function roll(world: ClusterScene, { path, version }: NatsBinary): Promise<Step[]> {
  const { cluster } = world;
  const streams = new Set((await cluster.currentCopies()).keys());
  assert.ok(streams.size > 0);
  const steps: Step[] = [];
  const left = new Set(cluster.nodes);
  while (left.size > 0) {
    const node = await nextOf(cluster, left);
    const from = performance.now();
    await node.stop();
    await node.start(path);
    await allCurrent(cluster, streams);
    steps.push({ name: `${node.name} with ${version}`, from, to: performance.now() });
    left.delete(node);
  }
  assert.deepEqual(await running(world), new Set([version]));
  return steps;
}

test("from NATS 2.14 to the pinned one and back, the meta group's leader last: nothing lost or refused, no pod restarts", async (t) => {
  const former = await formerNats();
  const latest = await natsOfRelease(pinnedNats, { env: process.env });
  await using world = await startClusterScene({}, { binary: former.path });
  const { cluster, scene } = world;
  assert.deepEqual(await running(world), new Set([former.version]));
  const podsBefore = await pids(scene);
  const streams = (await cluster.currentCopies()).size;
  const steps: Step[] = [];
  const { audit, load, at } = await throughFault(t, world, async () => {
    for (const to of [latest, former]) steps.push(...(await roll(world, to)));
  });
  for (const { name, from, to } of steps) {
    const gap = Math.round(longestGap(load.accepted.values(), { from, to }));
    t.diagnostic(
      `${name}: after ${Math.round(to - from)} ms, of which nothing was accepted for ${gap} ms at a time`,
    );
    assert.ok(gap < pauseMs, `nothing accepted for ${gap} ms as ${name} came`);
  }
  assert.equal(load.refused.length, 0);
  assertOnlyOpenDoubled(t, audit, { at, bound: 0 });
  assert.deepEqual(await pids(scene), podsBefore, "pods go on through it");
  await until("each of as many streams as before to have three copies", async () => {
    const now = [...(await cluster.currentCopies()).values()];
    return now.length === streams && now.every((current) => current === copies);
  });
});
