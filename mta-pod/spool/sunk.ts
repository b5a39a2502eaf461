/**
 * What a pool in mode Sink took, kept for a look: the last 1,000 messages in a stream of their own, made at the first one. Never
 * holds up mail, never fails: what cannot be stored is dropped and counted. Reading answers [] when there is no such stream.
 */
import { decodeSunk, encodeSunk, maxSunkBytes, type Sunk, sunkHeader } from "#crds/wire/sunk.ts";
import { callApi } from "./api.ts";
import type { Spool } from "./connection.ts";
import { createOutbox } from "./outbox.ts";
import { readToEnd } from "./read-to-end.ts";
import { readStreamState } from "./stream-state.ts";
import { ensureStreams, sinkStreamConfig } from "./streams.ts";

export interface SunkStore {
  /** `message` in pieces. */
  put(sunk: Omit<Sunk, "size">, message: readonly Buffer[]): void;
  /** The newest first. */
  list(limit: number): Promise<readonly Sunk[]>;
  /** The newest of this id. */
  find(id: string): Promise<{ readonly sunk: Sunk; readonly message: Buffer } | undefined>;
  dropped(): number;
  close(): void;
}

const giveUpMs = 10_000;
/** Beyond it messages are dropped: a burst need not be seen whole. */
const maxPending = 256;
const maxPendingBytes = 16 * 1024 * 1024;
const remakeMs = 30_000;
/** A list that takes longer is what has come by then. */
const listMs = 5000;

export function createSunkStore(spool: Spool): SunkStore {
  const outbox = createOutbox(spool);
  let pending = 0;
  let pendingBytes = 0;
  let dropped = 0;
  let made: Promise<boolean> | undefined;
  let failedAt = Number.NEGATIVE_INFINITY;

  const make = (): Promise<boolean> => {
    const now = spool.options.clock.monotonic();
    if (made === undefined && now - failedAt < remakeMs) return Promise.resolve(false);
    made ??= ensureStreams(spool, [sinkStreamConfig(spool.names, spool.options)]).then(
      () => true,
      (error: unknown) => {
        spool.options.log.warn("sink stream not made", { error: String(error) });
        made = undefined;
        failedAt = spool.options.clock.monotonic();
        return false;
      },
    );
    return made;
  };

  const read = async (by: object): Promise<Kept | undefined> => {
    const got = await callApi(spool, { subject: `STREAM.MSG.GET.${spool.names.sinkStream}`, body: by });
    return got.kind === "ok" ? keptOf(got.value["message"]) : undefined;
  };

  return {
    put(sunk, message) {
      if (pending >= maxPending || pendingBytes >= maxPendingBytes) {
        dropped++;
        return;
      }
      const whole = Buffer.concat(message);
      const payload = whole.subarray(0, maxSunkBytes);
      pending++;
      pendingBytes += payload.length;
      const end = (isStored: boolean): void => {
        pending--;
        pendingBytes -= payload.length;
        if (!isStored) dropped++;
      };
      const headers = [[sunkHeader, encodeSunk({ ...sunk, size: whole.length })]] as const;
      const outgoing = { subject: spool.names.sinkSubject(sunk.id), headers, payload, giveUpMs };
      void make().then((isMade) =>
        isMade ? outbox.put(outgoing, (put) => end(put.kind === "stored")) : end(false),
      );
    },
    async list(limit) {
      const { sinkStream, sinkSubject } = spool.names;
      const state = await readStreamState(spool, sinkStream);
      if (state === undefined || spool.closing.aborted) return [];
      const kept = new Map<number, Sunk>();
      const late = new AbortController();
      const cancel = spool.timers.after(listMs, () => late.abort());
      await readToEnd({
        spool,
        stream: sinkStream,
        filter: sinkSubject("*"),
        from: Math.max(state.firstSeq, state.lastSeq - limit + 1),
        // A thousand messages are up to 256 MiB; what is listed of them is in their headers.
        headersOnly: true,
        signal: AbortSignal.any([late.signal, spool.closing]),
        take(seq, message) {
          const sunk = decodeSunk(message.headers?.get(sunkHeader) ?? "");
          if (sunk !== undefined) kept.set(seq, sunk);
          return true;
        },
        onRestarted: () => {},
        onRegressed: () => kept.clear(),
      });
      cancel();
      const newest = [...kept].sort(([a], [b]) => b - a).map(([, sunk]) => sunk);
      return newest.slice(0, limit);
    },
    async find(id) {
      if (!/^[0-9A-Za-z_-]{1,64}$/.test(id)) return undefined;
      return read({ last_by_subj: spool.names.sinkSubject(id) });
    },
    dropped: () => dropped,
    close: () => outbox.close(),
  };
}

interface Kept {
  readonly sunk: Sunk;
  readonly message: Buffer;
}

/** JetStream gives header block and payload in base64. */
function keptOf(message: unknown): Kept | undefined {
  const { hdrs = "", data = "" } = (message ?? {}) as { hdrs?: string; data?: string };
  const lines = Buffer.from(hdrs, "base64").toString("utf8").split("\r\n");
  const line = lines.find((one) => one.startsWith(`${sunkHeader}:`));
  const sunk = line === undefined ? undefined : decodeSunk(line.slice(sunkHeader.length + 1).trim());
  return sunk === undefined ? undefined : { sunk, message: Buffer.from(data, "base64") };
}
