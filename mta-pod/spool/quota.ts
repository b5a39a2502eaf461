/**
 * Daily quotas, exact over the pool: one counter per tenant and UTC day in the pool's bucket, from which each pod claims
 * blocks by compare-and-set before it grants anything. A block that a pod loses when it dies is lost to the tenant for that day:
 * quotas are under-used, never exceeded. Never throws; without NATS what the pod has claimed is still granted.
 */
import { hashToken } from "#crds/values/hash.ts";
import { isRecord } from "./api.ts";
import { openBucket } from "./bucket.ts";
import { pause, type Spool } from "./connection.ts";

export type Taken =
  /** `day` = to be given back with, if the message is not accepted after all. */
  | { readonly kind: "taken"; readonly day: number }
  | { readonly kind: "used-up" }
  | { readonly kind: "unavailable" };

export interface Quotas {
  /** One message of the tenant's `limit` per day. `done` is called once: at once while the pod's block lasts. */
  take(tenant: string, limit: number, done: (taken: Taken) => void): void;
  /** One that was taken was not used. */
  giveBack(tenant: string, day: number): void;
  /** Gives back what is not used, a second at most. */
  close(): Promise<void>;
}

export interface QuotasOptions {
  readonly spool: Spool;
  /** Pods that may claim: the more, the smaller the blocks. */
  pods(): number;
}

interface Account {
  readonly tenant: string;
  readonly day: number;
  /** Claimed and not taken. */
  left: number;
  limit: number;
  waiting: ((taken: Taken) => void)[];
  isClaiming: boolean;
  /** Monotonic; after a claim found nothing the counter is not asked again before. */
  emptyUntil: number;
  usedAt: number;
}

const dayMs = 86_400_000;
const maxBlock = 1000;
/** A pod takes at most this part of what is left, over the number of pods. */
const blockShare = 1 / 4;
/** Of readings and writes that were not answered. */
const attempts = 12;
/** Somebody else was first: in the meantime they got what they wanted, so it is soon our turn. */
const contestedMs = 5000;
const retryMs = 50;
/** Others may have given something back since. */
const emptyMs = 1000;
/** What a pod does not use for so long goes back, so that the others can. */
const idleMs = 5000;
const sweepMs = 1000;
const closeMs = 1000;
/** By the server's clock; the key is of no use after its day. */
const keySeconds = 3 * 86_400;

export function createQuotas({ spool, pods }: QuotasOptions): Quotas {
  const { clock } = spool.options;
  const accounts = new Map<string, Account>();
  const counter = createCounter(spool);

  const accountOf = (tenant: string, limit: number): Account => {
    const day = Math.floor(clock.now() / dayMs);
    const known = accounts.get(tenant);
    if (known !== undefined && known.day === day) {
      const isLowered = limit < known.limit;
      known.limit = limit;
      if (isLowered && known.left > 0 && !known.isClaiming) void reclaim(known);
      return known;
    }
    const account = { tenant, day, left: 0, limit, waiting: [], isClaiming: false, emptyUntil: 0, usedAt: 0 };
    accounts.set(tenant, account);
    return account;
  };

  const serve = (account: Account): void => {
    while (account.left > 0 && account.waiting.length > 0) {
      account.left--;
      account.waiting.shift()?.({ kind: "taken", day: account.day });
    }
  };
  const refuse = (account: Account, why: "used-up" | "unavailable"): void => {
    for (const done of account.waiting.splice(0)) done({ kind: why });
  };

  const claim = async (account: Account): Promise<void> => {
    account.isClaiming = true;
    while (account.waiting.length > 0) {
      let { limit } = account;
      const claimed = await counter.add(account, (used) => {
        ({ limit } = account);
        return blockOf(limit - used, pods());
      });
      if (claimed === undefined) refuse(account, "unavailable");
      else if (claimed === 0) {
        account.emptyUntil = clock.monotonic() + emptyMs;
        refuse(account, "used-up");
      } else {
        account.left += claimed;
        if (account.limit < limit) await release(account);
        else serve(account);
      }
    }
    account.isClaiming = false;
  };

  const release = async (account: Account): Promise<void> => {
    const unused = account.left;
    account.left = 0;
    const returned = await counter.add(account, (used) => -Math.min(unused, used));
    if (returned === undefined)
      spool.options.log.warn("quota not given back", { tenant: account.tenant, unused });
  };

  /** A block that was claimed under a higher limit may be more than the lower one leaves. */
  const reclaim = async (account: Account): Promise<void> => {
    account.isClaiming = true;
    await release(account);
    await claim(account);
  };

  const stopSweep = spool.timers.every(sweepMs, () => {
    const now = clock.monotonic();
    const today = Math.floor(clock.now() / dayMs);
    for (const [tenant, account] of accounts) {
      if (account.isClaiming || now - account.usedAt < idleMs) continue;
      if (account.day === today && account.left > 0) void release(account);
      else accounts.delete(tenant);
    }
  });
  spool.closing.addEventListener("abort", stopSweep, { once: true });

  return {
    take(tenant, limit, done) {
      const account = accountOf(tenant, limit);
      account.usedAt = clock.monotonic();
      if (account.left > 0 && account.waiting.length === 0) {
        account.left--;
        return done({ kind: "taken", day: account.day });
      }
      if (!account.isClaiming && account.usedAt < account.emptyUntil) return done({ kind: "used-up" });
      account.waiting.push(done);
      if (!account.isClaiming) void claim(account);
      return undefined;
    },
    giveBack(tenant, day) {
      const account = accounts.get(tenant);
      if (account?.day !== day) return;
      account.left++;
      serve(account);
    },
    async close() {
      stopSweep();
      const claimed = [...accounts.values()].filter(({ left }) => left > 0);
      await Promise.race([Promise.all(claimed.map(release)), pause(spool.timers, closeMs, spool.closing)]);
    },
  };
}

