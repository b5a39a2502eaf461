/**
 * How full the pool's streams are, so that intake stops at 80 % while states, moves and DSNs still fit (design.md §3).
 * Asks the server every 3 s about streams in use and adds what this pod published since; never fails, unknown = not full.
 */
import { callApi, isRecord } from "./api.ts";
import type { Spool } from "./connection.ts";
import type { Cancel } from "./timers.ts";

export interface Fullness {
  /**
   * Counts `bytes` as added when there is room; false = stop. `stream` is a name as in `PoolNames`. The pod's own
   * entries are counted and never stopped here: the server itself refuses at 100 %.
   */
  take(stream: string, bytes: number, by: "intake" | "pod"): boolean;
  /** How full the fullest stream in use is, of its `max_bytes`; 0 while nothing is known. */
  fullest(): number;
  close(): void;
}

interface Level {
  maxBytes: number;
  bytes: number;
  /** Published by this pod since the server was asked. */
  added: number;
  /** Published, but before the question now on its way: it may or may not be in the answer. */
  addedBefore: number;
  isAsked: boolean;
}

const intakeShare = 0.8;
/** Above this a stream is watched also when this pod publishes nothing to it, to notice when it empties. */
const watchShare = 0.7;
const askMs = 3_000;

/** One per publisher. */
export function createFullness(spool: Spool): Fullness {
  const levels = new Map<string, Level>();

  const ask = async (stream: string, level: Level): Promise<void> => {
    level.isAsked = true;
    level.addedBefore = level.added;
    level.added = 0;
    const result = await callApi(spool, { subject: `STREAM.INFO.${stream}`, timeoutMs: askMs });
    level.isAsked = false;
    const read = result.kind === "ok" ? levelOf(result.value) : undefined;
    if (read === undefined) {
      level.added += level.addedBefore;
    } else {
      level.maxBytes = read.maxBytes;
      level.bytes = read.bytes;
    }
    level.addedBefore = 0;
  };

  const cancel: Cancel = spool.timers.every(askMs, () => {
    for (const [stream, level] of levels) {
      const isWatched = level.added > 0 || level.bytes >= watchShare * level.maxBytes;
      if (isWatched && !level.isAsked && spool.connected()) void ask(stream, level);
    }
  });

  spool.closing.addEventListener("abort", cancel, { once: true });

  return {
    take(stream, bytes, by) {
      let level = levels.get(stream);
      if (level === undefined) {
        level = { maxBytes: Number.POSITIVE_INFINITY, bytes: 0, added: 0, addedBefore: 0, isAsked: false };
        levels.set(stream, level);
        void ask(stream, level);
      }
      const after = level.bytes + level.added + level.addedBefore + bytes;
      if (by === "intake" && after > intakeShare * level.maxBytes) return false;
      level.added += bytes;
      return true;
    },
    fullest: () =>
      Math.max(
        0,
        ...[...levels.values()].map(
          ({ bytes, added, addedBefore, maxBytes }) => (bytes + added + addedBefore) / maxBytes,
        ),
      ),
    close: cancel,
  };
}

function levelOf(info: Readonly<Record<string, unknown>>): { maxBytes: number; bytes: number } | undefined {
  const { config, state } = info;
  if (!isRecord(config) || !isRecord(state)) return undefined;
  const { max_bytes: maxBytes } = config;
  const { bytes } = state;
  if (typeof maxBytes !== "number" || typeof bytes !== "number") return undefined;
  return { maxBytes: maxBytes > 0 ? maxBytes : Number.POSITIVE_INFINITY, bytes };
}
