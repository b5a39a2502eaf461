/**
 * CORRIDOR: the tenants' message rates, exact over the pool: one token bucket per tenant in the pool's KV bucket, from which
 * each pod takes just what its waiting messages need. Messages that arrive while it asks are served by the next question.
 */
import { hashToken } from "#crds/values/hash.ts";
import { type Bucket, type BucketRate, fullBucket, giveBack, take } from "./admit/bucket.ts";
import type { Clock } from "./runtime/clock.ts";
import type { Cells } from "./spool/cells.ts";

export type Rated =
  | { readonly kind: "taken" }
  | { readonly kind: "over"; readonly waitMs: number }
  /** NATS did not answer: the message could not be stored either. */
  | { readonly kind: "unknown" };

export interface TenantRates {
  /** `done` is called once. */
  take(tenant: string, rate: BucketRate, done: (rated: Rated) => void): void;
  /** A token that was taken was not used. */
  giveBack(tenant: string, rate: BucketRate): void;
}

interface Account {
  rate: BucketRate;
  waiting: ((rated: Rated) => void)[];
  isAsking: boolean;
  /** Until then the bucket is known to be empty; monotonic. */
  emptyUntil: number;
  /** When the bucket has its next token, as far as is known; monotonic. */
  nextAt: number;
}

/** A client that keeps knocking is answered from memory for so long at most: another pod may have given tokens back. */
const maxEmptyMs = 1000;
const maxAccounts = 20_000;
/** Longer than any bucket takes to fill from empty, within reason; then the key is of no use. */
const keySeconds = 86_400;

export function createTenantRates({ cells, clock }: { cells: Cells; clock: Clock }): TenantRates {
  const accounts = new Map<string, Account>();

  const accountOf = (tenant: string, rate: BucketRate): Account => {
    const known = accounts.get(tenant);
    if (known !== undefined) {
      known.rate = rate;
      return known;
    }
    if (accounts.size >= maxAccounts)
      for (const [name, { isAsking }] of accounts) if (!isAsking) accounts.delete(name);
    const account: Account = { rate, waiting: [], isAsking: false, emptyUntil: 0, nextAt: 0 };
    accounts.set(tenant, account);
    return account;
  };

  const ask = async (tenant: string, account: Account): Promise<void> => {
    account.isAsking = true;
    while (account.waiting.length > 0) {
      const asking = account.waiting;
      account.waiting = [];
      const { rate } = account;
      const taken = await cells.update(keyOf(tenant), keySeconds, (text) => {
        const answer = take(bucketOf(text), { rate, now: clock.now(), wanted: asking.length });
        return { text: answer.count > 0 ? textOf(answer.bucket) : undefined, result: answer };
      });
      if (taken !== undefined && taken.waitMs > 0) {
        const at = clock.monotonic();
        account.emptyUntil = at + Math.min(taken.waitMs, maxEmptyMs);
        account.nextAt = at + taken.waitMs;
      }
      for (const [index, done] of asking.entries()) {
        if (taken === undefined) done({ kind: "unknown" });
        else done(index < taken.count ? { kind: "taken" } : { kind: "over", waitMs: taken.waitMs });
      }
    }
    account.isAsking = false;
  };

  return {
    take(tenant, rate, done) {
      const account = accountOf(tenant, rate);
      const at = clock.monotonic();
      if (at < account.emptyUntil) return done({ kind: "over", waitMs: account.nextAt - at });
      account.waiting.push(done);
      if (!account.isAsking) void ask(tenant, account);
      return undefined;
    },
    giveBack(tenant, rate) {
      void cells.update(keyOf(tenant), keySeconds, (text) => ({
        text: textOf(giveBack(bucketOf(text), rate)),
        result: true,
      }));
    },
  };
}

function keyOf(tenant: string): string {
  return `rate.${hashToken(tenant)}`;
}

function textOf(bucket: Bucket): string {
  return JSON.stringify([1, bucket.tat]);
}

/** What cannot be read counts as a full bucket: a tenant must not be locked out by it. */
function bucketOf(text: string | undefined): Bucket {
  if (text === undefined) return fullBucket;
  try {
    const [version, tat] = JSON.parse(text) as unknown[];
    return version === 1 && typeof tat === "number" && Number.isFinite(tat) ? { tat } : fullBucket;
  } catch {
    return fullBucket;
  }
}
