/**
 * Request and reply over one inbox subscription and one deadline sweep: no promise, timer or subscription per request.
 * A request whose connection broke is answered "disconnected" at once: its reply can no longer come.
 */
import type { MsgHdrs, NatsConnection } from "@nats-io/transport-node";
import type { Log } from "#mta-pod/runtime/log.ts";
import type { Frame } from "./frame-reader.ts";
import type { Wire } from "./nats-wire.ts";
import type { Cancel, Timers } from "./timers.ts";

export interface Call {
  readonly subject: string;
  readonly payload: Uint8Array | string;
  /** As `headerBlock` writes them. */
  readonly headers?: string | undefined;
  readonly timeoutMs: number;
  /** The answer goes to `<replyRoot>.<ours>.<n>`, where others may hear it too; default our own inbox. */
  readonly replyRoot?: string | undefined;
  /** Does not wait for others to share a write with: somebody's next step hangs on the answer. */
  readonly isUrgent?: boolean | undefined;
}

/** "none" = unknown whether the request was carried out (but for "no-responders" and "unsendable": it was not). */
export type Answer =
  | { readonly kind: "answer"; readonly message: Answered }
  | {
      readonly kind: "none";
      readonly reason: "timeout" | "disconnected" | "no-responders" | "closed" | "unsendable";
    };

interface Answered {
  readonly data: Buffer;
  /** undefined = there are none. */
  readonly headers: MsgHdrs | undefined;
}

export interface RequestInbox {
  /** `done` is called exactly once, never before this returns. */
  request(call: Call, done: (answer: Answer) => void): void;
  pending(): number;
  /** Answers everything pending; while paused, requests are answered "disconnected" without being sent. */
  pause(): void;
  resume(): void;
  close(): void;
}

export interface InboxOptions {
  readonly nc: NatsConnection;
  readonly wire: Wire;
  readonly inbox: string;
  /** Matches every `replyRoot` of calls. */
  readonly sharedRoots: string;
  readonly timers: Timers;
  readonly monotonic: () => number;
  readonly log: Log;
}

interface Pending {
  readonly call: Call;
  readonly deadline: number;
  readonly done: (answer: Answer) => void;
}

/** How late a deadline may be noticed. */
const sweepMs = 100;
/** Requests wait for the end of the loop's turn to share one write, but never with more bytes than this. */
const batchBytes = 128 * 1024;
/**
 * Above this many requests in a window they wait longer for each other: a write to NATS costs both sides more than what
 * it carries (at 833/s a pod, waiting saves a third of all CPU time). Below, hardly any other comes in the meantime.
 */
const busyWindowMs = 100;
const busyRequests = 30;
const lingerMs = 8;

/** Subscribes to `inbox.*` and to our part of the shared roots; everything after that is driven by replies, `pause`, `resume` and the sweep. */
export function createRequestInbox(options: InboxOptions): RequestInbox {
  const { nc, wire, inbox, sharedRoots, timers, monotonic, log } = options;
  const ours = inbox.slice(inbox.lastIndexOf(".") + 1);
  const pending = new Map<number, Pending>();
  let unsent: number[] = [];
  let unsentBytes = 0;
  let flushing: "no" | "later" | "soon" = "no";
  let windowStart = 0;
  let inWindow = 0;
  let isBusy = false;
  let lastId = 0;
  let state: "open" | "paused" | "closed" = "open";
  let stopSweep: Cancel | undefined;

  const settle = (id: number, answer: Answer): void => {
    const entry = pending.get(id);
    if (entry === undefined) return;
    pending.delete(id);
    if (pending.size === 0) {
      stopSweep?.();
      stopSweep = undefined;
    }
    try {
      entry.done(answer);
    } catch (error) {
      log.error("reply failed", { subject: entry.call.subject, error: String(error) });
    }
  };

  const settleAll = (reason: "disconnected" | "closed"): void => {
    // A copy: whoever is answered may ask again at once.
    for (const id of Array.from(pending.keys())) settle(id, { kind: "none", reason });
  };

  const sweep = (): void => {
    const now = monotonic();
    for (const [id, entry] of pending)
      if (now >= entry.deadline) settle(id, { kind: "none", reason: "timeout" });
  };

  const send = (id: number): void => {
    const call = pending.get(id)?.call;
    if (call === undefined) return;
    const { subject, payload, headers, replyRoot } = call;
    const reply = `${replyRoot === undefined ? inbox : `${replyRoot}.${ours}`}.${id}`;
    const gathered = nc.isClosed() ? "closed" : wire.publish({ subject, reply, headers, payload });
    if (gathered === "gathered") return;
    if (gathered === "too-large") log.warn("request not sendable", { subject });
    // The connection may have ended before anybody is told.
    const reason = { closed: "closed", away: "disconnected", "too-large": "unsendable" } as const;
    setImmediate(() => settle(id, { kind: "none", reason: reason[gathered] }));
  };

  const flush = (): void => {
    flushing = "no";
    const ids = unsent;
    unsent = [];
    unsentBytes = 0;
    for (const id of ids) send(id);
    wire.flush();
  };

  /** Counts the request in; true when so many come that holding them for each other pays. */
  const countIn = (now: number): boolean => {
    if (now - windowStart >= busyWindowMs) {
      isBusy = inWindow >= busyRequests && now - windowStart < 2 * busyWindowMs;
      windowStart = now;
      inWindow = 0;
    }
    inWindow++;
    return isBusy;
  };

  const flushBy = (when: "soon" | "later"): void => {
    if (flushing === "soon" || flushing === when) return;
    flushing = when;
    if (when === "later") {
      timers.after(lingerMs, flush);
      return;
    }
    setImmediate(flush);
  };

  const heard = (frame: Frame): void => {
    const message = { data: frame.copy(), headers: frame.hasHeaders ? frame.toMsg(nc).headers : undefined };
    const unheard = frame.size === 0 && message.headers?.code === 503;
    settle(
      frame.subjectNumber,
      unheard ? { kind: "none", reason: "no-responders" } : { kind: "answer", message },
    );
  };
  const stops = [`${inbox}.*`, `${sharedRoots}.${ours}.*`].map((subject) => wire.hear(subject, heard));

  return {
    request(call, done) {
      const id = ++lastId;
      const now = monotonic();
      pending.set(id, { call, deadline: now + call.timeoutMs, done });
      stopSweep ??= timers.every(sweepMs, sweep);
      if (state !== "open") {
        const reason = state === "closed" ? "closed" : "disconnected";
        setImmediate(() => settle(id, { kind: "none", reason }));
        return;
      }
      unsent.push(id);
      unsentBytes += call.payload.length;
      const isHeld = countIn(now) && call.isUrgent !== true;
      if (unsentBytes >= batchBytes) flush();
      else flushBy(isHeld ? "later" : "soon");
    },
    pending: () => pending.size,
    pause() {
      if (state === "open") state = "paused";
      unsent = [];
      unsentBytes = 0;
      settleAll("disconnected");
    },
    resume() {
      if (state === "paused") state = "open";
    },
    close() {
      if (state === "closed") return;
      state = "closed";
      unsent = [];
      for (const stop of stops) stop();
      settleAll("closed");
    },
  };
}
