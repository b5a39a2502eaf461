/**
 * CORRIDOR: index → schedule → attempt → settle. Owns the loop that asks the scheduler what to do next, fetches what is
 * not in memory, and knows what is in flight per shard. An entry ends deleted, deferred, moved, or another owner's.
 */
import type { Envelope } from "#crds/wire/envelope.ts";
import { idHashOf, type StateRecord } from "#crds/wire/state-record.ts";
import { parentSite } from "#crds/wire/subject.ts";
import type { Attempts } from "./attempt.ts";
import { createHandling } from "./handling.ts";
import type { HotBodies } from "./hot-bodies.ts";
import type { StoredAt } from "./intake.ts";
import { createInFlight } from "./in-flight.ts";
import { createLoad, isLoaded, isMoving, type Loaded } from "./load.ts";
import type { Parents } from "./parents.ts";
import type { Poison } from "./poison.ts";
import type { Pod } from "./pod.ts";
import { createQueuedActs } from "./queued-acts.ts";
import type { Repeats } from "./repeats.ts";
import { createSettleWithout, parkedAt, type Settling } from "./without-attempt.ts";
import type { Dispatch, Entry, Lane, SiteConfig } from "./schedule/types.ts";
import { expire } from "./settle/decide.ts";
import type { Settlement } from "./settlement.ts";
import { type Sites, untried } from "./sites.ts";
import { domainOf } from "./smtp/address.ts";

const inFlightBounds = { entries: 5000, bytes: 256 * 1024 * 1024 } as const;
/** A site that has its share of what may be under way looks again so much later. */
const crowdedMs = 100;
const unavailableRetryMs = 2000;
const unsureLookMs = 100;

export interface DeliverDeps {
  readonly pod: Pod;
  readonly attempts: Attempts;
  readonly sites: Sites;
  readonly settlement: Settlement;
  readonly repeats: Repeats;
  /** Of a parent entry the children are published, then it is deleted. */
  readonly parents: Pick<Parents, "split" | "drop">;
  leaseSeqOf(shard: number): number;
  /** False while its shard is handed over, or while the shard's former owner still has it under way. */
  mayBegin(entry: Entry): boolean;
  /** Pods are being asked what they have of the shard under way: so much later it may be known, 0 = it is. */
  askingMs(shard: number): number;
  /** A connection of another pod's may be made to a host of ours. */
  admitted(handle: number): void;
  /** It is suspended by its id or a recipient's domain: so long it is put aside, 0 = it is not. */
  holdMs(handle: number, envelope: Envelope, open: readonly number[]): number;
  readonly hot: HotBodies;
  readonly poison: Poison;
  /** The stored entry is not the indexed one: read the shard again from nothing. */
  reindex(shard: number): void;
}

export type Deliver = ReturnType<typeof createDeliver>;

