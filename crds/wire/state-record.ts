/** The state record of a deferred entry: what is known about it beyond the entry itself (design.md §3). Pure. */
import { hash32 } from "#crds/values/hash.ts";
import type { Parsed } from "#crds/values/issue.ts";

const stateVersion = 1;

export interface StateRecord {
  /** Attempts made so far, 1 or more (0 for a record that only holds the entry back). */
  readonly attempt: number;
  /** When the next one is due, ms since 1970. */
  readonly due: number;
  /** Indexes into the envelope's recipients that are still open, ascending, 1 or more. */
  readonly open: readonly number[];
  /** `hash32` of the entry's id: a sequence that was used again must not inherit somebody else's state. */
  readonly idHash: number;
  /** The reply or fault of the last attempt, at most 512 characters: for `why` and the DSN. */
  readonly last: string;
  /** Of a parent: how many children are published. */
  readonly children?: number;
  /** Deaths of a pod at which it was under way, and noted to be. */
  readonly started?: number;
  /** Set aside: not attempted until somebody says so; `last` tells why. */
  readonly parked?: boolean;
}

export function idHashOf(id: string): number {
  return hash32(id);
}

/** One line of JSON, the payload of the message on the state subject. */
export function encodeState(record: StateRecord): string {
  return JSON.stringify([
    stateVersion,
    record.attempt,
    record.due,
    record.open,
    record.idHash,
    record.last.slice(0, 512),
    record.children ?? 0,
    record.started ?? 0,
    record.parked === true ? 1 : 0,
  ]);
}

function isCount(value: unknown): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0;
}

/** Reads what `encodeState` wrote; an unknown version or shape is an issue, never a throw. */
export function decodeState(text: string): Parsed<StateRecord> {
  let fields: unknown;
  try {
    fields = JSON.parse(text);
  } catch {
    return { ok: false, issues: [{ where: "state", expected: "JSON", got: text.slice(0, 40) }] };
  }
  if (!Array.isArray(fields) || fields[0] !== stateVersion)
    return {
      ok: false,
      issues: [{ where: "state", expected: `version ${stateVersion}`, got: text.slice(0, 40) }],
    };
  const [, attempt, due, open, idHash, last, children, started, parked] = fields as unknown[];
  const isOpen = Array.isArray(open) && open.every(isCount);
  if (!isCount(attempt) || !isCount(due) || !isOpen || !isCount(idHash) || typeof last !== "string")
    return { ok: false, issues: [{ where: "state", expected: "a complete record", got: text.slice(0, 80) }] };
  return {
    ok: true,
    value: {
      attempt,
      due,
      open,
      idHash,
      last,
      ...(isCount(children) && children > 0 ? { children } : {}),
      ...(isCount(started) && started > 0 ? { started } : {}),
      ...(parked === 1 ? { parked: true } : {}),
    },
  };
}
