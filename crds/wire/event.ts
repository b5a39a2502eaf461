/** The event record: one per message per step (interface.md §6), stored in JetStream and read by `why` and webhooks. Pure. */
import type { Issue, Parsed } from "#crds/values/issue.ts";
import { describe } from "#crds/values/zod-issue.ts";

const eventVersion = 1;

export const eventTypes = [
  "received",
  "attempted",
  "delivered",
  "deferred",
  "bounced",
  "expired",
  "suppressed",
  "rejected",
  "feedback",
] as const;
export type EventType = (typeof eventTypes)[number];

/** Absent fields have no meaning for the type; times are ms since 1970, `seconds` are seconds. */
export interface EventRecord {
  readonly time: number;
  readonly id: string;
  readonly type: EventType;
  readonly tenant: string;
  readonly stream?: string;
  readonly pool: string;
  readonly from?: string;
  readonly to?: readonly string[];
  readonly site?: string;
  readonly provider?: string;
  readonly mx?: string;
  readonly source?: string;
  readonly attempt?: number;
  readonly code?: number;
  readonly enhanced?: string;
  readonly text?: string;
  /** Class of a reply or fault, as in `mailboat_deferrals_total{class}`; of `rejected` the reason, as in `mailboat_rejections_total{reason}`. */
  readonly class?: string;
  readonly rule?: string;
  readonly nextAttempt?: number;
  readonly size?: number;
  /** From when it was accepted, or from its send time (`X-Send-At`) when that is later, to this step. */
  readonly seconds?: number;
  readonly tls?: string;
  readonly pod: string;
}

/** What all events of a pod at one moment have in common. */
export type EventStamp = Pick<EventRecord, "time" | "pool" | "pod">;

type Known = Pick<EventRecord, "id" | "type" | "tenant">;
type Optional = Omit<EventRecord, keyof EventStamp | keyof Known>;
/** The rest of an event; undefined is the same as absent. */
export type EventFacts = Known & { readonly [Field in keyof Optional]?: EventRecord[Field] | undefined };

/**
 * One JSON object as a line; a batch of events is such lines joined by LF. Its parts are written one behind the other: an object only to hold
 * them all would cost as much again.
 */
export function encodeEvent(stamp: EventStamp, facts: EventFacts): string {
  return `{"v":${eventVersion},${JSON.stringify(stamp).slice(1, -1)},${JSON.stringify(facts).slice(1)}`;
}

interface Kind {
  readonly expected: string;
  is(value: unknown): boolean;
}

const text: Kind = { expected: "text", is: (value) => typeof value === "string" };
const number: Kind = { expected: "a number", is: (value) => typeof value === "number" };
const texts: Kind = {
  expected: "a list of texts",
  is: (value) => Array.isArray(value) && value.every(text.is),
};
const eventType: Kind = {
  expected: `one of ${eventTypes.join(", ")}`,
  is: (value) => eventTypes.some((type) => type === value),
};

const fields = {
  time: number,
  id: text,
  type: eventType,
  tenant: text,
  stream: text,
  pool: text,
  from: text,
  to: texts,
  site: text,
  provider: text,
  mx: text,
  source: text,
  attempt: number,
  code: number,
  enhanced: text,
  text,
  class: text,
  rule: text,
  nextAttempt: number,
  size: number,
  seconds: number,
  tls: text,
  pod: text,
} satisfies { readonly [Field in keyof EventRecord]-?: Kind };
const required: ReadonlySet<string> = new Set(["time", "id", "type", "tenant", "pool", "pod"]);

/**
 * Reads one line of a batch, with an issue for each field that is wrong; never throws. Fields that a later release added come along as
 * they are. Hand-written, since `why` reads many.
 */
export function decodeEvent(line: string): Parsed<EventRecord> {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return refused([{ where: "event", expected: "JSON", got: line.slice(0, 80) }]);
  }
  if (typeof value !== "object" || value === null)
    return refused([{ where: "event", expected: "an object", got: describe(value) }]);
  const { v, ...event } = value as Readonly<Record<string, unknown>>;
  if (v !== eventVersion)
    return refused([{ where: "event.v", expected: `version ${eventVersion}`, got: describe(v) }]);
  const issues: Issue[] = [];
  for (const [name, { expected, is }] of Object.entries(fields)) {
    const got = event[name];
    const isFine = got === undefined ? !required.has(name) : is(got);
    if (!isFine) issues.push({ where: `event.${name}`, expected, got: describe(got) });
  }
  // Every field was looked at: that is what the assertion says.
  return issues.length === 0 ? { ok: true, value: event as unknown as EventRecord } : refused(issues);
}

function refused(issues: readonly Issue[]): Parsed<EventRecord> {
  return { ok: false, issues };
}
