/**
 * Reads one stored message by direct get. Any replica answers those, also one that lags: "not found" is therefore
 * asked again of the leader before it is believed. And a leader may lag as well: what is committed it applies when it comes
 * to it, while a follower, and a consumer there, may be ahead by moments. Never throws.
 */
import { callApi, isRecord } from "./api.ts";
import { pause, type Spool } from "./connection.ts";
import { readStreamState } from "./stream-state.ts";

export type DirectRead =
  | {
      readonly kind: "message";
      readonly seq: number;
      readonly subject: string;
      readonly data: Buffer;
      header(name: string): string;
    }
  | { readonly kind: "gone" }
  | { readonly kind: "unavailable"; readonly text: string };

/** Which message: by sequence, or the last one on a subject. */
export type Wanted = { readonly seq: number } | { readonly last_by_subj: string };

const timeoutMs = 5_000;
const lagLookMs = 500;
const longestLagMs = 10_000;
/** The leader's "no message found"; 10043 is the store's own word for the same. */
const notFoundCodes = new Set([10037, 10043]);

export async function direct(spool: Spool, stream: string, wanted: Wanted): Promise<DirectRead> {
  const subject = `$JS.API.DIRECT.GET.${stream}`;
  const answer = await spool.ask({ subject, payload: JSON.stringify(wanted), timeoutMs, isUrgent: true });
  // No replica answers direct gets just now; the leader may still answer the plain one.
  if (answer.kind === "none")
    return answer.reason === "no-responders"
      ? fromLeader(spool, stream, wanted)
      : { kind: "unavailable", text: answer.reason };
  const { headers, data } = answer.message;
  if (headers === undefined) return { kind: "unavailable", text: "an answer without headers" };
  if (headers.code === 404) return fromLeader(spool, stream, wanted);
  if (headers.code !== 0) return { kind: "unavailable", text: `${headers.code} ${headers.description}` };
  const seq = Number(headers.get("Nats-Sequence"));
  if (!Number.isSafeInteger(seq) || seq < 1)
    return { kind: "unavailable", text: "an answer without sequence" };
  return {
    kind: "message",
    seq,
    subject: headers.get("Nats-Subject"),
    data,
    header: (name) => headers.get(name),
  };
}

/** The plain get: slower, and "gone" only when the leader has come to the sequence and passed it. */
export async function fromLeader(spool: Spool, stream: string, wanted: Wanted): Promise<DirectRead> {
  const read = await plainGet(spool, stream, wanted);
  // One server alone applies before anybody hears of it.
  if (read.kind !== "gone" || !("seq" in wanted) || spool.options.replicas === 1) return read;
  for (let waited = 0; ; waited += lagLookMs) {
    const state = await readStreamState(spool, stream);
    if (state === undefined) return { kind: "unavailable", text: "the leader does not say how far it is" };
    if (state.lastSeq >= wanted.seq) return plainGet(spool, stream, wanted);
    // Not a lag any more: the stream has lost its end, and its sequences will be used again.
    if (waited >= longestLagMs) return read;
    await pause(spool.timers, lagLookMs, spool.closing);
  }
}

async function plainGet(spool: Spool, stream: string, wanted: Wanted): Promise<DirectRead> {
  const result = await callApi(spool, { subject: `STREAM.MSG.GET.${stream}`, body: wanted });
  if (result.kind === "unanswered") return { kind: "unavailable", text: result.text };
  if (result.kind === "refused")
    return notFoundCodes.has(result.code)
      ? { kind: "gone" }
      : { kind: "unavailable", text: `${result.text} (${result.code})` };
  const { message } = result.value;
  if (!isRecord(message)) return { kind: "unavailable", text: "an answer without message" };
  const { seq, subject, data, hdrs } = message;
  if (typeof seq !== "number" || typeof subject !== "string")
    return { kind: "unavailable", text: "an answer without sequence and subject" };
  const lines = typeof hdrs === "string" ? Buffer.from(hdrs, "base64").toString("utf8").split("\r\n") : [];
  return {
    kind: "message",
    seq,
    subject,
    data: typeof data === "string" ? Buffer.from(data, "base64") : Buffer.alloc(0),
    header: (name) => headerOf(lines, name),
  };
}

function headerOf(lines: readonly string[], name: string): string {
  const line = lines.find((text) => text.startsWith(`${name}:`));
  return line === undefined ? "" : line.slice(name.length + 1).trim();
}
