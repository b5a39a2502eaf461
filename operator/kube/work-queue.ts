/**
 * Which keys are to be reconciled, each by one worker at a time: a key that waits is not added twice, one that runs is run again
 * afterwards, edits go before the initial list, failures wait longer each time. Never rejects; what reconcile throws is counted and retried.
 */
import type { Clock, KubeMetrics, Log, QueueCounts, QueuePriority, Random, WorkQueue } from "./types.ts";

export interface WorkQueueOptions {
  /** In metrics and logs: the controller's name. */
  readonly name: string;
  readonly workers: number;
  /** Wait after the first failure of a key, doubled by each further one; default 5 ms. */
  readonly baseMs?: number;
  /** Default 1000 s. */
  readonly maxMs?: number;
  /** After this the signal is aborted; the key stays in flight until reconcile ends. Default 120 s. */
  readonly timeoutMs?: number;
  /** Rejecting with an error that has `retryAfterMs` waits at least so long. */
  reconcile(
    key: string,
    signal: AbortSignal,
  ): Promise<{ readonly requeueAfterMs?: number | undefined } | void>;
  readonly clock: Clock;
  readonly random?: Random;
  readonly log?: Log | undefined;
  readonly metrics?: KubeMetrics | undefined;
}

interface Running {
  readonly startedAt: number;
  readonly priority: QueuePriority;
  readonly abort: AbortController;
  readonly ended: Promise<void>;
  /** Added meanwhile. */
  again?: QueuePriority;
}

interface Later {
  readonly at: number;
  /** Asked for by a reconcile, and of no matter once a later one asks for nothing. */
  isRequeue: boolean;
  readonly cancel: () => void;
}

interface State {
  readonly options: WorkQueueOptions;
  readonly counts: QueueCounts | undefined;
  /** When each key that waits was added. */
  readonly waiting: Readonly<Record<QueuePriority, Map<string, number>>>;
  readonly running: Map<string, Running>;
  readonly later: Map<string, Later>;
  readonly failures: Map<string, number>;
  highsInARow: number;
  stopped: boolean;
}

/** After so many edits in a row one key of the initial list has its turn. */
const highsPerLow = 10;

/** @example createWorkQueue({ name: "sendingpool", workers: 4, clock, reconcile: (key) => reconcilePool(key) }) */
export function createWorkQueue(options: WorkQueueOptions): WorkQueue {
  const waiting = { high: new Map<string, number>(), low: new Map<string, number>() };
  const running = new Map<string, Running>();
  const state: State = {
    options,
    counts: options.metrics?.queue(options.name, () => gaugesOf(state)),
    waiting,
    running,
    later: new Map(),
    failures: new Map(),
    highsInARow: 0,
    stopped: false,
  };
  return {
    add: (key, { priority = "high" } = {}) => add(state, key, priority),
    addAfter: (key, ms) => addAfter(state, key, { ms, priority: "high" }),
    async stop() {
      state.stopped = true;
      for (const { cancel } of state.later.values()) cancel();
      state.later.clear();
      for (const { abort } of running.values()) abort.abort();
      await Promise.all([...running.values()].map(({ ended }) => ended));
    },
    depth: () => waiting.high.size + waiting.low.size,
  };
}

function gaugesOf({ options, waiting, running }: State) {
  const now = options.clock.monotonic();
  const seconds = [...running.values()].map(({ startedAt }) => (now - startedAt) / 1000);
  return {
    high: waiting.high.size,
    low: waiting.low.size,
    active: running.size,
    workers: options.workers,
    unfinishedSeconds: seconds.reduce((sum, one) => sum + one, 0),
    longestSeconds: Math.max(0, ...seconds),
  };
}

function add(state: State, key: string, priority: QueuePriority): void {
  if (state.stopped) return;
  const { waiting } = state;
  const run = state.running.get(key);
  if (run !== undefined) {
    if (run.again === undefined) state.counts?.added();
    run.again = run.again === "high" ? "high" : priority;
    return;
  }
  if (waiting.high.has(key) || (priority === "low" && waiting.low.has(key))) return;
  const addedAt = waiting.low.get(key);
  waiting.low.delete(key);
  waiting[priority].set(key, addedAt ?? state.options.clock.monotonic());
  if (addedAt === undefined) state.counts?.added();
  startMore(state);
}

