/** Reads stored entries back for an attempt and deletes them when they are done. Never throws. */
import { decodeEnvelope, type Envelope, entryName, envelopeHeader, type Named } from "#crds/wire/envelope.ts";
import type { Issue } from "#crds/values/issue.ts";
import { readBody, removeBody } from "./bodies.ts";
import { createBundleDeletions } from "./bundle-deletions.ts";
import { type Bundles, createBundles } from "./bundles.ts";
import type { Spool } from "./connection.ts";
import { createDeletions, type Removed } from "./deletions.ts";
import { direct } from "./direct-get.ts";
import { createDoubt } from "./doubt.ts";

type Fetched =
  | {
      readonly kind: "entry";
      readonly subject: string;
      readonly envelope: Envelope;
      readonly body: Buffer;
    }
  /** No message at that sequence, confirmed by the leader, or one that is not an entry. */
  | { readonly kind: "gone" }
  /** Not readable by this release, or its body is not complete: park it with an alarm, never bounce it. */
  | { readonly kind: "damaged"; readonly issues: readonly Issue[]; readonly envelope?: Envelope }
  | { readonly kind: "unavailable"; readonly text: string };

interface StoredEntry {
  readonly shard: number;
  readonly seq: number;
  /** A repeat after a lost connection first makes sure that it is still that one, and not another part of the same message. */
  readonly entry?: Named | undefined;
  /** Its envelope cannot be read: it is looked at just before, so that nothing goes that can. */
  readonly isUnreadable?: boolean;
  /** Under which it is stored, so that it can leave together with others. */
  readonly subject?: string | undefined;
  /** When it was read or stored, monotonic ms: over a connection before this one, its sequence may be another's by now. */
  readonly since?: number | undefined;
}

export interface Entries {
  /** The caller compares the envelope's id with its index: sequences can be used again (design.md §3). */
  fetch(shard: number, seq: number): Promise<Fetched>;
  /** Repeated until acknowledged or the spool closes. */
  remove(entry: StoredEntry, done: (removed: Removed) => void): void;
  /** For an entry with `bodyChunks` > 0 that is no parent's child, after its removal. False = left to max_age. */
  removeBody(id: string): Promise<boolean>;
  /** Removals not acknowledged yet: open in the sense of decisions.md 14. */
  removing(): number;
  close(): void;
}

/** Without `bundles` each entry is deleted alone. */
export function createEntries(spool: Spool, bundles: Bundles = createBundles()): Entries {
  const deletions = createDeletions(spool);
  const bundled = createBundleDeletions(spool, { bundles, deletions });
  const doubt = createDoubt(spool);
  /** `name` is "" for one that cannot be read. */
  const isSame = async (shard: number, seq: number, name: string): Promise<"same" | "other" | "unknown"> => {
    const read = await readEnvelope(spool, shard, seq);
    if (read.kind === "unavailable") return "unknown";
    const found = read.kind === "read" ? entryName(read.envelope) : read.kind === "damaged" ? "" : undefined;
    return found === name ? "same" : "other";
  };
  return {
    fetch: (shard, seq) => fetchEntry(spool, shard, seq),
    remove({ shard, seq, entry, subject, since, isUnreadable = false }, done) {
      const stream = spool.names.shardStream(shard);
      const name = entry === undefined ? "" : entryName(entry);
      if (name === "" && !isUnreadable) return deletions.remove({ stream, seq }, done);
      const verify = (): ReturnType<typeof isSame> => isSame(shard, seq, name);
      const isDoubtful = isUnreadable || doubt.isDoubtful(since);
      if (subject === undefined) return deletions.remove({ stream, seq, verify, isDoubtful }, done);
      return bundled.remove({ stream, seq, verify, isDoubtful, shard, subject }, done);
    },
    removeBody: (id) => removeBody(spool, id),
    removing: () => bundled.pending() + deletions.pending(),
    close() {
      doubt.close();
      bundled.close();
      deletions.close();
    },
  };
}

type Read =
  | { readonly kind: "read"; readonly subject: string; readonly envelope: Envelope; readonly payload: Buffer }
  | Exclude<Fetched, { readonly kind: "entry" }>;

async function readEnvelope(spool: Spool, shard: number, seq: number): Promise<Read> {
  const read = await direct(spool, spool.names.shardStream(shard), { seq });
  if (read.kind !== "message") return read;
  const prefix = spool.names.entryFilter(shard).slice(0, -1);
  if (!read.subject.startsWith(prefix)) return { kind: "gone" };
  const envelope = decodeEnvelope(read.header(envelopeHeader));
  if (!envelope.ok) return { kind: "damaged", issues: envelope.issues };
  return { kind: "read", subject: read.subject, envelope: envelope.value, payload: read.data };
}

async function fetchEntry(spool: Spool, shard: number, seq: number): Promise<Fetched> {
  const read = await readEnvelope(spool, shard, seq);
  if (read.kind !== "read") return read;
  const { subject, envelope, payload } = read;
  const { id, bodyChunks: chunks, size } = envelope;
  if (chunks === 0) {
    if (payload.length === size) return { kind: "entry", subject, envelope, body: payload };
    return damaged(envelope, `${payload.length}`);
  }
  const body = await readBody(spool, { id, chunks, size });
  switch (body.kind) {
    case "body":
      return { kind: "entry", subject, envelope, body: body.body };
    case "damaged":
      return damaged(envelope, body.got);
    case "unavailable":
      return body;
    default:
      return body satisfies never;
  }
}

function damaged(envelope: Envelope, got: string): Fetched {
  return {
    kind: "damaged",
    envelope,
    issues: [{ where: "body", expected: `${envelope.size} bytes`, got }],
  };
}
