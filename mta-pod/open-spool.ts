/** Opens the pod's queue: waits for NATS and for JetStream however long, and says what for. Rejects when stopped meanwhile. */
import type { PodConfig } from "#crds/pod-config/schema.ts";
import type { PodOptions } from "./options.ts";
import type { Clock } from "./runtime/clock.ts";
import type { Log } from "./runtime/log.ts";
import { connectSpool, pause, type Spool } from "./spool/connection.ts";
import { ensureStreams } from "./spool/streams.ts";
import { systemTimers } from "./spool/timers.ts";
import { tellWaiting } from "./spool/waiting.ts";

export interface OpenSpoolDeps {
  readonly options: PodOptions;
  readonly incarnation: string;
  readonly log: Log;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** Asked at each attempt. */
  config(): PodConfig;
  /** Told what the pod waits for. */
  onWaiting(what: string): void;
}

/** A server that is too old, full or not yet a cluster may be another one in a moment. */
const retryMs = 5000;

/** @throws Error in local mode, at once, for what waiting would not mend: its runner shows it to whoever started it. */
export async function openSpool(deps: OpenSpoolDeps): Promise<Spool> {
  const { signal, onWaiting, log } = deps;
  let why = "";
  for (;;) {
    await using attempt = await attemptOf(deps, () => why);
    if (attempt.spool !== undefined) return attempt.spool;
    signal.throwIfAborted();
    if (deps.options.local) throw attempt.error;
    why = attempt.error instanceof Error ? attempt.error.message : String(attempt.error);
    onWaiting(`JetStream: ${String(attempt.error)}`);
    log.error("jetstream cannot be used", { error: String(attempt.error) });
    await pause(systemTimers, retryMs, signal);
  }
}

interface Attempt extends AsyncDisposable {
  /** With its streams. */
  readonly spool?: Spool;
  readonly error?: unknown;
}

/** One that failed keeps its connection until it is disposed of, and says why the one before it failed, or it itself has. */
async function attemptOf(deps: OpenSpoolDeps, why: () => string): Promise<Attempt> {
  let spool: Spool | undefined;
  try {
    spool = await connected(deps);
    const stopTelling = tellWaiting(spool, why);
    deps.onWaiting("the pool's streams");
    await ensureStreams(spool);
    stopTelling();
    return { spool, async [Symbol.asyncDispose]() {} };
  } catch (error) {
    return { error, [Symbol.asyncDispose]: async () => spool?.close() };
  }
}

function connected(deps: OpenSpoolDeps): Promise<Spool> {
  const { options, incarnation, log, clock, signal, onWaiting } = deps;
  const { pool, queue } = deps.config().manifest;
  const servers = options.nats.length > 0 ? options.nats : queue.servers;
  const waiting = (error = ""): void => onWaiting(`NATS at ${servers.join(", ")}${error && `: ${error}`}`);
  waiting();
  return connectSpool({
    servers,
    natsDir: options.natsDir ?? undefined,
    pool,
    pod: options.name,
    incarnation,
    shards: queue.shards,
    replicas: queue.replicas,
    maxBytesPerShard: queue.maxBytesPerShard,
    log,
    clock,
    signal,
    onWaiting: waiting,
  });
}
