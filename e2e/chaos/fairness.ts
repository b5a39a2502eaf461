/**
 * The scenario `fairness`: tenant A has queued a great many messages to one site of 200/s; B's ten to the same site leave within a second, also
 * while A is suspended, resumed, its shard handed on, its mail purged. On the way: what a queued entry costs its pod, how long a shard of that
 * many takes to index, how long a purge.
 */
import { randomUUID } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { availableParallelism, loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { connect } from "@nats-io/transport-node";
import { type Load, startLoad } from "#e2e/kit/load.ts";
import { podLogs } from "#e2e/kit/pod-logs.ts";
import { podStatuses } from "#e2e/kit/pod-status.ts";
import { type Sink, startSink } from "#e2e/kit/sink.ts";
import { createPoolQueue } from "#operator/streams/pool-queue.ts";
import { type LocalMode, startLocal } from "#test/kit/local.ts";
import { testPassword, testResources } from "#test/kit/local-resources.ts";
import { scrape, sumOf } from "#test/kit/scrape.ts";
import { until } from "#test/kit/until.ts";
import type { Outcome, ScenarioOptions } from "./scenario.ts";

export interface FairnessOptions extends ScenarioOptions {
  /** Of tenant A. */
  readonly messages: number;
}

const shards = 8;
const perSecond = 200;
const many = "mail/acme";
const few = { messages: 10, perSecond: 5 } as const;
const most = { ms: 1000, handOverMs: 5000, indexMs: 5000, bytesPerEntry: 150, purgeMs: 15_000 } as const;
/** Entries of a shard, up to which the bound on indexing is meant. */
const indexed = 200_000;
/** So long a pod is watched for what it holds once the garbage of its start is collected. */
const settleMs = 30_000;
const stepMs = 60_000;

interface Scene extends AsyncDisposable {
  readonly sink: Sink;
  readonly local: LocalMode;
  scale(pods: number): Promise<void>;
  /** Lines of the pods' logs about an event, oldest first. */
  logged(event: string): Promise<Record<string, unknown>[]>;
}

async function startScene(): Promise<Scene> {
  const sink = await startSink({ ports: 1 });
  const folder = await mkdtemp(join(tmpdir(), "mailboat-fairness-"));
  const resources = (replicas: number): string =>
    testResources({
      tenants: [{ name: "acme" }, { name: "small" }],
      replicas,
      shards,
      rules: [
        {
          name: "shared",
          match: { domains: ["shared.test"] },
          limits: { connections: 5, messagesPerConnection: 1000, messageRate: `${perSecond}/s` },
          routes: [{ host: "127.0.0.1", port: sink.ports[0] }],
        },
      ],
    });
  const close = async (): Promise<void> => {
    await sink[Symbol.asyncDispose]();
    await rm(folder, { recursive: true, force: true, maxRetries: 5 });
  };
  try {
    const local = await startLocal({ resources: resources(1), state: folder });
    return {
      sink,
      local,
      scale: (pods) => local.edit(resources(pods)),
      async logged(event) {
        return (await podLogs(folder))
          .flat()
          .filter((line) => line.includes(`"event":"${event}"`))
          .map((line) => JSON.parse(line) as Record<string, unknown>)
          .sort((a, b) => String(a["time"]).localeCompare(String(b["time"])));
      },
      async [Symbol.asyncDispose]() {
        await local[Symbol.asyncDispose]();
        await close();
      },
    };
  } catch (error) {
    await close();
    throw error;
  }
}

interface Sending {
  readonly prefix: string;
  readonly user: string;
  readonly messages: number;
  readonly connections: number;
  readonly perSecond?: number;
}

function send(local: LocalMode, sending: Sending): Load {
  return startLoad({
    ...sending,
    address: () => local.endpoints.smtp,
    bytes: 500,
    domains: ["shared.test"],
    password: testPassword,
    from: `news@${sending.user}.example`,
  });
}

const queuedIn = async (local: LocalMode): Promise<number> =>
  (await podStatuses(local)).reduce((sum, { queued }) => sum + queued, 0);

interface Held {
  readonly rss: number;
  /** JavaScript's heap in use, and what it holds outside. */
  readonly heap: number;
}

/** The least that the one pod holds within a while: what is garbage goes in between. */
async function leastHeld(local: LocalMode): Promise<Held> {
  const end = performance.now() + settleMs;
  const least = { rss: Infinity, heap: Infinity };
  await until(
    "a pod at rest",
    async () => {
      const samples = await scrape(local).catch(() => []);
      if (samples.length === 0) return false;
      const heap =
        sumOf(samples, "nodejs_heap_size_used_bytes") + sumOf(samples, "nodejs_external_memory_bytes");
      least.rss = Math.min(least.rss, sumOf(samples, "process_resident_memory_bytes"));
      least.heap = Math.min(least.heap, heap);
      return performance.now() > end;
    },
    settleMs + stepMs,
  );
  return least;
}

/** Another process in the one pod's place, once it owns and has indexed all; answers how long the largest shard took to index, ms. */
async function restarted({ local, logged }: Scene, entries: number): Promise<number> {
  const before = (await logged("shard indexed")).length;
  await local.kill(0);
  const lines = await until(
    "all shards to be indexed again",
    async () => {
      const now = (await logged("shard indexed")).slice(before);
      const isAll = now.length >= shards && now.some(({ count }) => Number(count) >= entries);
      return isAll && (await queuedIn(local)) >= entries && now;
    },
    300_000,
  );
  return Math.max(...lines.map(({ ms }) => Number(ms)));
}

/** B's ten: how long each took from its 250 to the sink, ascending. */
async function sendFew({ local, sink }: Scene, prefix: string): Promise<number[]> {
  const load = send(local, { prefix, user: "small", connections: 1, ...few });
  await load.done;
  const delays = (): number[] =>
    [...load.accepted].flatMap(([id, at]) => {
      const arrival = sink.arrivals.get(id);
      return arrival === undefined ? [] : [Math.max(0, Math.round(arrival.firstAt - at))];
    });
  await until("its ten", () => delays().length === few.messages, stepMs);
  return delays().sort((a, b) => a - b);
}

const orderMs = 10_000;
const maxOrders = 10;

/** Purges what A has queued, as for a tenant that is deleted; answers how long that took, ms. */
async function purge({ local }: Scene, isGone: () => Promise<boolean>): Promise<number> {
  const connection = await connect({ servers: (await local.read()).nats });
  const startedAt = performance.now();
  try {
    const queue = createPoolQueue({
      pool: "mail/shared",
      shards,
      link: {
        connection: () => connection,
        whenTried: async () => {},
        trouble: () => "",
        close: async () => {},
      },
      newJob: randomUUID,
      after(ms, run) {
        const timer = setTimeout(run, ms);
        return () => clearTimeout(timer);
      },
    });
    // A shard that changes hands just then is with nobody who was asked: said again, as the operator does.
    for (let orders = 0; orders < maxOrders; orders++) {
      if (!(await queue.discard(many))) throw new Error("no pod took the order to purge");
      const isOver = await until("what was queued to be gone", isGone, orderMs).catch(() => false);
      if (isOver) return performance.now() - startedAt;
    }
    throw new Error(`what was queued is not gone after ${maxOrders} orders`);
  } finally {
    await connection.close();
  }
}

/** The pod that has the site's mail is killed while B's ten are sent. */
async function acrossHandOver(scene: Scene): Promise<number[]> {
  const { local } = scene;
  const owner = (await podStatuses(local)).toSorted((a, b) => b.queued - a.queued)[0]?.pod ?? "";
  const pid = (await local.read()).pids.pods[owner];
  const sent = sendFew(scene, "moved");
  if (pid !== undefined) process.kill(pid, "SIGKILL");
  return sent;
}

export async function fairness({ messages, log }: FairnessOptions): Promise<Outcome> {
  await using scene = await startScene();
  const { local, sink } = scene;
  const wrong: string[] = [];
  const lines: string[] = [];
  const figures: Record<string, unknown> = { messages };
  const say = (line: string): void => {
    lines.push(line);
    log(line);
  };
  const check = (isGood: boolean, line: string): void => {
    say(line);
    if (!isGood) wrong.push(line);
  };
  const tell = (when: string, delays: readonly number[], boundMs: number = most.ms): void => {
    // Of ten, the 95th percentile is the slowest.
    figures[when] = delays;
    check(
      (delays.at(-1) ?? Infinity) < boundMs,
      `B's ten ${when}: at most ${delays.at(-1)} ms (${delays.join(", ")})`,
    );
  };

  await restarted(scene, 0);
  const empty = await leastHeld(local);
  await local.admin("/v1/queue/suspend", { tenant: many });
  const startedAt = performance.now();
  const load = send(local, { prefix: "many", user: "acme", messages, connections: 24 });
  const progress = setInterval(() => log(`${load.accepted.size} accepted`), 10_000);
  await load.done.finally(() => clearInterval(progress));
  const took = (performance.now() - startedAt) / 1000;
  say(`A: ${load.accepted.size} accepted in ${Math.round(took)} s, queued behind a suspension`);
  const indexMs = await restarted(scene, messages);
  figures["indexMs"] = indexMs;
  check(
    indexMs < most.indexMs * Math.max(1, messages / indexed),
    `a shard of ${messages} entries indexed in ${indexMs} ms after a kill -9 (${((1000 * indexMs) / messages).toFixed(1)} µs each)`,
  );
  const full = await leastHeld(local);
  const bytes = Math.round((full.heap - empty.heap) / messages);
  const rssBytes = Math.round((full.rss - empty.rss) / messages);
  Object.assign(figures, { bytes, rssBytes });
  check(
    // Of few entries it says more about the pod than about them.
    messages < indexed || bytes < most.bytesPerEntry,
    `${bytes} bytes of a pod's heap per queued entry (resident: ${rssBytes})`,
  );

  await scene.scale(2);
  await until(
    "two pods",
    async () => {
      const all = await podStatuses(local);
      return all.length === 2 && all.every((one) => one.shards.length === shards / 2);
    },
    stepMs,
  );
  tell("with A suspended", await sendFew(scene, "suspended"));
  await local.admin("/v1/queue/resume", { tenant: many });
  const manyArrived = (): number => [...sink.arrivals.keys()].filter((id) => id.startsWith("many")).length;
  await until("A's to flow", () => manyArrived() > perSecond, stepMs);
  tell("behind A's", await sendFew(scene, "behind"));
  await local.admin("/v1/queue/suspend", { tenant: many });
  await local.admin("/v1/queue/resume", { tenant: many });
  tell("with A resumed", await sendFew(scene, "resumed"));
  tell("across a hand-over", await acrossHandOver(scene), most.handOverMs);
  // What the new owner costs others while it reads its index belongs to the hand-over.
  tell("right after it", await sendFew(scene, "taken"), most.handOverMs);
  await until(
    "the new owner to have read its index",
    async () => (await queuedIn(local)) > 0.99 * messages - manyArrived(),
    stepMs,
  );
  const left = await queuedIn(local);
  const before = manyArrived();
  const during = sendFew(scene, "purged");
  const purgeMs = await purge(
    scene,
    async () => (await podStatuses(local)).length === 2 && (await queuedIn(local)) < 100,
  );
  figures["purgeMs"] = purgeMs;
  check(
    purgeMs < most.purgeMs,
    `${left} of A's purged in ${(purgeMs / 1000).toFixed(1)} s (${manyArrived() - before} were sent meanwhile)`,
  );
  tell("while A is purged", await during);
  tell("afterwards", await sendFew(scene, "after"));
  say(`the machine's load was ${loadavg()[1]?.toFixed(0)} on ${availableParallelism()} processors`);
  const doubled = [...sink.arrivals.values()].filter(({ count }) => count > 1).length;
  figures["doubled"] = doubled;
  check(doubled <= 5, `doubled ${doubled} (at most 5 were open at the kill)`);
  return {
    lines: [...lines, ""],
    figures,
    shown: `${messages} queued of one tenant delay no other's mail, cost ${bytes} bytes each, and are gone in ${(purgeMs / 1000).toFixed(1)} s`,
    wrong,
  };
}
