/**
 * The one connection to NATS of a pod: made, kept and closed here. It reconnects for ever; what was under way when it
 * broke is answered "disconnected" and repeated by whoever asked. Throws when aborted or when the server is too old.
 */
import { type ConnectionOptions, createInbox, type NatsConnection } from "@nats-io/transport-node";
import { type PoolNames, poolNames } from "#crds/wire/subject.ts";
import type { Clock } from "#mta-pod/runtime/clock.ts";
import type { Log } from "#mta-pod/runtime/log.ts";
import type { Frame } from "./frame-reader.ts";
import { natsLogin, natsTls } from "./nats-login.ts";
import { dialNats, type Wire } from "./nats-wire.ts";
import { type Answer, type Call, createRequestInbox, type RequestInbox } from "./request-inbox.ts";
import { systemTimers, type Timers } from "./timers.ts";

export interface SpoolOptions {
  /** `nats://host:port`, `tls://…` or `host:port`; 1 or more. */
  readonly servers: readonly string[];
  /** Folder with the login and the certificates (`nats-login.ts`). */
  readonly natsDir?: string | undefined;
  /** Told at each failed attempt at a first connection. */
  readonly onWaiting?: ((error: string) => void) | undefined;
  /** `namespace/name`. */
  readonly pool: string;
  readonly pod: string;
  /** One per start of the process. */
  readonly incarnation: string;
  readonly shards: number;
  /** 1 or 3. */
  readonly replicas: number;
  readonly maxBytesPerShard: number;
  /** How long a body may live: the longest permitted expiry + 2 days (decisions.md 11). Default 9 days. */
  readonly bodyMaxAgeMs?: number;
  readonly log: Log;
  readonly clock: Clock;
  readonly timers?: Timers;
  /** Ends the wait for a first connection. */
  readonly signal?: AbortSignal;
}

export interface Spool {
  readonly nc: NatsConnection;
  readonly names: PoolNames;
  readonly options: SpoolOptions;
  readonly timers: Timers;
  /** The fast way to listen: see `Wire`. */
  hear(subject: string, heard: (frame: Frame) => void): () => void;
  /** Callback form, for the hot path: own inbox, one deadline sweep, nothing allocated but the call. */
  request(call: Call, done: (answer: Answer) => void): void;
  /** The same as a promise; it never rejects. */
  ask(call: Call): Promise<Answer>;
  connected(): boolean;
  /** Aborted by `close()`; loops of the room end on it. */
  readonly closing: AbortSignal;
  /** Called after each reconnect (not after the first connect). Returns its removal. */
  onReconnect(listener: () => void): () => void;
  onDisconnect(listener: () => void): () => void;
  /** Resolves when the connection is gone for good, with the error if it was not `close()` that ended it. */
  closed(): Promise<Error | undefined>;
  /** Flushes (1 s at most), answers what is pending "closed" and closes the socket. */
  close(): Promise<void>;
}

/** The oldest server whose JetStream does what the spool relies on (design.md §3). */
const minimumServer = "2.14.0";
const retryConnectMs = 500;
const flushMs = 1_000;
const pollMs = 10;

/** @throws Error when `signal` aborts before the first connection, or the server is older than `minimumServer`. */
export async function connectSpool(options: SpoolOptions): Promise<Spool> {
  const timers = options.timers ?? systemTimers;
  const dialed = await connectFirst(options, timers);
  const { nc } = dialed;
  const version = nc.info?.version ?? "unknown";
  if (!isSupported(version)) {
    await nc.close();
    throw new Error(
      `Cannot use NATS server ${nc.getServer()}: expected version ${minimumServer} or later, got ${version}`,
    );
  }
  options.log.info("nats connected", { server: nc.getServer(), version });
  return buildSpool(options, timers, dialed);
}

function isSupported(version: string): boolean {
  const [major = 0, minor = 0] = version.split(".").map((part) => Number.parseInt(part, 10));
  return major > 2 || (major === 2 && minor >= 14);
}

function connectionOptions(options: SpoolOptions): ConnectionOptions & { pendingLimit: number } {
  const { natsDir, servers } = options;
  const tls = natsTls(natsDir, servers);
  return {
    servers: [...servers],
    name: `mailboat ${options.pool} ${options.pod}`,
    maxReconnectAttempts: -1,
    reconnectTimeWait: 200,
    reconnectJitter: 300,
    // Half-open connections are noticed after 10 to 15 s; the default of 4 minutes would outlive every lease.
    pingInterval: 5_000,
    maxPingOut: 2,
    timeout: 5_000,
    // A server that is starting may refuse a good user for a moment; giving up for ever is never right for a pod.
    ignoreAuthErrorAbort: true,
    noAsyncTraces: true,
    // Not in the published type: bytes gathered before nats-core writes in the middle of a turn (default 32 KB).
    pendingLimit: 256 * 1024,
    ...(natsDir === undefined ? {} : { authenticator: natsLogin(natsDir) }),
    ...(tls === undefined ? {} : { tls }),
  };
}

