/**
 * The pool's KV bucket as leases and members need it: reads answered by the leader, writes by compare-and-set, one watch of
 * everything. Never throws. The library's KV is not used: its watch stalls on a change of leader, its reads may come
 * from a replica that lags, and its update cannot carry a time to live.
 */
import { type ApiResult, callApi, isRecord, parseApi } from "./api.ts";
import type { Spool } from "./connection.ts";
import { type Feed, openFeed } from "./feed.ts";
import { type HeaderLine, headerBlock } from "./headers.ts";

export type KeyRead =
  | { readonly kind: "found"; readonly revision: number; readonly text: string }
  /** `revision` of the marker that says so, 0 when there is none. */
  | { readonly kind: "absent"; readonly revision: number }
  | { readonly kind: "failed" };

export type Written =
  | { readonly kind: "written"; readonly seq: number }
  /** The subject does not stand at the expected sequence. */
  | { readonly kind: "refused" }
  | { readonly kind: "full" }
  /** Unknown whether it was or will be applied. */
  | { readonly kind: "failed"; readonly text: string };

export interface KeyEvent {
  readonly key: string;
  readonly revision: number;
  /** undefined = deleted or expired. */
  readonly text: string | undefined;
}

const timeoutMs = 2_000;
/** No message found; the second is the store's own. */
const absentCodes = new Set([10037, 10043]);
/** Wrong last sequence, and the same without the number. */
const conflictCodes = new Set([10071, 10164]);
/** Store failed (maximum bytes), insufficient resources, storage exceeded. */
const fullCodes = new Set([10077, 10023, 10047]);

export function leaseKey(shard: number): string {
  return `lease.${shard}`;
}

/** undefined when it is not a lease's key. */
export function shardOfKey(key: string): number | undefined {
  const digits = /^lease\.(\d{1,4})$/.exec(key)?.[1];
  return digits === undefined ? undefined : Number(digits);
}

export function memberKey(token: string): string {
  return `pod.${token}`;
}

/** Asks the leader of the stream for the last message of `subject`. */
export async function readLast(spool: Spool, stream: string, subject: string): Promise<KeyRead> {
  const result = await callApi(spool, {
    subject: `STREAM.MSG.GET.${stream}`,
    body: { last_by_subj: subject },
    timeoutMs,
  });
  if (result.kind === "refused" && absentCodes.has(result.code)) return { kind: "absent", revision: 0 };
  if (result.kind !== "ok" || !isRecord(result.value["message"])) return { kind: "failed" };
  const { seq, data } = result.value["message"];
  if (typeof seq !== "number") return { kind: "failed" };
  if (typeof data !== "string" || data === "") return { kind: "absent", revision: seq };
  return { kind: "found", revision: seq, text: Buffer.from(data, "base64").toString("utf8") };
}

export interface Write {
  readonly subject: string;
  readonly payload: string;
  /** Last sequence of the subject, 0 = none. */
  readonly expected: number;
  readonly headers?: readonly HeaderLine[];
}

/** Publishes if `subject` still stands at `expected`. */
export async function writeIf(spool: Spool, write: Write): Promise<Written> {
  const { subject, payload, expected, headers = [] } = write;
  const answer = await spool.ask({
    subject,
    payload,
    headers: headerBlock([["Nats-Expected-Last-Subject-Sequence", String(expected)], ...headers]),
    timeoutMs,
    isUrgent: true,
  });
  if (answer.kind === "none") return { kind: "failed", text: answer.reason };
  return asWritten(parseApi(answer.message.data));
}

function asWritten(result: ApiResult): Written {
  if (result.kind === "unanswered") return { kind: "failed", text: result.text };
  if (result.kind === "refused") {
    if (conflictCodes.has(result.code)) return { kind: "refused" };
    if (fullCodes.has(result.code)) return { kind: "full" };
    return { kind: "failed", text: `${result.text} (${result.code})` };
  }
  const seq = result.value["seq"];
  return typeof seq === "number" ? { kind: "written", seq } : { kind: "failed", text: "no sequence" };
}

export interface Bucket {
  read(key: string): Promise<KeyRead>;
  write(key: string, text: string, expected: number): Promise<Written>;
  /** As `write`, and the server removes the key when it is not written again for so long (by its own clock). */
  writeFor(key: string, text: string, { expected, seconds }: Expiry): Promise<Written>;
  watch(onKey: (event: KeyEvent) => void, onCaughtUp: () => void): Feed;
}

interface Expiry {
  readonly expected: number;
  readonly seconds: number;
}

export function openBucket(spool: Spool): Bucket {
  const stream = `KV_${spool.names.bucket}`;
  const prefix = `$KV.${spool.names.bucket}.`;
  return {
    read: (key) => readLast(spool, stream, prefix + key),
    write: (key, payload, expected) => writeIf(spool, { subject: prefix + key, payload, expected }),
    writeFor: (key, payload, { expected, seconds }) =>
      writeIf(spool, { subject: prefix + key, payload, expected, headers: [["Nats-TTL", `${seconds}s`]] }),
    watch: (onKey, onCaughtUp) =>
      openFeed({
        spool,
        stream,
        filter: `${prefix}>`,
        start: { kind: "last-per-subject" },
        headersOnly: false,
        handlers: {
          onMessage: (revision, read) => {
            const message = read();
            const text = message.data.length === 0 ? undefined : message.string();
            onKey({ key: message.subject.slice(prefix.length), revision, text });
          },
          onCaughtUp,
        },
      }),
  };
}
