/**
 * One leader among the replicas, by a Lease (client-go's rules and times). Never rejects: trouble is a renewal that did not happen, and
 * after `renewMs` without one `onLost` is called, once, before another replica may lead. A lost election is over: end the process.
 */
import { pause } from "./clock.ts";
import { KubeError } from "./errors.ts";
import { heldSpec, isHeldByAnother, observe, type Observed, releasedSpec } from "./lease-record.ts";
import { collectionPath, objectPath, trimmed } from "./paths.ts";
import type {
  Clock,
  Election,
  KubeClient,
  KubeMetrics,
  KubeObject,
  Log,
  Random,
  ResourceType,
  TransportRequest,
} from "./types.ts";

export interface ElectionOptions {
  readonly client: Pick<KubeClient, "transport">;
  readonly namespace: string;
  /** Of the Lease. */
  readonly name: string;
  /** Of this process; no two may share it. */
  readonly identity: string;
  /** How long others wait after our last renewal; default 15 s. */
  readonly durationMs?: number;
  /** After so long without a renewal we lead no more; default 10 s. */
  readonly renewMs?: number;
  /** Between attempts; default 2 s. */
  readonly retryMs?: number;
  onLost(reason: string): void;
  readonly clock: Clock;
  readonly random?: Random;
  readonly log?: Log | undefined;
  readonly metrics?: KubeMetrics | undefined;
}

export const leases: ResourceType = {
  group: "coordination.k8s.io",
  version: "v1",
  plural: "leases",
  kind: "Lease",
  namespaced: true,
};

interface State {
  readonly options: ElectionOptions & {
    readonly durationMs: number;
    readonly renewMs: number;
    readonly retryMs: number;
  };
  readonly stopping: AbortController;
  readonly acquired: PromiseWithResolvers<void>;
  observed: Observed | undefined;
  /** As last read or written: its resourceVersion makes each write a compare-and-set. */
  lease: KubeObject | undefined;
  isLeading: boolean;
  /** When the last renewal that succeeded was sent. */
  renewedAt: number;
  disarm: () => void;
  /** Of the attempts since the last renewal, the newest that failed. */
  failure: string | undefined;
}

/** Throws RangeError unless retryMs < renewMs < durationMs. */
export function createElection(options: ElectionOptions): Election {
  const { durationMs = 15_000, renewMs = 10_000, retryMs = 2000, clock, identity } = options;
  if (!(retryMs < renewMs && renewMs < durationMs))
    throw new RangeError(
      `Cannot elect: expected retry < renew < duration, got ${retryMs}, ${renewMs}, ${durationMs} ms`,
    );
  const state: State = {
    options: { ...options, durationMs, renewMs, retryMs },
    stopping: new AbortController(),
    acquired: Promise.withResolvers<void>(),
    observed: undefined,
    lease: undefined,
    isLeading: false,
    renewedAt: Number.NEGATIVE_INFINITY,
    disarm: () => undefined,
    failure: undefined,
  };
  options.metrics?.leading(options.name, false);
  const ended = run(state);
  return {
    acquired: state.acquired.promise,
    // By the clock as well: timers may be late after a pause of the process.
    isLeader: () => state.isLeading && clock.monotonic() < state.renewedAt + renewMs,
    async release() {
      state.stopping.abort();
      await ended;
      if (state.isLeading) setLeading(state, false);
      // Also what was won while we were asked to stop.
      if (state.observed?.record.holder === identity) await giveUp(state);
    },
  };
}

async function run(state: State): Promise<void> {
  const { clock, retryMs, random = Math.random, log, name, identity } = state.options;
  const { signal } = state.stopping;
  while (!signal.aborted) {
    const sentAt = clock.monotonic();
    let isOurs = false;
    try {
      isOurs = await attempt(state);
    } catch (error) {
      const reason = String(error);
      // Each kind of trouble once: the same every two seconds says nothing new.
      if (reason !== state.failure) log?.warn("lease-attempt-failed", { lease: name, reason });
      state.failure = reason;
    }
    const isLate = state.isLeading && clock.monotonic() >= state.renewedAt + state.options.renewMs;
    // An answer that comes after our time is up is no renewal: `onLost` was called, or is about to be.
    if (isOurs && !isLate && !signal.aborted) renewed(state, sentAt);
    else if (!isOurs && state.isLeading && state.observed !== undefined) {
      const { holder } = state.observed.record;
      if (holder !== identity) lose(state, `the lease is held by ${holder || "nobody"}`);
    }
    const spread = state.isLeading ? 1 : 1 + random() * 0.2;
    await pause(clock, retryMs * spread, signal);
  }
}

