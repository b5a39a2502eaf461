/** CORRIDOR: both sides of the hand-over of shards, wired to the rooms of this pod; heartbeats tell what may be left of it. */
import { isGuestSite, placeOf, shardOf, sliceIn } from "#crds/wire/subject.ts";
import type { Deliver } from "./deliver.ts";
import { connectionsMs, createFormer, type Former } from "./former-owners.ts";
import { createLeaving, type Leaving, type LeftOver } from "./hand-over.ts";
import type { FormerOwner } from "./hand-over-record.ts";
import { guestQuestion } from "./guest-protocol.ts";
import { createGuests, type Guests } from "./guests.ts";
import type { Outbound } from "./outbound.ts";
import type { Parents } from "./parents.ts";
import type { Pod } from "./pod.ts";
import type { Poison } from "./poison.ts";
import type { Shards } from "./shards.ts";
import type { Slicing } from "./slicing.ts";
import type { Identity } from "./spool/lease-record.ts";
import type { Peers } from "./spool/peers.ts";

export interface TransfersDeps {
  readonly pod: Pod;
  readonly shardCount: number;
  readonly peers: Peers;
  readonly deliver: Deliver;
  readonly parents: Parents;
  readonly poison: Pick<Poison, "suspicion">;
  readonly shards: Shards;
  readonly outbound: Outbound;
  readonly slicing: Pick<Slicing, "told" | "guestsAt" | "changedAt">;
}

export interface Transfers {
  readonly leaving: Leaving;
  readonly former: Former;
  readonly guests: Guests;
  /** Answers a successor. @throws Error for a question that is not about hand-over */
  answer(kind: string, query: unknown): Promise<object>;
  stop(): void;
  /** For the heartbeat: what a successor that nobody told anything has to go by. */
  told(): {
    readonly open: LeftOver["open"];
    readonly underWay: readonly (readonly [shard: number, count: number])[];
    readonly slices: ReturnType<Slicing["told"]>;
    readonly guests: readonly number[];
  };
}

const askMs = 400;
/** A heartbeat is small; beyond these, and their bytes, a successor that nobody told counts on the connection limit alone. */
const reportedSites = 500;
/** Of JSON; the rest of a heartbeat is less than what is then left of its bound (`spool/heartbeat.ts`). */
const reportedBytes = 48 * 1024;

