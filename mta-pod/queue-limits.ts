/**
 * CORRIDOR: the tenants' limits of queued messages, exact over the pool: a message is stored only with room that a grant of the
 * tenant's ledger leaves (`admit/queue-ledger.ts`), which the pods change by compare-and-set. While the ledger alone leaves enough
 * that is one round trip per block; near the limit all pods are asked what is queued. Tenants without the limit cost nothing.
 */
import { hashToken } from "#crds/values/hash.ts";
import {
  claim,
  type Claimed,
  type Grant,
  type Holder,
  ledgerOf,
  type PodCount,
  textOf,
} from "./admit/queue-ledger.ts";
import type { Clock } from "./runtime/clock.ts";
import type { Cells } from "./spool/cells.ts";
import type { Timers } from "./spool/timers.ts";
import type { StoredMarks } from "./stored-marks.ts";

export type Room =
  | "open"
  | "full"
  /** Nobody can tell what is queued just now. */
  | "unknown";

export interface QueueLimits {
  /** Room for `weight` of the tenant's `limit`; `done` is called once, at once while the pod's grant lasts. */
  take(
    tenant: string,
    want: { readonly limit: number; readonly weight: number },
    done: (room: Room) => void,
  ): void;
  /** The end of what was taken: "stored", or it may be; "unused" = it is not. */
  end(tenant: string, weight: number, was: "stored" | "unused"): void;
  /** Gives back what is not used, a second at most. */
  close(): Promise<void>;
}

export interface QueueLimitsDeps {
  readonly self: Holder;
  readonly shards: number;
  readonly cells: Cells;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly marks: Pick<StoredMarks, "of">;
  /** Of the living pods; some may be missing. Never rejects. */
  ask(tenant: string): Promise<readonly PodCount[]>;
  /** Pods that may claim. */
  pods(): number;
  isDead(holder: Holder): boolean;
}

interface Waiting {
  readonly weight: number;
  readonly done: (room: Room) => void;
}

interface Account {
  limit: number;
  /** Granted and not taken. */
  left: number;
  /** Taken, and its end not known. */
  out: number;
  /** Stored since the last claim. */
  stored: number;
  /** What the ledger may say that this pod was granted. */
  most: number;
  waiting: Waiting[];
  isClaiming: boolean;
  /** The ledger alone left too little the last time. */
  isTight: boolean;
  /** Monotonic, as the following: until then the queue is known to be full. */
  fullUntil: number;
  fullMs: number;
  claimedAt: number;
  usedAt: number;
  /** Since when no count was whole; Infinity = the last one was. */
  behindSince: number;
  /** When each grant of others was first seen, by its name and number. */
  seen: Map<string, number>;
}

/** A client that keeps knocking is answered from memory for so long, twice as long each time that nothing was settled meanwhile. */
const fullMs = 500;
const maxFullMs = 4000;
/** Near the limit the grants of others may count what was counted already; they end soon. */
const tries = 6;
const retryMs = 50;
/** What was granted longer ago is claimed again before it is used: by then others may soon pass over it. */
const freshMs = 20_000;
/** Who does not answer for so long may not exist; a publish is repeated for 60 s, and begins within `freshMs` and some. */
const overMs = 150_000;
/** What a dead pod stored at last has been indexed by then. */
const deadMs = 2000;
/** No index is behind for so long: it is the store that was set back, by the loss of what it had not synced. */
const restoredMs = 60_000;
const sweepMs = 1000;
/** What a pod does not use for so long goes back, when it is much; else after a minute. */
const idleMs = 2000;
const longIdleMs = 60_000;
const muchShare = 1 / 100;
const closeMs = 1000;
/** By the server's clock. Longer than any grant: a ledger that is gone has none. */
const keySeconds = 86_400;

