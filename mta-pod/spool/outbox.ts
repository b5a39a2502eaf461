/**
 * Publishes to JetStream and stays at it: what is not acknowledged is sent again, marked as a repeat, until its time is
 * up. A repeat is harmless because the message carries a Nats-Msg-Id, an expected sequence or a subject of its own.
 */
import { retryHeader } from "#crds/wire/envelope.ts";
import { apiCodes, parseApi } from "./api.ts";
import type { Spool } from "./connection.ts";
import { headerBlock, type HeaderLine } from "./headers.ts";
import type { Answer } from "./request-inbox.ts";
import type { Cancel } from "./timers.ts";

interface Outgoing {
  readonly subject: string;
  readonly headers: readonly HeaderLine[];
  readonly payload: Uint8Array | string;
  /** Where others hear the acknowledgement too. */
  readonly replyRoot?: string | undefined;
  /** Not held for others to share a write with. */
  readonly isUrgent?: boolean | undefined;
  /** From the first send; repeats stop then and the answer is "unavailable". */
  readonly giveUpMs: number;
  /** Asked before each repeat. */
  readonly repeats?: (() => Repeats) | undefined;
}

/** later = not now, perhaps in a moment; never = no more of them, it is answered with "unavailable". */
export type Repeats = "now" | "later" | "never";

export type Put =
  | { readonly kind: "stored"; readonly seq: number; readonly duplicate: boolean }
  /** The server has no room for it: said at once, whoever sent it may try later. */
  | { readonly kind: "full"; readonly text: string }
  /** No acknowledgement in time; it may still be stored. */
  | { readonly kind: "unavailable"; readonly text: string }
  /** An expected sequence did not match. */
  | { readonly kind: "fenced" };

/** To be sent again. */
interface Passing {
  readonly kind: "passing";
  readonly text: string;
  readonly pauseMs: number;
}

export interface Outbox {
  /** `done` is called exactly once. */
  put(outgoing: Outgoing, done: (put: Put) => void): void;
  pending(): number;
  /** Answers what still waits with "unavailable"; afterwards everything put is. */
  close(): void;
}

interface Sending {
  readonly outgoing: Outgoing;
  readonly deadline: number;
  readonly done: (put: Put) => void;
  attempts: number;
  repeatAt: number;
  /** The header block of repeats, made when the first is due. */
  repeat: string | undefined;
  text: string;
}

/** The first repeat comes after 2 s, which outlasts a planned change of leader; later ones less often. */
const firstAnswerMs = 2_000;
const laterAnswerMs = 4_000;
/** No responders, no leader: answered in a millisecond, so asking again has to wait by itself. */
const refusedPauseMs = 500;
const sweepMs = 100;

const fencedCode = 10071;
/**
 * A stream with copies has another conditional write on that subject under way, and says nothing of this one (nats-server 2.15,
 * jetstream_batching.go: `expectedPerSubjectInProcess`).
 */
const contendedCode = 10164;
const fullCodes = new Set<number>([
  10002, // resource limits exceeded for account
  apiCodes.insufficientResources,
  10028, // insufficient memory
  apiCodes.insufficientStorage,
  apiCodes.storeFailed, // maximum bytes, messages or consumers exceeded; the disk itself is full
]);

