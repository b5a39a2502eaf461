/** The state record of a deferred entry: what is known about it beyond the entry itself (design.md §3). Pure. */
import { hash32 } from "#crds/values/hash.ts";
import type { Parsed } from "#crds/values/issue.ts";
import { describe } from "#crds/values/zod-issue.ts";

const stateVersion = 1;

/** Recipients that are being stored as an entry of their own. */
export interface Moving {
  readonly site: string;
  /** Indexes into the envelope's recipients, 1 or more of those that are open. */
  readonly open: readonly number[];
  /** What the new entry went through: attempts made. */
  readonly attempt: number;
  /** The chunks of its body belong to several entries. */
  readonly isBodyShared: boolean;
}

export interface StateRecord {
  /** Attempts made so far, 1 or more (0 for a record that only holds the entry back). */
  readonly attempt: number;
  /** When the next one is due, ms since 1970. */
  readonly due: number;
  /** Indexes into the envelope's recipients that are still open, 1 or more. */
  readonly open: readonly number[];
  /** So many of them, the first, go next, the others when those had their turn; absent = all together. */
  readonly fresh?: number;
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
  /** Perhaps stored there by now: finished before anything else is done, wherever these recipients belong by then. */
  readonly moving?: Moving;
}

export function idHashOf(id: string): number {
  return hash32(id);
}

/** One line of JSON, the payload of the message on the state subject. */
export function encodeState(record: StateRecord): string {
  const { moving } = record;
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
    ...(moving === undefined && record.fresh === undefined ? [] : [record.fresh ?? 0]),
    ...(moving === undefined
      ? []
      : [[moving.site, moving.open, moving.attempt, moving.isBodyShared ? 1 : 0]]),
  ]);
}

function isCount(value: unknown): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0;
}

function isList(value: unknown): value is number[] {
  return Array.isArray(value) && value.every(isCount);
}

/** undefined = it is none. */
function movingIn(value: unknown): Moving | undefined {
  if (!Array.isArray(value)) return undefined;
  const [site, open, attempt, isBodyShared] = value as unknown[];
  if (typeof site !== "string" || !isList(open) || !isCount(attempt)) return undefined;
  if (isBodyShared !== 0 && isBodyShared !== 1) return undefined;
  return { site, open, attempt, isBodyShared: isBodyShared === 1 };
}

function isCountOrAbsent(value: unknown): value is number | undefined {
  return value === undefined || isCount(value);
}

/** Reads what `encodeState` wrote, and what releases before wrote, without the last fields; what is wrong is an issue that names it, never a throw. */
export function decodeState(text: string): Parsed<StateRecord> {
  let fields: unknown;
  try {
    fields = JSON.parse(text);
  } catch {
    return refused("", "JSON", text.slice(0, 40));
  }
  if (!Array.isArray(fields)) return refused("", "an array", describe(fields));
  const [version, attempt, due, open, idHash, last, children, started, parked, fresh, to] =
    fields as unknown[];
  const count = "a whole number of 0 or more";
  if (version !== stateVersion) return refused("version", String(stateVersion), describe(version));
  if (!isCount(attempt)) return refused("attempt", count, describe(attempt));
  if (!isCount(due)) return refused("due", count, describe(due));
  if (!isList(open)) return refused("open", "a list of whole numbers of 0 or more", describe(open));
  if (!isCount(idHash)) return refused("idHash", count, describe(idHash));
  if (typeof last !== "string") return refused("last", "text", describe(last));
  if (!isCountOrAbsent(children)) return refused("children", count, describe(children));
  if (!isCountOrAbsent(started)) return refused("started", count, describe(started));
  if (parked !== undefined && parked !== 0 && parked !== 1)
    return refused("parked", "0 or 1", describe(parked));
  if (!isCountOrAbsent(fresh)) return refused("fresh", count, describe(fresh));
  const moving = movingIn(to);
  if (to !== undefined && moving === undefined)
    return refused("moving", "a site, recipients, attempts and whether the body is shared", describe(to));
  return {
    ok: true,
    value: {
      attempt,
      due,
      open,
      idHash,
      last,
      ...(children === undefined || children === 0 ? {} : { children }),
      ...(started === undefined || started === 0 ? {} : { started }),
      ...(parked === 1 ? { parked: true } : {}),
      ...(fresh === undefined || fresh === 0 ? {} : { fresh }),
      ...(moving === undefined ? {} : { moving }),
    },
  };
}

function refused(field: string, expected: string, got: string): Parsed<StateRecord> {
  return { ok: false, issues: [{ where: field === "" ? "state" : `state.${field}`, expected, got }] };
}