export function createDeliver(deps: DeliverDeps) {
  const { pod, attempts, sites, settlement, hot, poison, repeats } = deps;
  const { scheduler, clock } = pod;
  const load = createLoad(pod, deps.leaseSeqOf);
  /** A shard that is indexed again must not start what is still on its way. */
  const inFlight = createInFlight(inFlightBounds);
  let pumping = false;
  let timer: NodeJS.Timeout | undefined;
  /** Monotonic. */
  let wakesAt = Infinity;
  let stopped = false;

  /** One that runs and comes first is left, and looks again: that costs less than a timer for each message. */
  const wakeIn = (ms: number): void => {
    const at = clock.monotonic() + ms;
    if (at >= wakesAt) return;
    clearTimeout(timer);
    wakesAt = at;
    timer = setTimeout(() => {
      wakesAt = Infinity;
      pump();
    }, ms);
  };

  const pump = (): void => {
    if (pumping || stopped) return;
    pumping = true;
    try {
      while (inFlight.hasRoom()) {
        const step = scheduler.next(clock.now());
        if (step.kind === "dispatch") begin(step.dispatch);
        else if (step.kind === "expire") beginExpiry(step);
        else if (step.kind === "yield") attempts.yieldIdle(step);
        else if (step.kind === "admit") deps.admitted(step.handle);
        else {
          if (step.kind === "sleep") wakeIn(Math.min(Math.ceil(step.ms), 60_000));
          break;
        }
      }
    } finally {
      pumping = false;
    }
  };

  const hold = (entry: Entry, { site }: Lane): (() => void) => {
    const release = inFlight.begin(entry, site);
    return () => {
      release();
      if (!pumping) pump();
    };
  };

  /** `isUnspent`: it costs others nothing of what rates allow. */
  const postpone = (dispatch: Dispatch, ms: number, isUnspent = false): void => {
    const { handle, entry } = dispatch;
    const result = { ...untried(dispatch), isUnspent };
    scheduler.defer(handle, clock.now() + ms, entry.attempt, clock.now());
    scheduler.finish(handle, result, clock.now());
  };

  /** The entry goes back to the head of its lane, and its site waits. */
  const holdSite = (dispatch: Dispatch, config: SiteConfig): void => {
    const now = clock.now();
    scheduler.setSite(dispatch.lane.site, config, now);
    scheduler.requeue(dispatch.handle, now);
    scheduler.finish(dispatch.handle, untried(dispatch), now);
  };

  const { start, failed } = createHandling({ pod, poison, attempts, postpone });

  const attempt = (dispatch: Dispatch, loaded: Loaded, ended: () => void): void => {
    const { envelope, subject } = loaded;
    const finish = (): void => scheduler.finish(dispatch.handle, untried(dispatch), clock.now());
    // Not known yet when it was indexed, if its first copy was still under way.
    if (repeats.isRepeat(envelope)) {
      const { shard, seq } = dispatch.entry;
      finish();
      return repeats.drop({ shard, seq, subject }, envelope, () => {
        scheduler.settle(dispatch.handle);
        ended();
      });
    }
    if (isMoving(loaded)) {
      finish();
      return sites.goOn(dispatch, loaded, ended);
    }
    if (sites.sortIn(dispatch, envelope)) return ended();
    const holdMs = deps.holdMs(dispatch.handle, envelope, loaded.open);
    if (holdMs > 0) {
      postpone(dispatch, holdMs, true);
      return ended();
    }
    return start(dispatch, loaded, ended);
  };

  /** What was received long ago may have been settled then: so much later it may be known. */
  const unsureMs = ({ receivedAt }: Entry): number => (pod.settledLog.covers(receivedAt) ? 0 : unsureLookMs);

  const begin = (dispatch: Dispatch): void => {
    if (inFlight.has(dispatch.entry) || !deps.mayBegin(dispatch.entry))
      return postpone(dispatch, unavailableRetryMs);
    // What is delivered cannot be deleted just now: sending on would only make more that may come twice.
    const { shard, attempt: made } = dispatch.entry;
    const stallMs = pod.deletes.stallMs(shard) || unsureMs(dispatch.entry) || deps.askingMs(shard);
    if (stallMs > 0) return holdSite(dispatch, { retryAt: clock.now() + stallMs });
    if (!inFlight.hasRoomFor(dispatch.lane.site, dispatch.entry.size))
      return holdSite(dispatch, { crowdedUntil: clock.now() + crowdedMs });
    const ended = hold(dispatch.entry, dispatch.lane);
    const held = hot.take(dispatch.handle);
    if (held !== undefined && made === 0) {
      const open = held.envelope.to.map((_, index) => index);
      return attempt(
        dispatch,
        { ...held, open, stateSeq: 0, leaseSeq: deps.leaseSeqOf(shard), last: "", started: 0 },
        ended,
      );
    }
    const retryLater = (ms: number) => {
      postpone(dispatch, ms);
      ended();
    };
    void load(dispatch.entry, poison.isSuspect(dispatch)).then((loaded) => {
      if (isLoaded(loaded)) return attempt(dispatch, loaded, ended);
      if (loaded === "unavailable") return retryLater(unavailableRetryMs);
      if (typeof loaded === "object")
        return failed(dispatch, loaded, { error: loaded.damaged, isAnswered: false, ended });
      scheduler.finish(dispatch.handle, untried(dispatch), clock.now());
      scheduler.settle(dispatch.handle);
      if (loaded === "changed") deps.reindex(shard);
      return ended();
    });
    return undefined;
  };

  const settleWithout = createSettleWithout({ hot, sites, settlement });

  /** Of its own hosts, where its site has others as well. */
  const troubleOf = (recipient: string, { site }: Lane): string =>
    sites.troubleOf(domainOf(recipient)) || sites.troubleOf(site);

  const beginExpiry = (step: { handle: number; entry: Entry; lane: Lane }): void => {
    if (inFlight.has(step.entry) || !deps.mayBegin(step.entry)) {
      scheduler.defer(step.handle, clock.now() + unavailableRetryMs, step.entry.attempt, clock.now());
      return;
    }
    const ended = hold(step.entry, step.lane);
    const { handle, entry } = step;
    void load(entry).then((loaded) => {
      if (!isLoaded(loaded)) {
        if (loaded === "gone" || loaded === "changed") scheduler.settle(handle);
        else if (typeof loaded === "object") {
          scheduler.settle(handle);
          return poison.park(entry, { envelope: loaded.envelope, reason: loaded.damaged }, ended);
        } else scheduler.defer(handle, clock.now() + unavailableRetryMs, entry.attempt, clock.now());
        return ended();
      }
      const { open, envelope, last } = loaded;
      // What is stored of it elsewhere expires there.
      if (isMoving(loaded)) return sites.goOn(step, loaded, ended);
      const decision = expire({
        open,
        from: envelope.from,
        last: last || troubleOf(envelope.to[open[0] ?? 0] ?? "", step.lane),
      });
      settleWithout(step, { loaded, decision }, ended);
      return undefined;
    });
  };

  return {
    pump,
    /** The handling of an entry threw. */
    failed,
    /** Indexes one stored entry; `state` is its record when it was deferred before. */
    add(at: StoredAt, envelope: Envelope, known: Known): void {
      const { shard, seq } = at;
      const isParent = envelope.site === parentSite;
      // What was stored here just now is new; if it is not, that shows before it is sent, and a parent is not sent.
      if ((known.body === undefined || isParent) && repeats.isRepeat(envelope))
        return repeats.drop(at, envelope, () => {});
      const idHash = idHashOf(envelope.id);
      const stored = known.state?.idHash === idHash ? known.state : undefined;
      const verdict = poison.verdict(shard, seq, stored);
      if (verdict === "parked")
        return poison.keep({ shard, seq, id: envelope.id, envelope, reason: stored?.last ?? "" });
      if (isParent && verdict === "fine") return deps.parents.split(shard, seq, envelope);
      const entry: Entry = {
        shard,
        seq,
        idHash,
        size: envelope.size,
        // Of mail for later that was tried before: it did not wait until its time came.
        receivedAt: Math.max(envelope.receivedAt, envelope.sendAt <= clock.now() ? envelope.sendAt : 0),
        sendAt: envelope.sendAt,
        expiresAt: envelope.expiresAt,
        due: stored?.due ?? envelope.due,
        attempt: stored?.attempt ?? envelope.attempt,
      };
      if (verdict === "deadly") {
        const reason = "its pod died with it again and again";
        const open = stored?.moving === undefined ? stored?.open : undefined;
        return poison.park(entry, { envelope, open, reason }, () => {});
      }
      const handle = scheduler.add(sites.laneOf(envelope), entry, clock.now());
      // What is still under way, here or with an owner before, may come to be stored anew or be gone: then it has to be read again.
      const isFree = (): boolean => !inFlight.has(entry) && deps.mayBegin(entry);
      if (known.body !== undefined && entry.attempt === 0 && entry.due === 0 && isFree())
        hot.put(handle, { envelope, body: known.body, subject: at.subject, since: clock.monotonic() });
      return undefined;
    },
    ...createQueuedActs({
      pod,
      load,
      hold,
      isFree: (entry) => !inFlight.has(entry) && deps.mayBegin(entry),
      settleWithout,
    }),
    settleParked: (at: Pick<Entry, "shard" | "seq">, what: Settling, done: () => void): void =>
      settleWithout(parkedAt(at, what.loaded.envelope), what, done),
    /** The lease is gone: forgets the shard. What is in flight ends by itself, behind the fence. */
    drop(shard: number): void {
      scheduler.dropShard(shard);
      deps.parents.drop(shard);
      // Handles of the shard will not be asked for again, and their bodies would hold the room; others' are fetched.
      hot.clear();
      pump();
    },
    inFlight: inFlight.of,
    running: inFlight.count,
    stop(): void {
      stopped = true;
      clearTimeout(timer);
    },
  };
}

export interface Known {
  readonly state?: StateRecord | undefined;
  /** The message, when this very pod stored it just now. */
  readonly body?: Buffer;
}
