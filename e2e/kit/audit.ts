/** What loads were told and what the sink got, compared: lost, doubled, refused but arrived, damaged. Asserts for all scenarios. */
import assert from "node:assert/strict";
import type { TestContext } from "node:test";
import type { Refused } from "./load.ts";
import type { Sink } from "./sink.ts";

/** The client's side of some mails; `Load` is one. */
export interface Sent {
  /** Got a 250. */
  readonly accepted: ReadonlyMap<string, number>;
  readonly refused: readonly Refused[];
  /** Got no answer. */
  readonly uncertain: ReadonlySet<string>;
  queuedAs?(id: string): string | undefined;
}

interface Doubled {
  readonly id: string;
  readonly count: number;
  readonly firstAt: number;
  readonly lastAt: number;
}

export interface Audit {
  readonly accepted: number;
  /** Accepted and never arrived. */
  readonly lost: readonly string[];
  readonly doubled: readonly Doubled[];
  /** Arrived although the client was told no. */
  readonly stray: readonly string[];
  /** Of those whose client never got an answer: how many arrived. */
  readonly uncertainArrived: number;
  readonly damaged: readonly string[];
}

export function missingOf({ accepted }: Sent, sink: Sink): string[] {
  return [...accepted.keys()].filter((id) => !sink.arrivals.has(id));
}

function auditOf(loads: readonly Sent[], sink: Sink): Audit {
  const doubled = [...sink.arrivals].flatMap(([id, { count, firstAt, lastAt }]) =>
    count > 1 ? [{ id, count, firstAt, lastAt }] : [],
  );
  const arrivedOf = (ids: Iterable<string>): string[] => [...ids].filter((id) => sink.arrivals.has(id));
  return {
    accepted: loads.reduce((sum, { accepted }) => sum + accepted.size, 0),
    lost: loads.flatMap((load) => missingOf(load, sink)),
    doubled,
    stray: loads.flatMap(({ refused }) => arrivedOf(refused.map(({ id }) => id))),
    uncertainArrived: loads.reduce((sum, { uncertain }) => sum + arrivedOf(uncertain).length, 0),
    damaged: sink.damaged,
  };
}

/** None lost, none damaged, no 5xx; says the sums as a diagnostic. @returns the audit, for what differs between scenarios */
export function assertNoneLost(t: TestContext, loads: readonly Sent[], sink: Sink): Audit {
  const audit = auditOf(loads, sink);
  const refused = loads.flatMap((load) => load.refused);
  t.diagnostic(
    `accepted ${audit.accepted}, lost ${audit.lost.length}, doubled ${audit.doubled.length}, refused ${refused.length} (arrived all the same: ${audit.stray.length}), unanswered but arrived ${audit.uncertainArrived}, damaged ${audit.damaged.length}`,
  );
  assert.equal(audit.lost.length, 0, `lost: ${audit.lost.slice(0, 10).join(" ")}`);
  assert.equal(audit.damaged.length, 0, `damaged: ${audit.damaged.slice(0, 10).join(" ")}`);
  assert.deepEqual(
    refused.filter(({ code }) => code >= 500),
    [],
    "trouble of our own is 4xx",
  );
  return audit;
}

/** Deletes are acknowledged within milliseconds: what the sink answered longer before the fault than this was not open. */
const openMs = 1000;

/** Only what was open when the fault came may come twice, and no more of it than could be open. */
export function assertOnlyOpenDoubled(
  t: TestContext,
  { doubled }: Audit,
  { at, bound }: { at: number; bound: number },
): void {
  const early = doubled.map(({ firstAt }) => Math.round(at - firstAt)).sort((left, right) => right - left);
  t.diagnostic(
    `doubled ${doubled.length} of at most ${bound} that could be open; the earliest was answered ${early[0] ?? 0} ms before the fault`,
  );
  assert.ok(doubled.length <= bound, `${doubled.length} doubled, ${bound} could be open`);
  assert.deepEqual(
    early.filter((ms) => ms > openMs),
    [],
    "what was done before the fault never comes again",
  );
  assert.deepEqual(
    doubled.filter(({ count }) => count > 2),
    [],
    "one fault, one repeat",
  );
}