function addAfter(
  state: State,
  key: string,
  { ms, priority, isRequeue = false }: { ms: number; priority: QueuePriority; isRequeue?: boolean },
): void {
  if (state.stopped) return;
  if (!(ms > 0)) return add(state, key, priority);
  const { clock } = state.options;
  const at = clock.monotonic() + ms;
  const known = state.later.get(key);
  if (known !== undefined && known.at <= at) {
    known.isRequeue &&= isRequeue;
    return;
  }
  known?.cancel();
  const cancel = clock.after(ms, () => {
    state.later.delete(key);
    add(state, key, priority);
  });
  state.later.set(key, { at, isRequeue, cancel });
}

function forgetRequeue({ later }: State, key: string): void {
  const known = later.get(key);
  if (known?.isRequeue !== true) return;
  known.cancel();
  later.delete(key);
}

function startMore(state: State): void {
  while (!state.stopped && state.running.size < state.options.workers) {
    const next = take(state);
    if (next === undefined) return;
    start(state, next);
  }
}

interface Taken {
  readonly key: string;
  readonly priority: QueuePriority;
  readonly addedAt: number;
}

function take(state: State): Taken | undefined {
  const { high, low } = state.waiting;
  const isLowsTurn = low.size > 0 && (high.size === 0 || state.highsInARow >= highsPerLow);
  const priority = isLowsTurn ? "low" : "high";
  const [first] = state.waiting[priority];
  if (first === undefined) return undefined;
  state.highsInARow = isLowsTurn ? 0 : state.highsInARow + 1;
  const [key, addedAt] = first;
  state.waiting[priority].delete(key);
  return { key, priority, addedAt };
}

function start(state: State, { key, priority, addedAt }: Taken): void {
  const { clock } = state.options;
  const abort = new AbortController();
  const startedAt = clock.monotonic();
  state.counts?.started((startedAt - addedAt) / 1000);
  const ended = Promise.withResolvers<void>();
  const run: Running = { startedAt, priority, abort, ended: ended.promise };
  state.running.set(key, run);
  void reconcile(state, key, run).finally(() => {
    state.running.delete(key);
    ended.resolve();
    if (run.again !== undefined && !state.stopped) {
      state.waiting[run.again].set(key, clock.monotonic());
    }
    startMore(state);
  });
}

async function reconcile(state: State, key: string, { startedAt, priority, abort }: Running): Promise<void> {
  const { clock, log, name, timeoutMs = 120_000 } = state.options;
  const cancel = clock.after(timeoutMs, () => {
    state.counts?.timedOut();
    log?.warn("reconcile-timed-out", { controller: name, key, timeoutMs });
    abort.abort();
  });
  const seconds = () => (clock.monotonic() - startedAt) / 1000;
  try {
    const { requeueAfterMs } = (await state.options.reconcile(key, abort.signal)) ?? {};
    state.failures.delete(key);
    const isAgain = requeueAfterMs !== undefined;
    if (!isAgain) forgetRequeue(state, key);
    state.counts?.ended(isAgain ? "requeue_after" : "success", seconds());
    if (isAgain) addAfter(state, key, { ms: requeueAfterMs, priority, isRequeue: true });
  } catch (error) {
    state.counts?.ended("error", seconds());
    if (isBug(error)) state.counts?.panicked();
    const ms = waitAfterFailure(state, key, error);
    log?.[isBug(error) ? "error" : "warn"]("reconcile-failed", {
      controller: name,
      key,
      error: isBug(error) ? String((error as Error).stack) : String(error),
      retryMs: Math.round(ms),
    });
    state.counts?.retried();
    addAfter(state, key, { ms, priority });
  } finally {
    cancel();
  }
}

function waitAfterFailure({ options, failures }: State, key: string, error: unknown): number {
  const { baseMs = 5, maxMs = 1_000_000, random = Math.random } = options;
  const before = failures.get(key) ?? 0;
  failures.set(key, before + 1);
  const backOff = Math.min(maxMs, baseMs * 2 ** Math.min(before, 50)) * (0.5 + random() / 2);
  const asked = (error as { retryAfterMs?: unknown } | null)?.retryAfterMs;
  return typeof asked === "number" ? Math.max(backOff, Math.min(asked, maxMs)) : backOff;
}

/** What controller-runtime would recover from as a panic: our mistakes, not the world's trouble. */
function isBug(error: unknown): boolean {
  return error instanceof TypeError || error instanceof RangeError || error instanceof ReferenceError;
}
