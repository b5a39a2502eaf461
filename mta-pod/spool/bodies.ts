/**
 * Bodies too large for one entry, in chunks on the pool's body stream (decisions.md 11). They are stored before the
 * entry that refers to them, so a crash leaves chunks that nobody reads until the stream's max_age takes them.
 */
import { callApi } from "./api.ts";
import type { Spool } from "./connection.ts";
import { direct } from "./direct-get.ts";
import type { Outbox, Put } from "./outbox.ts";

export type BodyRead =
  | { readonly kind: "body"; readonly body: Buffer }
  | { readonly kind: "damaged"; readonly got: string }
  | { readonly kind: "unavailable"; readonly text: string };

export type BodyStored =
  | { readonly kind: "stored"; readonly chunks: number }
  | Exclude<Put, { readonly kind: "stored" }>;

const maxChunkBytes = 512 * 1024;
/** Chunks of one body under way at a time, both directions. */
const window = 4;
const removeTries = 3;

export interface BodyToStore {
  readonly spool: Spool;
  readonly outbox: Outbox;
  readonly id: string;
  readonly body: Buffer;
  readonly giveUpMs: number;
}

/** Answers the number of chunks when all are acknowledged, else the first refusal. */
export function storeBody(
  { spool, outbox, id, body, giveUpMs }: BodyToStore,
  done: (stored: BodyStored) => void,
): void {
  // A server may be set to less than our chunk; half of its limit leaves room for the protocol.
  const chunkBytes = Math.min(
    maxChunkBytes,
    Math.floor((spool.nc.info?.max_payload ?? maxChunkBytes * 2) / 2),
  );
  const chunks = Math.ceil(body.length / chunkBytes);
  let next = 0;
  let acknowledged = 0;
  let ended = false;
  const more = (): void => {
    const chunk = next++;
    const payload = body.subarray(chunk * chunkBytes, (chunk + 1) * chunkBytes);
    // No Nats-Msg-Id: a body purged and stored again within the window would be taken for a duplicate. The stream keeps
    // one message per subject instead.
    const subject = spool.names.bodySubject(id, chunk);
    outbox.put({ subject, headers: [], payload, giveUpMs }, (put) => {
      if (ended) return;
      if (put.kind !== "stored") {
        ended = true;
        done(put);
      } else if (++acknowledged === chunks) {
        ended = true;
        done({ kind: "stored", chunks });
      } else if (next < chunks) more();
    });
  };
  while (next < Math.min(window, chunks)) more();
}

export interface BodyToRead {
  readonly id: string;
  readonly chunks: number;
  readonly size: number;
}

/** Reads `chunks` chunks in order; together they have to be `size` bytes. */
export async function readBody(spool: Spool, { id, chunks, size }: BodyToRead): Promise<BodyRead> {
  const parts: Buffer[] = [];
  let bytes = 0;
  for (let first = 0; first < chunks; first += window) {
    const count = Math.min(window, chunks - first);
    const reads = Array.from({ length: count }, (_, index) =>
      direct(spool, spool.names.bodyStream, { last_by_subj: spool.names.bodySubject(id, first + index) }),
    );
    for (const [index, read] of (await Promise.all(reads)).entries()) {
      if (read.kind === "unavailable") return read;
      if (read.kind === "gone") return { kind: "damaged", got: `no chunk ${first + index} of ${chunks}` };
      parts.push(read.data);
      bytes += read.data.length;
    }
    // A hostile or mistaken count must not gather more than the envelope promised.
    if (bytes > size) break;
  }
  if (bytes !== size) return { kind: "damaged", got: `${bytes} bytes in ${chunks} chunks` };
  return { kind: "body", body: Buffer.concat(parts, bytes) };
}

/**
 * Deletes the chunks of a body that only one entry ever referred to; never call it for a parent's or a child's. Tried
 * a few times; what is left then goes with the stream's max_age. False = left.
 */
export async function removeBody(spool: Spool, id: string): Promise<boolean> {
  for (let tries = 0; tries < removeTries; tries++) {
    const body = { filter: spool.names.bodyFilter(id) };
    const result = await callApi(spool, { subject: `STREAM.PURGE.${spool.names.bodyStream}`, body });
    if (result.kind === "ok") return true;
  }
  return false;
}
