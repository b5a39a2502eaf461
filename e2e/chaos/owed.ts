/** Which fault a double is owed to, and how many doubles each fault may cost. Pure. */
import type { Copy } from "#e2e/kit/sink-books.ts";
import type { Struck } from "./schedule.ts";

/** What a message came as: a double has two copies or more, in the order of their replies. */
export interface Double {
  readonly id: string;
  readonly copies: readonly Copy[];
}

/** What was answered longer before a fault than this was not open: its delete was acknowledged, or the pod had stopped. */
const openMs = 1000;
/** What was settled is noted by then, while the store answers. */
const notedMs = 100;
/** The sink reads, and the signal is noted, a little late. */
const lateMs = 500;
/** A pod that cannot reach NATS, or stood still, may wait so long for replies to what it had begun before. */
const afterMs = 15_000;
/** Who is cut off begins nothing more a second after its first delete without an answer. */
const cutBeginsMs = 2000;
/** Deletes that waited are repeated at the latest so long after NATS is back. */
const aftermathMs = 10_000;

/**
 * The faults that its copies are owed to, one for each copy but the last: each was open when its own pod was hit, or was settled just
 * before a nats-server was killed. undefined = at least one of them is owed to nothing.
 */
export function owedTo({ copies }: Double, struck: readonly Struck[]): readonly Struck[] | undefined {
  const found = copies
    .slice(0, -1)
    .map((copy, index) => faultOf(copy, copies[index + 1]?.at ?? Infinity, struck));
  return found.every((one) => one !== undefined) ? found : undefined;
}

/** A fault of the copy's own pod before one of NATS: that one says more. */
function faultOf(copy: Copy, nextAt: number, struck: readonly Struck[]): Struck | undefined {
  const earlier = struck.filter(({ at }) => at <= nextAt);
  return (
    earlier.findLast((one) => isOfItsPod(copy, one, struck)) ??
    earlier.findLast(
      ({ kind, at }) => kind.cost === "nats-kill" && copy.at > at - openMs && copy.at < at + lateMs,
    )
  );
}

function isOfItsPod(copy: Copy, { kind, pod, at, until }: Struck, struck: readonly Struck[]): boolean {
  if (pod === undefined || pod.pid !== copy.by || copy.at <= openSince(at, struck) - openMs) return false;
  switch (kind.cost) {
    case "kill":
      return copy.at < at + lateMs;
    case "freeze":
      return copy.begunAt < at + lateMs && copy.at < until + afterMs;
    case "cut":
      return copy.begunAt < at + cutBeginsMs && copy.at < until + afterMs;
    case "nats":
    case "nats-kill":
    case "order":
      return false;
    default:
      return kind.cost satisfies never;
  }
}

/** While NATS is away no delete is acknowledged, so all that went since that began is still open. */
function openSince(at: number, struck: readonly Struck[]): number {
  const away = struck.filter(
    ({ kind, at: since, until }) =>
      (kind.cost === "nats" || kind.cost === "nats-kill") && since < at && until + aftermathMs > at,
  );
  return Math.min(at, ...away.map((one) => one.at));
}

/**
 * Its pod died before it could note that it was settled, and later a nats-server that had acknowledged the delete was killed, which
 * forgets some of them: it was not open, and comes again all the same.
 */
export function isForgotten(
  copy: Copy,
  {
    double,
    one,
    struck,
  }: { readonly double: Double; readonly one: Struck; readonly struck: readonly Struck[] },
): boolean {
  const nextAt = double.copies[double.copies.indexOf(copy) + 1]?.at ?? Infinity;
  // While NATS is away notes wait as well.
  if (one.kind.cost !== "kill" || copy.at <= openSince(one.at, struck) - notedMs - lateMs) return false;
  return struck.some(({ kind, at }) => kind.cost === "nats-kill" && at > copy.at && at < nextAt);
}

/**
 * How many transactions a pod can have had open when it was hit: those that it said it had, and those that it has begun since it was asked.
 * undefined = the fault hits no pod, or the pod did not answer.
 */
export function mostOpen(
  { kind, pod, at }: Struck,
  begun: ReadonlyMap<number, readonly number[]>,
): number | undefined {
  if (pod?.inFlight === undefined) return undefined;
  const until = at + (kind.cost === "cut" ? cutBeginsMs : lateMs);
  const since = (begun.get(pod.pid) ?? []).filter((time) => time > pod.askedAt && time < until);
  return pod.inFlight + since.length;
}

/** Transactions, not recipients: one can have several. */
export function transactionsOf(copies: readonly Copy[]): number {
  return new Set(copies.map(({ by, begunAt }) => `${by} ${begunAt}`)).size;
}
