/**
 * Deletes stored messages by sequence, again and again until the server says so: a delete is what makes a delivered
 * mail done. Bounded in what is under way; what waits is bounded by the caller's open attempts.
 */
import { parseApi } from "./api.ts";
import type { Spool } from "./connection.ts";
import type { Answer } from "./request-inbox.ts";
import type { Cancel } from "./timers.ts";

export interface Deletion {
  readonly stream: string;
  readonly seq: number;
  /**
   * Asked before a repeat after a lost connection: a server that lost its unsynced tail uses sequences again, and the
   * delete would then take somebody else's mail. "other" counts as removed.
   */
  readonly verify?: () => Promise<"same" | "other" | "unknown">;
  /** Ask before the first time as well. */
  readonly isDoubtful?: boolean;
}

export type Removed = "removed" | "unavailable";

export interface Deletions {
  /** "unavailable" only when the spool closes first. */
  remove(deletion: Deletion, done: (removed: Removed) => void): void;
  /** Not acknowledged yet. */
  pending(): number;
  close(): void;
}

interface Waiting {
  readonly deletion: Deletion;
  readonly done: (removed: Removed) => void;
  tries: number;
  dueAt: number;
  isDoubtful: boolean;
}

/** With two of these a pod keeps under 500 API calls; the server drops what its queue of 10,000 cannot take. */
const maxUnderWay = 250;
const answerMs = 5_000;
const firstPauseMs = 100;
const maxPauseMs = 5_000;
const sweepMs = 100;
/** After so many tries, about 3 s, one of those that do not go through is logged, and then one every so often. */
const loggedTries = 6;
const logEveryMs = 5_000;
const maxReason = 300;

const absentCodes = new Set([10037, 10043]);
const deleteFailedCode = 10057;

export function createDeletions(spool: Spool): Deletions {
  let queue: Waiting[] = [];
  let head = 0;
  let underWay = 0;
  let pending = 0;
  let closed = false;
  let loggedAt = -Infinity;
  const paused = new Set<Waiting>();
  let stopSweep: Cancel | undefined;
  const now = (): number => spool.options.clock.monotonic();

  const finish = (waiting: Waiting, removed: Removed): void => {
    pending--;
    waiting.done(removed);
  };

  const again = (waiting: Waiting): void => {
    if (closed) return finish(waiting, "unavailable");
    waiting.dueAt = now() + Math.min(maxPauseMs, firstPauseMs * 2 ** waiting.tries++);
    paused.add(waiting);
    stopSweep ??= spool.timers.every(sweepMs, () => wake((one) => now() >= one.dueAt));
    return undefined;
  };

  const heed = (waiting: Waiting, answer: Answer): void => {
    underWay--;
    if (answer.kind === "answer" && isRemoved(answer.message.data)) finish(waiting, "removed");
    else if (answer.kind === "none" && answer.reason === "closed") finish(waiting, "unavailable");
    else {
      if (answer.kind === "none" && answer.reason === "disconnected") waiting.isDoubtful = true;
      // One that never goes through holds up its whole shard: somebody has to be told.
      if (waiting.tries >= loggedTries) logRefusal(waiting.deletion, answer);
      again(waiting);
    }
    advance();
  };

  const logRefusal = ({ stream, seq }: Deletion, answer: Answer): void => {
    if (now() - loggedAt < logEveryMs) return;
    loggedAt = now();
    const reason = answer.kind === "none" ? answer.reason : answer.message.data.toString("utf8");
    spool.options.log.warn("delete refused", { stream, seq, reason: reason.slice(0, maxReason) });
  };

  const send = (waiting: Waiting): void => {
    const { stream, seq } = waiting.deletion;
    spool.request(
      {
        subject: `$JS.API.STREAM.MSG.DELETE.${stream}`,
        payload: `{"seq":${seq},"no_erase":true}`,
        timeoutMs: answerMs,
      },
      (answer) => heed(waiting, answer),
    );
  };

  const check = async (waiting: Waiting): Promise<void> => {
    const found = (await waiting.deletion.verify?.()) ?? "same";
    if (found === "same") {
      waiting.isDoubtful = false;
      return send(waiting);
    }
    underWay--;
    if (found === "other") finish(waiting, "removed");
    else again(waiting);
    return advance();
  };

  const advance = (): void => {
    while (head < queue.length && underWay < maxUnderWay) {
      const waiting = queue[head++];
      if (waiting === undefined) break;
      underWay++;
      if (waiting.isDoubtful) void check(waiting);
      else send(waiting);
    }
    if (head < queue.length) return;
    queue = [];
    head = 0;
  };

  const wake = (isDue: (waiting: Waiting) => boolean): void => {
    for (const waiting of Array.from(paused)) {
      if (!isDue(waiting)) continue;
      paused.delete(waiting);
      queue.push(waiting);
    }
    if (paused.size === 0) {
      stopSweep?.();
      stopSweep = undefined;
    }
    advance();
  };
  const forget = spool.onReconnect(() => {
    // Also those whose time was over before the connection broke.
    for (const waiting of [...paused, ...queue.slice(head)]) waiting.isDoubtful = true;
    wake(() => true);
  });

  const close = (): void => {
    closed = true;
    forget();
    stopSweep?.();
    stopSweep = undefined;
    const left = [...paused, ...queue.slice(head)];
    paused.clear();
    queue = [];
    head = 0;
    for (const waiting of left) finish(waiting, "unavailable");
  };
  spool.closing.addEventListener("abort", close, { once: true });

  return {
    remove(deletion, done) {
      pending++;
      const isDoubtful = deletion.isDoubtful === true;
      const waiting = { deletion, done, tries: 0, dueAt: 0, isDoubtful };
      if (closed) {
        setImmediate(() => finish(waiting, "unavailable"));
        return;
      }
      queue.push(waiting);
      advance();
    },
    pending: () => pending,
    close,
  };
}

/** Success, or the server's several ways of saying that there is no such message. */
export function isRemoved(data: Buffer): boolean {
  const text = data.toString("latin1");
  if (text.includes('"success":true')) return true;
  const result = parseApi(data);
  if (result.kind !== "refused") return false;
  if (absentCodes.has(result.code)) return true;
  return (
    result.code === deleteFailedCode && /no message found|deleted message|stream store EOF/.test(result.text)
  );
}