/** Towards the end of a quota blocks are single messages, so that no pod sits on what another could use. */
function blockOf(remaining: number, pods: number): number {
  if (remaining <= 0) return 0;
  return Math.max(1, Math.min(Math.floor((remaining * blockShare) / Math.max(1, pods)), maxBlock));
}

interface Counter {
  /** Adds `change(used)` to the day's count; resolves to what was added, undefined when that is not known. */
  add(
    account: Pick<Account, "tenant" | "day">,
    change: (used: number) => number,
  ): Promise<number | undefined>;
}

function createCounter(spool: Spool): Counter {
  const bucket = openBucket(spool);
  const by = `${spool.options.pod}/${spool.options.incarnation}`;
  let ops = 0;
  return {
    async add({ tenant, day }, change) {
      const key = `quota.${hashToken(tenant)}.${day}`;
      /** A write whose answer was lost: if the next reading shows it, it was applied. */
      let unknown: { op: number; added: number } | undefined;
      const until = spool.options.clock.monotonic() + contestedMs;
      for (let attempt = 0; attempt < attempts && !spool.closing.aborted; ) {
        const read = await bucket.read(key);
        if (read.kind === "failed") {
          await pause(spool.timers, retryMs * ++attempt, spool.closing);
          continue;
        }
        const stored = read.kind === "found" ? decode(read.text) : { used: 0, by: "", op: 0 };
        if (stored === undefined) return undefined;
        if (unknown !== undefined && stored.by === by && stored.op === unknown.op) return unknown.added;
        unknown = undefined;
        const added = change(stored.used);
        if (added === 0) return 0;
        const op = ++ops;
        const text = JSON.stringify({ v: 1, used: stored.used + added, by, op });
        const written = await bucket.writeFor(key, text, { expected: read.revision, seconds: keySeconds });
        if (written.kind === "written") return added;
        if (written.kind === "refused") {
          if (spool.options.clock.monotonic() > until) return undefined;
          continue;
        }
        // Giving back twice would grant twice: what may have been applied is taken as applied.
        if (added < 0) return undefined;
        unknown = { op, added };
        await pause(spool.timers, retryMs * ++attempt, spool.closing);
      }
      return undefined;
    },
  };
}

function decode(text: string): { used: number; by: string; op: number } | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (!isRecord(value) || value["v"] !== 1) return undefined;
  const { used, by, op } = value;
  if (typeof used !== "number" || !(used >= 0) || typeof by !== "string" || typeof op !== "number")
    return undefined;
  return { used, by, op };
}
