/** Starts one pod and takes it apart again. Rejects when a port is taken, or when stopped while it still waits. */
import { buildEngine } from "./engine.ts";
import { openFront } from "./front.ts";
import { liveConfig } from "./live-config.ts";
import type { PodOptions } from "./options.ts";
import { steadyClock, systemClock } from "./runtime/clock.ts";
import type { Log } from "./runtime/log.ts";
import { connectSpool } from "./spool/connection.ts";
import { ensureStreams } from "./spool/streams.ts";
import { type HealthServer, startHealth } from "./telemetry/health.ts";

export interface StartOptions {
  readonly options: PodOptions;
  readonly log: Log;
  readonly incarnation: string;
  /** Aborted when the pod is told to stop, also while it is still starting. */
  readonly signal: AbortSignal;
}

export interface RunningPod {
  readonly ports: Readonly<Record<string, number>>;
  /** Stops taking, finishes what is open within the grace time, hands the shards over. */
  stop(): Promise<void>;
}

export async function startPod(start: StartOptions): Promise<RunningPod> {
  const { options, log, incarnation, signal } = start;
  const clock = steadyClock(systemClock);
  const live = await liveConfig(options, log, signal);
  const { manifest } = live.current();
  const spool = await connectSpool({
    servers: options.nats.length > 0 ? options.nats : manifest.queue.servers,
    pool: manifest.pool,
    pod: options.name,
    incarnation,
    shards: manifest.queue.shards,
    replicas: manifest.queue.replicas,
    maxBytesPerShard: manifest.queue.maxBytesPerShard,
    log,
    clock,
    signal,
  });
  await ensureStreams(spool);
  const engine = buildEngine({ options, log, clock, incarnation, live, spool });
  await engine.start();
  const front = await openFront({
    options,
    clock,
    log,
    hostname: manifest.hostname,
    hooks: engine.receive,
    explain: engine.explain,
    admission: engine.admission,
    witness: (pod, dead) => engine.pod.ownership.freeDead(pod, dead),
  });
  let stopping = false;
  const health: HealthServer = await startHealth({
    host: options.bind,
    port: options.ports.metrics,
    metrics: engine.pod.metrics,
    notReady: () => [
      ...(stopping ? ["stopping"] : []),
      ...(spool.connected() ? [] : ["nats is not reachable"]),
    ],
    status: engine.status,
  });
  return {
    ports: { ...front.ports, metrics: health.port },
    async stop() {
      stopping = true;
      const graceMs = options.drainMs > 0 ? options.drainMs : live.current().manifest.drainTimeoutMs;
      await front.close(graceMs);
      await engine.stop(graceMs);
      await spool.close();
      health.close();
    },
  };
}
