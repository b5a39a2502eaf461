/** The faults that chaos knows: each strikes, lasts, and is over when what it did is undone. */
import { setTimeout as delay } from "node:timers/promises";
import type { NatsNode } from "#test/kit/nats-cluster.ts";
import { poolNames } from "#crds/wire/subject.ts";
import type { Arena } from "./arena.ts";
import { isLiving, pickPod, type PodVictim, signalLiving } from "./victims.ts";

/**
 * What a fault may cost. "kill", "freeze", "cut" = of that one pod, what it had open may come twice; "nats" = deletes wait meanwhile, so that
 * a pod's end costs more; "nats-kill" = deletes just acknowledged may be forgotten, too; "order" = nothing comes twice.
 */
type Cost = "kill" | "freeze" | "cut" | "nats" | "nats-kill" | "order";

interface Strike {
  readonly arena: Arena;
  readonly random: () => number;
  /** Said in the moment in which it hits; never when there was nobody to be hit. */
  hits(what: string, pod?: PodVictim): void;
}

export interface FaultKind {
  readonly name: string;
  readonly cost: Cost;
  /** Against the others of its lane. */
  readonly weight: number;
  /** A process of the product's is ended without warning. */
  readonly isKill?: boolean;
  strike(strike: Strike): Promise<void>;
}

const { shardStream } = poolNames("mail/shared");

/** Ends of pods, which come every few seconds whatever else is going on. */
export const podFaults: readonly FaultKind[] = [
  {
    name: "pod killed",
    cost: "kill",
    weight: 6,
    isKill: true,
    strike: async (strike) => signalPod(strike, "SIGKILL"),
  },
  { name: "pod stopped", cost: "order", weight: 1, strike: async (strike) => signalPod(strike, "SIGTERM") },
];

/** One at a time. */
export const otherFaults: readonly FaultKind[] = [
  {
    name: "pod frozen briefly",
    cost: "freeze",
    weight: 2,
    strike: (strike) => freezePod(strike, between(strike, 1000, 5000)),
  },
  {
    name: "pod frozen past its leases",
    cost: "freeze",
    weight: 1,
    strike: (strike) => freezePod(strike, between(strike, 17_000, 22_000)),
  },
  { name: "pod cut off from NATS", cost: "cut", weight: 3, strike: cutPod },
  {
    name: "NATS node killed",
    cost: "nats-kill",
    weight: 2,
    isKill: true,
    strike: (strike) => killNode(strike, pickNode(strike)),
  },
  { name: "NATS leader killed", cost: "nats-kill", weight: 3, isKill: true, strike: killLeader },
  { name: "NATS node restarted in order", cost: "nats", weight: 2, strike: restartNode },
  { name: "NATS node frozen", cost: "nats", weight: 2, strike: (strike) => freezeNodes(strike, 1) },
  { name: "NATS without a quorum", cost: "nats", weight: 1, strike: (strike) => freezeNodes(strike, 2) },
  { name: "all of NATS killed", cost: "nats-kill", weight: 1, isKill: true, strike: killAllNodes },
  { name: "full store", cost: "order", weight: 2, strike: fillStore },
  { name: "recipients' hosts slow", cost: "order", weight: 1, strike: slowSink },
  { name: "recipients' hosts hang up", cost: "order", weight: 1, strike: hangUp },
  { name: "pods 4, 2, 4", cost: "order", weight: 1, strike: scale },
];

function between({ random }: Strike, least: number, most: number): number {
  return least + random() * (most - least);
}

function pick<Item>({ random }: Strike, items: readonly Item[]): Item | undefined {
  return items[Math.floor(random() * items.length)];
}

async function signalPod(strike: Strike, name: NodeJS.Signals): Promise<void> {
  const pod = await pickPod(strike);
  if (pod !== undefined && signalLiving(pod.pid, name)) strike.hits(pod.name, pod);
}