async function connectFirst(options: SpoolOptions, timers: Timers): ReturnType<typeof dialNats> {
  for (let attempt = 0; ; attempt++) {
    options.signal?.throwIfAborted();
    try {
      return await dialNats(connectionOptions(options), options.log);
    } catch (error) {
      options.onWaiting?.(String(error));
      if (attempt % 20 === 0)
        options.log.warn("nats not reachable", { servers: options.servers, error: String(error) });
    }
    await pause(timers, retryConnectMs, options.signal);
  }
}

/** Resolves after `ms`, or as soon as `signal` aborts. */
export function pause(timers: Timers, ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted === true) {
      resolve();
      return;
    }
    const end = (): void => {
      cancel();
      signal?.removeEventListener("abort", end);
      resolve();
    };
    const cancel = timers.after(ms, end);
    signal?.addEventListener("abort", end, { once: true });
  });
}

/** Resolves when `isDone`, when the spool closes, or after `boundMs`. */
export async function pauseUntil(
  { timers, closing, options }: Pick<Spool, "timers" | "closing" | "options">,
  isDone: () => boolean,
  boundMs: number,
): Promise<void> {
  const until = options.clock.monotonic() + boundMs;
  while (!isDone() && options.clock.monotonic() < until && !closing.aborted)
    await pause(timers, pollMs, closing);
}

function buildSpool(
  options: SpoolOptions,
  timers: Timers,
  { nc, wire }: { readonly nc: NatsConnection; readonly wire: Wire },
): Spool {
  const { log, clock } = options;
  const names = poolNames(options.pool);
  const inbox = createRequestInbox({
    nc,
    wire,
    inbox: createInbox(),
    sharedRoots: names.ackRoot("*"),
    timers,
    monotonic: () => clock.monotonic(),
    log,
  });
  const closing = new AbortController();
  const reconnected = new Set<() => void>();
  const disconnected = new Set<() => void>();
  const status = { connected: true };
  const watching = watchStatus({ nc, log, inbox, reconnected, disconnected, status });
  let closedBy: Promise<void> | undefined;

  return {
    nc,
    names,
    options,
    timers,
    closing: closing.signal,
    hear: wire.hear,
    request: inbox.request,
    ask: (call) => new Promise((resolve) => inbox.request(call, resolve)),
    connected: () => status.connected,
    onReconnect: (listener) => listen(reconnected, listener),
    onDisconnect: (listener) => listen(disconnected, listener),
    async closed() {
      const error = await nc.closed();
      return error instanceof Error ? error : undefined;
    },
    close() {
      closedBy ??= (async () => {
        closing.abort();
        if (status.connected) await flushBriefly(nc, timers);
        inbox.close();
        await nc.close();
        await watching;
      })();
      return closedBy;
    },
  };
}

/** A half-open connection never answers a flush; closing must not wait for it. */
async function flushBriefly(nc: NatsConnection, timers: Timers): Promise<void> {
  const over = new AbortController();
  await Promise.race([nc.flush().catch(() => {}), pause(timers, flushMs, over.signal)]);
  over.abort();
}

function listen(listeners: Set<() => void>, listener: () => void): () => void {
  listeners.add(listener);
  return () => {
    listeners.delete(listener);
  };
}

interface Watched {
  readonly nc: NatsConnection;
  readonly log: Log;
  readonly inbox: RequestInbox;
  readonly reconnected: ReadonlySet<() => void>;
  readonly disconnected: ReadonlySet<() => void>;
  readonly status: { connected: boolean };
}

/** Ends when the connection is closed for good. */
async function watchStatus({ nc, log, inbox, reconnected, disconnected, status }: Watched): Promise<void> {
  for await (const event of nc.status()) {
    switch (event.type) {
      case "disconnect":
      case "staleConnection":
        if (!status.connected) break;
        // What nats-core still holds for sending is thrown away when it dials again, so nothing pending can be trusted.
        status.connected = false;
        log.warn("nats disconnected", { server: event.type === "disconnect" ? event.server : "stale" });
        inbox.pause();
        for (const listener of disconnected) listener();
        break;
      case "reconnect":
        status.connected = true;
        inbox.resume();
        log.info("nats reconnected", { server: event.server });
        for (const listener of reconnected) listener();
        break;
      case "error":
        log.error("nats error", { error: String(event.error) });
        break;
      case "ldm":
        log.info("nats server is leaving", { server: event.server });
        break;
      case "close":
        status.connected = false;
        break;
      case "forceReconnect":
      case "ping":
      case "reconnecting":
      case "slowConsumer":
      case "update":
        break;
      default:
        return event satisfies never;
    }
  }
}
