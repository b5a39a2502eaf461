/** Starts one pod and takes it apart again; waits for what is not there yet. Rejects when a port is taken, or when stopped while it waits. */
import { Registry } from "prom-client";
import { buildEngine } from "./engine.ts";
import { openFront } from "./front.ts";
import { liveConfig } from "./live-config.ts";
import type { PodOptions } from "./options.ts";
import { steadyClock, systemClock } from "./runtime/clock.ts";
import type { Log } from "./runtime/log.ts";
import { openSpool } from "./open-spool.ts";
import { pause, type Spool } from "./spool/connection.ts";
import { systemTimers } from "./spool/timers.ts";
import { startHealth } from "./telemetry/health.ts";

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
  const phase = { waitsFor: "a configuration", stopping: false };
  const running: { engine?: ReturnType<typeof buildEngine>; spool?: Spool } = {};
  // First of all: a pod that waits is alive, and says for what.
  const health = await startHealth({
    host: options.bind,
    port: options.ports.metrics,
    get metrics() {
      return running.engine?.pod.metrics ?? noMetrics;
    },
    notReady: () => notReady(phase, running.spool),
    status: () => running.engine?.status() ?? { pod: options.name, incarnation, waitsFor: phase.waitsFor },
  });
  const onWaiting = (what: string): void => void (phase.waitsFor = what);
  const live = await liveConfig(options, log, { signal, onWaiting });
  const { manifest } = live.current();
  const spool = await openSpool({
    options,
    incarnation,
    log,
    clock,
    signal,
    config: live.current,
    onWaiting,
  });
  const engine = buildEngine({ options, log, clock, incarnation, live, spool });
  Object.assign(running, { engine, spool });
  onWaiting("the address of a source on this host");
  await engine.canSend(signal);
  onWaiting("the pool's state");
  await engine.start();
  onWaiting("its ports");
  const front = await openFront({
    options,
    clock,
    log,
    signal,
    hostname: manifest.hostname,
    hooks: engine.receive,
    explain: engine.explain,
    sunk: engine.sunk,
    admission: engine.admission,
    witness: (pod, dead) => engine.pod.ownership.freeDead(pod, dead),
  });
  onWaiting("");
  return {
    ports: { ...front.ports, metrics: health.port },
    async stop() {
      phase.stopping = true;
      const graceMs = options.drainMs > 0 ? options.drainMs : live.current().manifest.drainTimeoutMs;
      // Clients are still sent here until every node knows that we leave.
      await pause(systemTimers, options.lameDuckMs);
      await front.close(graceMs);
      await engine.stop(graceMs);
      await spool.close();
      health.close();
    },
  };
}

/** Before there is an engine to count. */
const noMetrics = { registry: new Registry() };

function notReady(
  { waitsFor, stopping }: { readonly waitsFor: string; readonly stopping: boolean },
  spool: Spool | undefined,
): string[] {
  return [
    ...(stopping ? ["stopping"] : []),
    ...(waitsFor === "" ? [] : [`waits for ${waitsFor}`]),
    ...(spool === undefined || spool.connected() ? [] : ["nats is not reachable"]),
  ];
}