export function createTransfers(deps: TransfersDeps): Transfers {
  const { pod, peers, deliver, outbound } = deps;
  const { scheduler, clock } = pod;
  const shardOfSite = (site: string): number => shardOf(site, deps.shardCount);
  const leaving = createLeaving({
    scheduler,
    clock,
    inFlight: (shard) => deliver.inFlight(shard).union(new Set(deps.parents.sequences(shard))),
    shardOf: shardOfSite,
    retire: deps.shards.retire,
    closeIdle: outbound.closeIdle,
    abandon: outbound.abandon,
    untoldSince: (shard): number | undefined => former.untoldSince(shard),
    suspicion: deps.poison.suspicion,
    former: (shard): readonly FormerOwner[] => [...former.leftBy(shard), ...guests.of(shard)],
  });
  const isSelf = ({ pod: name, incarnation }: Identity): boolean =>
    name === pod.name && incarnation === pod.incarnation;
  /** Those that `successor` let in itself it knows. */
  const guestsAt = (shard: number, successor: string): LeftOver["open"] =>
    outbound.guests(successor).filter(([site]) => shardOfSite(site) === shard);
  const former = createFormer({
    scheduler,
    clock,
    log: pod.log,
    shardOf: shardOfSite,
    sources: () => pod.config().manifest.egress.sources.map(({ name }) => name),
    isSelf,
    isDead: (owner) => pod.ownership.ended.isDead(owner),
    lastReported: (owner) => openIn(pod.ownership.ended.lastPayload(owner)?.["open"]),
    hadGuests: (owner, shard) => {
      const shards = pod.ownership.ended.lastPayload(owner)?.["guests"];
      return Array.isArray(shards) && shards.includes(shard);
    },
    vanished: (owner, shard) =>
      pod.metrics.possibleDuplicates.inc(
        {},
        underWayIn(pod.ownership.ended.lastPayload(owner)?.["underWay"], shard),
      ),
    // One may be silent since the bucket takes no heartbeats, and still answer.
    all: () => [
      { pod: pod.name, incarnation: pod.incarnation },
      ...pod.ownership.ended.perhapsAlive(clock.monotonic(), connectionsMs),
    ],
    async ask(owner, shard) {
      // What it owns is no leftover.
      if (isSelf(owner))
        return { incarnation: pod.incarnation, inFlight: [], open: guestsAt(shard, pod.incarnation) };
      const query = { shard, successor: pod.incarnation };
      const said = await peers.askPod(owner.pod, "left-over", { query, timeoutMs: askMs });
      return leftOverIn(said);
    },
    pump: deliver.pump,
  });
  const guests = createGuests({
    pod,
    shardOf: shardOfSite,
    mayBegin: (shard) =>
      deps.shards.owns(shard) &&
      !leaving.isLeaving(shard) &&
      former.askingMs(shard) === 0 &&
      pod.ownership.mayProceed(shard),
    met: former.met,
    roomAt: deps.slicing.guestsAt,
    spent(site) {
      const at = deps.slicing.changedAt({ name: sliceIn(placeOf(site)).whole });
      if (at !== undefined) former.spent(site, at);
    },
    pump: deliver.pump,
  });
  return {
    leaving,
    former,
    guests,
    stop() {
      former.stop();
      guests.stop();
    },
    async answer(kind, query) {
      if (kind === guestQuestion) return guests.answer(query);
      if (kind !== "left-over") throw new Error(`Cannot answer "${kind}": this release does not know it`);
      const { shard, successor = "" } = query as { shard: number; successor?: string };
      const { inFlight, open } = leaving.leftOver(shard);
      // Guests are told of by the pod that has them.
      const own = open.filter(([site]) => !isGuestSite(site));
      return { incarnation: pod.incarnation, inFlight, open: [...own, ...guestsAt(shard, successor)] };
    },
    told() {
      const open = [...outbound.guests()];
      for (const site of scheduler.sites())
        for (const spent of scheduler.snapshot(site)?.sources ?? [])
          if (spent.open > 0 && !isGuestSite(site)) open.push([site, spent.source, spent.open]);
      return {
        // Of the busiest sites.
        open: fitting(open.sort((a, b) => b[2] - a[2]).slice(0, reportedSites)),
        underWay: pod.ownership.ownedShards().map((shard) => [shard, deliver.inFlight(shard).size] as const),
        slices: deps.slicing.told(),
        guests: [...new Set([...guests.told(), ...former.guestShards()])],
      };
    },
  };
}

/** The first ones, whose JSON is short enough. */
function fitting(open: LeftOver["open"]): LeftOver["open"] {
  let bytes = 2;
  const end = open.findIndex((row) => {
    bytes += Buffer.byteLength(JSON.stringify(row)) + 1;
    return bytes > reportedBytes;
  });
  return end < 0 ? open : open.slice(0, end);
}

function openIn(value: unknown): LeftOver["open"] {
  if (!Array.isArray(value)) return [];
  return value.flatMap((one: unknown) => {
    if (!Array.isArray(one)) return [];
    const [site, source, count] = one as unknown[];
    return typeof site === "string" && typeof source === "string" && typeof count === "number"
      ? [[site, source, count] as const]
      : [];
  });
}

/** What the last heartbeat said of the shard, 0 = nothing. */
function underWayIn(value: unknown, shard: number): number {
  if (!Array.isArray(value)) return 0;
  const found: unknown = value.find((one: unknown) => Array.isArray(one) && one[0] === shard);
  const count: unknown = Array.isArray(found) ? found[1] : 0;
  return typeof count === "number" && count > 0 ? count : 0;
}

function leftOverIn(value: unknown): (LeftOver & { incarnation: string }) | undefined {
  if (typeof value !== "object" || value === null) return undefined;
  const { incarnation, inFlight, open } = value as Record<string, unknown>;
  if (typeof incarnation !== "string" || !Array.isArray(inFlight)) return undefined;
  return {
    incarnation,
    inFlight: inFlight.filter((seq) => typeof seq === "number"),
    open: openIn(open),
  };
}