async function freezePod(strike: Strike, ms: number): Promise<void> {
  const pod = await pickPod(strike);
  if (pod === undefined || !signalLiving(pod.pid, "SIGSTOP")) return;
  const { limits } = strike.arena;
  limits.frozen(pod.pid);
  strike.hits(`${pod.name} for ${Math.round(ms)} ms`, pod);
  await delay(ms);
  signalLiving(pod.pid, "SIGCONT");
  limits.thawed(pod.pid);
}

async function cutPod(strike: Strike): Promise<void> {
  const pod = await pickPod(strike);
  if (pod === undefined || !isLiving(pod.pid)) return;
  const ms = between(strike, 3000, 25_000);
  strike.arena.cluster.cutPod(pod.name);
  strike.hits(`${pod.name} for ${Math.round(ms)} ms`, pod);
  try {
    await delay(ms);
  } finally {
    strike.arena.cluster.mendPod(pod.name);
  }
}

function pickNode(strike: Strike): NatsNode | undefined {
  return pick(strike, strike.arena.cluster.nodes);
}

async function killNode(strike: Strike, node: NatsNode | undefined): Promise<void> {
  if (node === undefined || !node.isRunning()) return;
  const killed = node.kill();
  strike.hits(node.name);
  await killed;
  await delay(between(strike, 500, 10_000));
  await node.start();
  await strike.arena.cluster.healthy(healthyMs);
}

async function killLeader(strike: Strike): Promise<void> {
  await killNode(strike, await strike.arena.cluster.leaderOf(shardStream(Math.floor(strike.random() * 8))));
}

async function restartNode(strike: Strike): Promise<void> {
  const node = pickNode(strike);
  if (node === undefined) return;
  strike.hits(node.name);
  await node.leave();
  await node.start();
  await strike.arena.cluster.healthy(healthyMs);
}

async function freezeNodes(strike: Strike, count: number): Promise<void> {
  const first = Math.floor(strike.random() * 3);
  const { nodes } = strike.arena.cluster;
  const frozen = Array.from({ length: count }, (_, index) => nodes[(first + index) % nodes.length]);
  const ms = between(strike, 2000, count === 1 ? 15_000 : 8000);
  strike.hits(`${frozen.map((node) => node?.name).join(" and ")} for ${Math.round(ms)} ms`);
  for (const node of frozen) node?.freeze();
  await delay(ms);
  for (const node of frozen) node?.thaw();
  await strike.arena.cluster.healthy(healthyMs);
}

async function killAllNodes(strike: Strike): Promise<void> {
  const { cluster } = strike.arena;
  const killed = cluster.nodes.map((node) => node.kill());
  strike.hits("three nodes");
  await Promise.all(killed);
  await delay(between(strike, 200, 2000));
  await Promise.all(cluster.nodes.map((node) => node.start()));
  await cluster.healthy(healthyMs);
}

/** Holds one site's replies and sends large mail to it until clients are told that there is no room. */
async function fillStore(strike: Strike): Promise<void> {
  const { sink, fullPlace, fill } = strike.arena;
  sink.hold(fullPlace);
  const load = fill();
  const until = performance.now() + fillMs;
  while (!load.refused.some(({ code }) => code === 452) && performance.now() < until) await delay(100);
  strike.hits(`${load.accepted.size} accepted, ${load.refused.length} refused`);
  load.stop();
  sink.release(fullPlace);
  await load.done;
}

async function slowSink(strike: Strike): Promise<void> {
  const ms = Math.round(between(strike, 100, 1000));
  strike.hits(`${ms} ms for each reply`);
  strike.arena.sink.delay(ms);
  await delay(between(strike, 4000, 8000));
  strike.arena.sink.delay(0);
}

async function hangUp(strike: Strike): Promise<void> {
  strike.hits("all connections");
  strike.arena.sink.hangUp();
}

async function scale(strike: Strike): Promise<void> {
  const { arena } = strike;
  strike.hits("two stopped, two started");
  await arena.scale(2);
  await delay(between(strike, 4000, 8000));
  await arena.scale(arena.pods);
  await delay(2000);
}

const healthyMs = 90_000;
const fillMs = 25_000;