export function createQueueLimits(deps: QueueLimitsDeps): QueueLimits {
  const { self, cells, clock, timers, marks } = deps;
  const accounts = new Map<string, Account>();

  const accountOf = (tenant: string, limit: number): Account => {
    const known = accounts.get(tenant);
    if (known !== undefined) {
      // Granted under a higher limit, it may be more than this one leaves: the next claim says that it is not used.
      if (limit < known.limit) known.left = 0;
      known.limit = limit;
      return known;
    }
    const amounts = { left: 0, out: 0, stored: 0, most: 0 };
    const times = { fullUntil: 0, fullMs, claimedAt: 0, usedAt: 0, behindSince: Number.POSITIVE_INFINITY };
    const claiming = { waiting: [], isClaiming: false, isTight: false, seen: new Map() };
    const account = { limit, ...amounts, ...times, ...claiming };
    accounts.set(tenant, account);
    return account;
  };

  const isFresh = (account: Account): boolean => clock.monotonic() - account.claimedAt < freshMs;

  const serve = (account: Account): void => {
    while (isFresh(account)) {
      const [first] = account.waiting;
      if (first === undefined || first.weight > account.left) return;
      account.waiting.shift();
      account.left -= first.weight;
      account.out += first.weight;
      first.done("open");
    }
  };
  const refuse = (account: Account, why: "full" | "unknown"): void => {
    for (const { done } of account.waiting.splice(0)) done(why);
  };

  /** Whether nothing can come of a grant: its pod is dead, or has done nothing for so long that it could not use it any more. */
  const watch = (account: Account, grants: readonly Grant[], now: number): ((grant: Grant) => boolean) => {
    const before = account.seen;
    account.seen = new Map(grants.map((grant) => [nameOf(grant), before.get(nameOf(grant)) ?? now]));
    return (grant) => {
      const seenFor = now - (account.seen.get(nameOf(grant)) ?? now);
      return seenFor >= overMs || (seenFor >= deadMs && deps.isDead(grant));
    };
  };

  /** One change of the ledger; undefined = it is not known to be made. */
  const change = async (
    tenant: string,
    account: Account,
    withCounts: boolean,
  ): Promise<Claimed | "ask" | undefined> => {
    // Of one moment, before the question: what is stored later may or may not be in the answers, and stays under the grant.
    const own = marks.of(tenant);
    const { stored } = account;
    const counts = withCounts ? await deps.ask(tenant) : undefined;
    let at = 0;
    let isWritten = false;
    let { limit } = account;
    const claimed = await cells.update<Claimed | "ask">(keyOf(tenant), keySeconds, (text) => {
      at = clock.monotonic();
      ({ limit } = account);
      const ledger = ledgerOf(text);
      const wanted = account.waiting.reduce((sum, { weight }) => sum + weight, 0);
      const first = account.waiting[0]?.weight ?? 0;
      const answer = claim(ledger, {
        self,
        limit,
        shards: deps.shards,
        pods: deps.pods(),
        wanted: Math.max(0, wanted - account.left),
        first: Math.max(0, first - account.left),
        stored,
        kept: account.left + account.out + account.stored - stored,
        marks: own,
        counts,
        isRestored: at - account.behindSince >= restoredMs,
        isOver: watch(account, ledger?.grants ?? [], at),
      });
      if (answer.kind === "unknown")
        return { text: undefined, result: counts === undefined && wanted > 0 ? "ask" : answer };
      account.isTight = answer.free < limit / 2;
      if (counts === undefined && account.isTight && wanted > 0) return { text: undefined, result: "ask" };
      account.most = Math.max(account.most, answer.most);
      isWritten = answer.isNews || (wanted > 0 && !isFresh(account));
      return { text: isWritten ? textOf(answer.ledger) : undefined, result: answer };
    });
    if (typeof claimed !== "object" || claimed.kind === "unknown") return claimed;
    if (counts !== undefined)
      account.behindSince = claimed.isWhole ? Number.POSITIVE_INFINITY : Math.min(account.behindSince, at);
    if (!isWritten) return claimed;
    account.stored -= stored;
    account.claimedAt = at;
    // Lowered meanwhile: the grant is used when it is claimed again.
    if (account.limit < limit) return claimed;
    account.left += claimed.block;
    account.most = account.left + account.out + account.stored;
    return claimed;
  };

  const ask = async (tenant: string, account: Account): Promise<void> => {
    account.isClaiming = true;
    let vain = 0;
    while (account.waiting.length > 0) {
      const first = await change(tenant, account, account.isTight);
      const claimed = first === "ask" ? await change(tenant, account, true) : first;
      serve(account);
      if (typeof claimed !== "object") {
        refuse(account, "unknown");
        break;
      }
      if (claimed.kind === "claimed" && claimed.block > 0) {
        vain = 0;
        account.fullMs = fullMs;
      } else if (account.waiting.length > 0) {
        const isFinal = claimed.kind === "claimed" && claimed.isWhole && !claimed.isShared;
        if (isFinal || ++vain >= tries) {
          account.fullUntil = clock.monotonic() + account.fullMs;
          account.fullMs = Math.min(account.fullMs * 2, maxFullMs);
          refuse(account, claimed.kind === "claimed" ? "full" : "unknown");
          break;
        }
        await new Promise<void>((resolve) => timers.after(retryMs * vain, resolve));
      }
    }
    account.isClaiming = false;
  };

  const release = async (tenant: string, account: Account): Promise<void> => {
    account.isClaiming = true;
    account.left = 0;
    const released = await change(tenant, account, false);
    // There is no ledger any more that could say what this pod was granted.
    if (typeof released === "object" && released.kind === "unknown") account.most = 0;
    account.isClaiming = false;
    if (account.waiting.length > 0) await ask(tenant, account);
  };

  const sweep = (): void => {
    const now = clock.monotonic();
    for (const [tenant, account] of accounts) {
      const idle = now - account.usedAt;
      if (account.isClaiming || account.out > 0 || idle < idleMs) continue;
      if (idle >= longIdleMs) account.behindSince = Number.POSITIVE_INFINITY;
      const isMuch = account.most > account.limit * muchShare;
      if (account.most > 0 && (isMuch || idle >= longIdleMs)) void release(tenant, account);
      else if (account.most === 0 && idle >= longIdleMs) accounts.delete(tenant);
    }
  };
  const stopSweep = timers.every(sweepMs, sweep);

  return {
    take(tenant, { limit, weight }, done) {
      const account = accountOf(tenant, limit);
      account.usedAt = clock.monotonic();
      if (account.waiting.length === 0 && account.left >= weight && isFresh(account)) {
        account.left -= weight;
        account.out += weight;
        return done("open");
      }
      if (!account.isClaiming && account.usedAt < account.fullUntil) return done("full");
      account.waiting.push({ weight, done });
      if (!account.isClaiming) void ask(tenant, account);
      return undefined;
    },
    end(tenant, weight, was) {
      const account = accounts.get(tenant);
      if (account === undefined) return;
      account.out -= weight;
      if (was === "stored") account.stored += weight;
      else {
        account.left += weight;
        serve(account);
      }
    },
    async close() {
      stopSweep();
      const held = [...accounts].filter(([, { most, isClaiming }]) => most > 0 && !isClaiming);
      const released = Promise.all(held.map(([tenant, account]) => release(tenant, account)));
      await Promise.race([released, new Promise<void>((resolve) => timers.after(closeMs, resolve))]);
    },
  };
}

function keyOf(tenant: string): string {
  return `queue.${hashToken(tenant)}`;
}

function nameOf({ pod, incarnation, number }: Grant): string {
  return `${pod}/${incarnation}/${number}`;
}
