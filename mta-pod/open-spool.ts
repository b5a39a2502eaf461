/** Opens the pod's queue: waits for NATS and for JetStream however long, and says what for. Rejects when stopped meanwhile. */
import type { PodConfig } from "#crds/pod-config/schema.ts";
import type { PodOptions } from "./options.ts";
import type { Clock } from "./runtime/clock.ts";
import type { Log } from "./runtime/log.ts";
import { connectSpool, pause, type Spool } from "./spool/connection.ts";
import { ensureStreams } from "./spool/streams.ts";
import { systemTimers } from "./spool/timers.ts";

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
  for (;;) {
    try {
      return await openOnce(deps);
    } catch (error) {
      deps.signal.throwIfAborted();
      if (deps.options.local) throw error;
      deps.onWaiting(`JetStream: ${String(error)}`);
      deps.log.error("jetstream cannot be used", { error: String(error) });
    }
    await pause(systemTimers, retryMs, deps.signal);
  }
}

async function openOnce(deps: OpenSpoolDeps): Promise<Spool> {
  const { options, incarnation, log, clock, signal, onWaiting } = deps;
  const { pool, queue } = deps.config().manifest;
  const servers = options.nats.length > 0 ? options.nats : queue.servers;
  const waiting = (error = ""): void => onWaiting(`NATS at ${servers.join(", ")}${error && `: ${error}`}`);
  waiting();
  const spool = await connectSpool({
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
  try {
    onWaiting("the pool's streams");
    await ensureStreams(spool);
    return spool;
  } catch (error) {
    await spool.close();
    throw error;
  }
}
