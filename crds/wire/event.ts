/** The event record: one per message per step (interface.md §6), stored in JetStream and read by `why` and webhooks. Pure. */
import type { Parsed } from "#crds/values/issue.ts";

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
  /** Class of a reply or fault, as in `mailboat_deferrals_total{class}`. */
  readonly class?: string;
  readonly rule?: string;
  readonly nextAttempt?: number;
  readonly size?: number;
  /** Accepted → this step. */
  readonly seconds?: number;
  readonly tls?: string;
  readonly pod: string;
}

/** One JSON object a line; a batch of events is such lines joined by LF. */
export function encodeEvents(events: readonly EventRecord[]): string {
  return events.map(encodeEvent).join("\n");
}

/** The version goes in front of the object's own text: a copy of the object only to hold it would cost as much again. */
function encodeEvent(event: EventRecord): string {
  return `{"v":${eventVersion},${JSON.stringify(event).slice(1)}`;
}

/** Reads a batch; a line that is not an event becomes an issue and the others are still returned by the caller's choice. */
export function decodeEvent(line: string): Parsed<EventRecord> {
  const refused = (expected: string): Parsed<EventRecord> => ({
    ok: false,
    issues: [{ where: "event", expected, got: line.slice(0, 80) }],
  });
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return refused("JSON");
  }
  if (typeof value !== "object" || value === null) return refused("an object");
  const { v, ...event } = value as { v?: unknown } & Partial<EventRecord>;
  if (v !== eventVersion) return refused(`version ${eventVersion}`);
  const complete =
    typeof event.time === "number" &&
    typeof event.id === "string" &&
    typeof event.tenant === "string" &&
    typeof event.pool === "string" &&
    typeof event.pod === "string" &&
    eventTypes.some((type) => type === event.type);
  return complete
    ? { ok: true, value: event as EventRecord }
    : refused("time, id, type, tenant, pool and pod");
}
