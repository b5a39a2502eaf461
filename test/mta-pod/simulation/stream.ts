/** One stream of the modelled JetStream: what it holds, what it may still lose, and how a message of it is found. */

export interface Stored {
  readonly seq: number;
  readonly subject: string;
  readonly headers: ReadonlyMap<string, string>;
  readonly block: string | undefined;
  readonly data: Buffer;
  readonly at: number;
}

interface Change {
  readonly kind: "stored" | "removed";
  readonly message: Stored;
  readonly at: number;
}

export interface Stream {
  readonly name: string;
  readonly created: string;
  lastSeq: number;
  messages: Map<number, Stored>;
  ids: Map<string, Stored>;
  /** What a store that does not sync may lose, the newest last. */
  changes: Change[];
  awayUntil: number;
}

const keptChanges = 200;

export function newStream(name: string): Stream {
  return {
    name,
    created: "2026-01-01T00:00:00Z",
    lastSeq: 0,
    messages: new Map(),
    ids: new Map(),
    changes: [],
    awayUntil: 0,
  };
}

/** Remembers what has come to pass, for as long as a store may not have synced it. */
export function note(stream: Stream, change: Change): void {
  stream.changes.push(change);
  if (stream.changes.length > 2 * keptChanges) stream.changes = stream.changes.slice(-keptChanges);
}

/** As a copy has it that is behind by `lagMs`. */
export function findBehind(
  stream: Stream,
  seq: number,
  { now, lagMs }: { now: number; lagMs: number },
): Stored | undefined {
  for (let index = stream.changes.length - 1; index >= 0; index--) {
    const change = stream.changes[index];
    if (change === undefined || change.at <= now - lagMs) break;
    if (change.message.seq === seq)
      return change.kind === "removed" && change.message.at <= now - lagMs ? change.message : undefined;
  }
  return stream.messages.get(seq);
}

export function matches(filter: string, subject: string): boolean {
  const end = filter.at(-1);
  return end === ">" || end === "*" ? subject.startsWith(filter.slice(0, -1)) : subject === filter;
}

export function lastOf(stream: Stream, filter: string): Stored | undefined {
  let last: Stored | undefined;
  for (const message of stream.messages.values())
    if (matches(filter, message.subject) && (last === undefined || message.seq > last.seq)) last = message;
  return last;
}

/** Which message a get asks for. */
export interface Wanted {
  readonly seq?: number;
  readonly last_by_subj?: string;
  readonly next_by_subj?: string;
}

export function find(
  stream: Stream,
  { seq, last_by_subj: last, next_by_subj: next }: Wanted,
): Stored | undefined {
  if (last !== undefined) return lastOf(stream, last);
  if (next === undefined) return stream.messages.get(seq ?? 0);
  for (const message of stream.messages.values())
    if (message.seq >= (seq ?? 0) && matches(next, message.subject)) return message;
  return undefined;
}

/** The headers of a message as it was sent. */
export function linesOf(block: string | undefined): ReadonlyMap<string, string> {
  const lines = new Map<string, string>();
  for (const line of block?.split("\r\n") ?? []) {
    const colon = line.indexOf(": ");
    if (colon > 0) lines.set(line.slice(0, colon), line.slice(colon + 2));
  }
  return lines;
}
