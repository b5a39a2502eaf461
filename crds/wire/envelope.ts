/** The stored envelope: what the header `Mb-Envelope` of a queued entry says. Pure; parsing returns issues, never throws. */
import type { Parsed } from "#crds/values/issue.ts";

/** Raised when a field changes its meaning; a pod refuses a version it does not know and parks the entry. */
const envelopeVersion = 1;

export const envelopeHeader = "Mb-Envelope";
/** Set on a repeated publish: the duplicate window forgets deleted entries after a restart (design.md §3). */
export const retryHeader = "Mb-Retry";

export const priorityClasses = ["transactional", "bulk"] as const;
export type PriorityClass = (typeof priorityClasses)[number];

export interface Envelope {
  /** At most 26 characters, URL-safe, sortable by time, unique across pods; children of a parent share it. */
  readonly id: string;
  /** `namespace/name`. */
  readonly tenant: string;
  /** The tenant's stream (transactional, newsletter), never one of JetStream's. */
  readonly stream: string;
  readonly class: PriorityClass;
  /** Reverse path without brackets, "" for the null sender. */
  readonly from: string;
  /** Recipients without brackets, 1 or more. */
  readonly to: readonly string[];
  /** Site id known at intake (or the domain itself while provisional); `parentSite` for a parent. */
  readonly site: string;
  /** Milliseconds since 1970. */
  readonly receivedAt: number;
  readonly expiresAt: number;
  /** Not to be attempted before; ms since 1970, 0 = at once. */
  readonly sendAt: number;
  /** Bytes of the message as it was stored. */
  readonly size: number;
  readonly eightBit: boolean;
  readonly smtpUtf8: boolean;
  /** Chunks in the body stream, 0 = the message is this entry's payload. */
  readonly bodyChunks: number;
  /** The chunks belong to several entries (a parent's children): only the body stream's max_age deletes them. */
  readonly isBodyShared: boolean;
  /** How often the entry changed its shard; after 3 it stays. */
  readonly moves: number;
  /** What a moved entry already went through: attempts made and when the next one is due (ms, 0 = at once). */
  readonly attempt: number;
  readonly due: number;
}

/** Canonical one-line JSON (no CR, LF or raw control characters: JSON escapes them), safe as a NATS header value. */
export function encodeEnvelope(envelope: Envelope): string {
  return JSON.stringify([
    envelopeVersion,
    envelope.id,
    envelope.tenant,
    envelope.stream,
    envelope.class,
    envelope.from,
    envelope.to,
    envelope.site,
    envelope.receivedAt,
    envelope.expiresAt,
    envelope.sendAt,
    envelope.size,
    (envelope.eightBit ? 1 : 0) | (envelope.smtpUtf8 ? 2 : 0) | (envelope.isBodyShared ? 4 : 0),
    envelope.bodyChunks,
    envelope.moves,
    envelope.attempt,
    envelope.due,
  ]);
}

/** Bytes that a recipient takes of the encoded envelope. */
export function recipientBytes(address: string): number {
  return Buffer.byteLength(JSON.stringify(address)) + 1;
}

type Decoded = Parsed<Envelope>;

const names = [
  "version",
  "id",
  "tenant",
  "stream",
  "class",
  "from",
  "to",
  "site",
  "receivedAt",
  "expiresAt",
  "sendAt",
  "size",
  "flags",
  "bodyChunks",
  "moves",
  "attempt",
  "due",
] as const;

function isText(value: unknown): value is string {
  return typeof value === "string";
}

function isCount(value: unknown): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0;
}

function isClass(value: unknown): value is PriorityClass {
  return value === "transactional" || value === "bulk";
}

function isRecipients(value: unknown): value is string[] {
  return Array.isArray(value) && value.length > 0 && value.every(isText);
}

/** Reads what `encodeEnvelope` wrote; hand-written, since a schema library would dominate the cost of indexing. */
export function decodeEnvelope(text: string): Decoded {
  let fields: unknown;
  try {
    fields = JSON.parse(text);
  } catch {
    return refused("", "JSON", text.slice(0, 40));
  }
  if (!Array.isArray(fields)) return refused("", "an array", typeof fields);
  if (fields[0] !== envelopeVersion) return refused("version", String(envelopeVersion), String(fields[0]));
  const [, id, tenant, stream, priority, from, to, site, receivedAt, expiresAt] = fields as unknown[];
  const [sendAt, size, flags, bodyChunks, moves, attempt, due] = (fields as unknown[]).slice(10);
  const texts = isText(id) && isText(tenant) && isText(stream) && isText(from) && isText(site);
  if (!texts || !isClass(priority) || !isRecipients(to)) return refusedField(fields);
  if (!isCount(receivedAt) || !isCount(expiresAt) || !isCount(sendAt) || !isCount(size) || !isCount(flags))
    return refusedField(fields);
  if (!isCount(bodyChunks) || !isCount(moves) || !isCount(attempt) || !isCount(due))
    return refusedField(fields);
  return {
    ok: true,
    value: {
      id,
      tenant,
      stream,
      class: priority,
      from,
      to,
      site,
      receivedAt,
      expiresAt,
      sendAt,
      size,
      eightBit: (flags & 1) !== 0,
      smtpUtf8: (flags & 2) !== 0,
      isBodyShared: (flags & 4) !== 0,
      bodyChunks,
      moves,
      attempt,
      due,
    },
  };
}

function refused(where: string, expected: string, got: string): Decoded {
  return { ok: false, issues: [{ where: `envelope${where === "" ? "" : `.${where}`}`, expected, got }] };
}

function refusedField(fields: readonly unknown[]): Decoded {
  for (const [index, name] of names.entries()) {
    const value = fields[index];
    if (name === "class" && !isClass(value))
      return refused(name, priorityClasses.join(" or "), String(value));
    if (name === "to" && !isRecipients(value)) return refused(name, "1 or more addresses", typeof value);
    const textual = index > 0 && index < 8 && name !== "class" && name !== "to";
    if (textual && !isText(value)) return refused(name, "text", typeof value);
    if (index >= 8 && !isCount(value)) return refused(name, "a whole number of 0 or more", String(value));
  }
  return refused("", "a complete envelope", `${fields.length} fields`);
}

/** What an entry is known by. */
export type Named = Pick<Envelope, "id" | "site" | "to" | "moves">;

/**
 * What tells an entry apart from others of its message. Children of one parent share its id and may share its site: all of their recipients
 * count, as those that were grouped anew after a crash may have some in common. One that moved there and back is another one.
 */
export function entryName({ id, site, to, moves }: Named): string {
  const name = `${id}/${site}/${to.length === 1 ? to[0] : to.join("\n")}`;
  return moves === 0 ? name : `${name}/${moves}`;
}