function renewed(state: State, sentAt: number): void {
  const { clock, renewMs, log, name, identity } = state.options;
  state.renewedAt = sentAt;
  state.failure = undefined;
  state.disarm();
  state.disarm = clock.after(sentAt + renewMs - clock.monotonic(), () =>
    lose(state, `no renewal for ${renewMs} ms: ${state.failure ?? "no answer"}`),
  );
  if (state.isLeading) return;
  setLeading(state, true);
  log?.info("leading", { lease: name, identity });
  state.acquired.resolve();
}

function lose(state: State, reason: string): void {
  if (!state.isLeading) return;
  setLeading(state, false);
  state.stopping.abort();
  state.options.log?.error("lease-lost", { lease: state.options.name, reason });
  state.options.onLost(reason);
}

function setLeading(state: State, isLeading: boolean): void {
  state.isLeading = isLeading;
  if (!isLeading) state.disarm();
  state.options.metrics?.leading(state.options.name, isLeading);
}

/** One try to take or renew the lease. Rejects with KubeError when that is not known to have worked. */
async function attempt(state: State): Promise<boolean> {
  const { clock, namespace, name, identity, durationMs } = state.options;
  if (!state.isLeading || state.lease === undefined) state.lease = await read(state);
  if (state.lease === undefined) {
    const spec = heldSpec({ identity, durationMs, now: clock.now(), before: undefined });
    const metadata = { name, namespace };
    const body = { apiVersion: "coordination.k8s.io/v1", kind: "Lease", metadata, spec };
    return write(state, {
      method: "POST",
      path: collectionPath(leases, namespace),
      body: JSON.stringify(body),
    });
  }
  state.observed = observe(state.lease, state.observed, clock.monotonic());
  if (isHeldByAnother(state.observed, identity, clock.monotonic())) return false;
  const before = state.observed.record;
  return replace(state, state.lease, heldSpec({ identity, durationMs, now: clock.now(), before }));
}

async function read(state: State): Promise<KubeObject | undefined> {
  const { namespace, name } = state.options;
  try {
    return trimmed(
      leases,
      await call(state, { method: "GET", path: objectPath(leases, { namespace, name }) }),
    );
  } catch (error) {
    if (error instanceof KubeError && error.status === 404) return undefined;
    throw error;
  }
}

function replace(state: State, lease: KubeObject, spec: object): Promise<boolean> {
  const { namespace, name } = state.options;
  const body = JSON.stringify({ ...lease, spec: { ...(lease["spec"] as object | undefined), ...spec } });
  return write(state, { method: "PUT", path: objectPath(leases, { namespace, name }), body });
}

async function write(state: State, request: TransportRequest): Promise<boolean> {
  try {
    state.lease = trimmed(leases, await call(state, request));
  } catch (error) {
    // Whatever came of it, the next attempt reads first.
    state.lease = undefined;
    if (!(error instanceof KubeError && (error.status === 409 || error.status === 404))) throw error;
    // Somebody was faster: see who.
    state.lease = await read(state);
    if (state.lease !== undefined)
      state.observed = observe(state.lease, state.observed, state.options.clock.monotonic());
    return false;
  }
  if (state.lease !== undefined)
    state.observed = observe(state.lease, state.observed, state.options.clock.monotonic());
  return state.lease !== undefined;
}

/**
 * One attempt of at most half the renewal time, so that a silent API server leaves time for a second one; cut short when
 * this process is told to stop.
 */
async function call(state: State, request: TransportRequest): Promise<unknown> {
  const { client, clock, renewMs } = state.options;
  const { signal } = state.stopping;
  const abort = new AbortController();
  const stop = () => abort.abort();
  const cancel = clock.after(renewMs / 2, stop);
  signal.addEventListener("abort", stop, { once: true });
  try {
    return await client.transport.json({ ...request, signal: abort.signal });
  } finally {
    cancel();
    signal.removeEventListener("abort", stop);
  }
}

async function giveUp(state: State): Promise<void> {
  const { clock, log, name } = state.options;
  try {
    // Read again: of a renewal that was cut short nobody knows.
    state.lease = await read(state);
    if (state.lease === undefined) return;
    const { record } = observe(state.lease, state.observed, clock.monotonic());
    if (record.holder === state.options.identity)
      await replace(state, state.lease, releasedSpec(clock.now(), record));
    log?.info("lease-released", { lease: name });
  } catch (error) {
    log?.warn("lease-not-released", { lease: name, reason: String(error) });
  }
}
