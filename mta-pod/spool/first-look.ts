/** Where a shard's stream stands when its owner begins to read it. Never throws; waits for a server that is away. */
import { pause, type Spool } from "./connection.ts";
import { readStreamState, type StreamState } from "./stream-state.ts";

export interface FirstLook {
  readonly spool: Spool;
  readonly stream: string;
  /** Of the owner's epoch. */
  readonly leaseSeq: number;
  isClosed(): boolean;
  /** The stream ends before the epoch, and that is no lag any more: it lost its end. */
  onEpochLost(): void;
  /** A new leader has so long to apply what it was sent, default 5 s. */
  readonly lagMs?: number | undefined;
}

const retryMs = 200;
const defaultLagMs = 5_000;

/** undefined = closed before there was an answer. */
export async function firstLook(look: FirstLook): Promise<StreamState | undefined> {
  const { spool, stream, leaseSeq, lagMs = defaultLagMs } = look;
  const { clock } = spool.options;
  let shortSince: number | undefined;
  while (!look.isClosed() && !spool.closing.aborted) {
    const state = await readStreamState(spool, stream);
    if (state !== undefined && state.lastSeq >= leaseSeq) return state;
    // With nothing indexed nothing is written either, so no fence would ever tell.
    if (state !== undefined) shortSince ??= clock.monotonic();
    if (shortSince !== undefined && clock.monotonic() - shortSince >= lagMs && !look.isClosed()) {
      shortSince = undefined;
      look.onEpochLost();
    }
    await pause(spool.timers, retryMs, spool.closing);
  }
  return undefined;
}