/** One for the pod is enough: it holds a map and, while something waits, one timer. */
export function createOutbox(spool: Spool): Outbox {
  const waiting = new Set<Sending>();
  let pending = 0;
  let stopSweep: Cancel | undefined;
  let closed = false;
  const now = (): number => spool.options.clock.monotonic();

  const finish = (sending: Sending, put: Put): void => {
    pending--;
    sending.done(put);
  };

  const wait = (sending: Sending, text: string, pauseMs: number): void => {
    sending.text = text;
    sending.repeatAt = now() + pauseMs;
    if (closed || now() >= sending.deadline) return finish(sending, { kind: "unavailable", text });
    waiting.add(sending);
    stopSweep ??= spool.timers.every(sweepMs, sweep);
    return undefined;
  };

  const send = (sending: Sending): void => {
    const { outgoing, deadline } = sending;
    const isFirst = sending.attempts++ === 0;
    const block = isFirst
      ? headerBlock(outgoing.headers)
      : (sending.repeat ??= headerBlock([...outgoing.headers, [retryHeader, "1"]]));
    const timeoutMs = Math.min(isFirst ? firstAnswerMs : laterAnswerMs, Math.max(1, deadline - now()));
    const { subject, payload, replyRoot, isUrgent } = outgoing;
    spool.request({ subject, payload, headers: block, timeoutMs, replyRoot, isUrgent }, (answer) =>
      heed(sending, answer),
    );
  };

  const heed = (sending: Sending, answer: Answer): void => {
    if (answer.kind === "answer") {
      const put = parsePut(answer.message.data);
      if (put.kind === "passing") wait(sending, put.text, put.pauseMs);
      else finish(sending, put);
      return;
    }
    switch (answer.reason) {
      case "timeout":
        return wait(sending, "no acknowledgement", 0);
      case "no-responders":
        return wait(sending, "no stream answers", refusedPauseMs);
      case "disconnected":
        // The reconnect sends it again; the pause only bounds what a missed event could cost.
        return wait(sending, "not connected", laterAnswerMs);
      case "unsendable":
      case "closed":
        return finish(sending, { kind: "unavailable", text: answer.reason });
      default:
        return answer.reason satisfies never;
    }
  };

  const resend = (isDue: (sending: Sending) => boolean): void => {
    for (const sending of Array.from(waiting)) {
      const repeats = sending.outgoing.repeats?.() ?? "now";
      const late = now() >= sending.deadline || repeats === "never";
      if (!late && (repeats === "later" || !isDue(sending))) continue;
      waiting.delete(sending);
      if (late) finish(sending, { kind: "unavailable", text: sending.text });
      else send(sending);
    }
    if (waiting.size > 0) return;
    stopSweep?.();
    stopSweep = undefined;
  };

  const sweep = (): void => resend((sending) => now() >= sending.repeatAt);
  const forget = spool.onReconnect(() => resend(() => true));

  const close = (): void => {
    closed = true;
    forget();
    for (const sending of Array.from(waiting)) finish(sending, { kind: "unavailable", text: "closed" });
    waiting.clear();
    stopSweep?.();
    stopSweep = undefined;
  };
  spool.closing.addEventListener("abort", close, { once: true });

  return {
    put(outgoing, done) {
      const deadline = now() + outgoing.giveUpMs;
      const sending = { outgoing, deadline, done, attempts: 0, repeatAt: 0, repeat: undefined, text: "" };
      pending++;
      send(sending);
    },
    pending: () => pending,
    close,
  };
}

/** `{"stream":"MB_…","seq":12}`, with `"duplicate": true` only where it is; read by position, since JSON.parse of every acknowledgement is 5 % of a publish. */
export function parsePut(data: Buffer): Put | Passing {
  const text = data.toString("latin1");
  const at = text.indexOf('"seq":');
  if (at >= 0 && !text.includes('"error"')) {
    const seq = Number.parseInt(text.slice(at + 6), 10);
    if (seq > 0) return { kind: "stored", seq, duplicate: text.includes('"duplicate"', at) };
  }
  const result = parseApi(data);
  if (result.kind !== "refused")
    return { kind: "passing", text: "not an acknowledgement", pauseMs: refusedPauseMs };
  if (result.code === fencedCode) return { kind: "fenced" };
  if (fullCodes.has(result.code)) return { kind: "full", text: result.text };
  const pauseMs = result.code === contendedCode ? 0 : refusedPauseMs;
  return { kind: "passing", text: `${result.text} (${result.code})`, pauseMs };
}
