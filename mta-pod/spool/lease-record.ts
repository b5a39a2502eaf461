/** What a lease key and a member key of the pool's bucket hold. Pure; parsing answers undefined, never throws. */

const leaseVersion = 1;
const memberVersion = 1;

/** One start of one pod. A restarted container keeps its pod's name and has another incarnation. */
export interface Identity {
  readonly pod: string;
  readonly incarnation: string;
}

export interface LeaseRecord extends Identity {
  /** Counts the writes of this incarnation to this lease, so that each write can be told from every other. */
  readonly renewals: number;
  /** "freed" = released by a witness of its holder's death. */
  readonly state: "held" | "released" | "freed";
  /** What the holder leaves to its successor (decisions.md 12): JSON of the corridor's making, only when released. */
  readonly handOver?: unknown;
}

export type MemberState = "joining" | "live" | "leaving" | "gone";

export interface MemberRecord extends Identity {
  /** ms since 1970, by the pod's own clock. */
  readonly startedAt: number;
  /** Counts heartbeats: the value must change for the pod to be seen alive. */
  readonly beats: number;
  /** "joining" takes no shards yet, "leaving" none any more, "gone" has ended (or a witness says so). */
  readonly state: MemberState;
  /** What else a pod tells its peers (generation, addresses, queued messages): JSON of the corridor's making. */
  readonly payload: Readonly<Record<string, unknown>>;
}

export function isSame(a: Identity, b: Identity): boolean {
  return a.pod === b.pod && a.incarnation === b.incarnation;
}

export function encodeLease(record: LeaseRecord): string {
  return JSON.stringify({ v: leaseVersion, ...record });
}

export function encodeMember(record: MemberRecord): string {
  return JSON.stringify({ v: memberVersion, ...record });
}

type Fields = Readonly<Record<string, unknown>>;

function fieldsOf(text: string, version: number): Fields | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (typeof value !== "object" || value === null) return undefined;
  const fields = value as Fields;
  return fields["v"] === version ? fields : undefined;
}

/** undefined for an unknown version or shape: the key is then in somebody's use and is never claimed. */
export function decodeLease(text: string): LeaseRecord | undefined {
  const fields = fieldsOf(text, leaseVersion);
  if (fields === undefined) return undefined;
  const { pod, incarnation, renewals, state, handOver } = fields;
  if (typeof pod !== "string" || typeof incarnation !== "string" || typeof renewals !== "number")
    return undefined;
  if (state !== "held" && state !== "released" && state !== "freed") return undefined;
  return { pod, incarnation, renewals, state, ...(handOver === undefined ? {} : { handOver }) };
}

export function decodeMember(text: string): MemberRecord | undefined {
  const fields = fieldsOf(text, memberVersion);
  if (fields === undefined) return undefined;
  const { pod, incarnation, startedAt, beats, state, payload } = fields;
  if (typeof pod !== "string" || typeof incarnation !== "string" || typeof startedAt !== "number")
    return undefined;
  if (typeof beats !== "number" || typeof payload !== "object" || payload === null) return undefined;
  if (state !== "joining" && state !== "live" && state !== "leaving" && state !== "gone") return undefined;
  return { pod, incarnation, startedAt, beats, state, payload: payload as Fields };
}
