/**
 * CORRIDOR: the connections of a pod to recipients' hosts: opened for an attempt, kept for the next, and cut off when
 * their shard is lost, unless the dot was sent: then the reply is awaited, since a second sending is worse (decisions.md 13).
 */
import { defaultTimeouts } from "#crds/pod-config/default-timeouts.ts";
import type { Egress } from "./egress.ts";
import type { LeftOver } from "./hand-over.ts";
import { createPermits, type Permit, type PermitsDeps } from "./permits.ts";
import type { Pod } from "./pod.ts";
import type { SiteRoute } from "./route/router.ts";
import type { Dispatch, FinishResult } from "./schedule/types.ts";
import type { Clock } from "./runtime/clock.ts";
import type { Slicing } from "./slicing.ts";
import {
  type Connection,
  type ConnectionEvents,
  type ConnectOptions,
  openConnection,
} from "./smtp-out/connection.ts";
import type { Peers } from "./spool/peers.ts";
import { createPool } from "./smtp-out/pool.ts";
import { openSink } from "./smtp-out/sink.ts";
import { limitsOf } from "./site-limits.ts";
import { createTlsPolicy } from "./smtp-out/tls-policy.ts";
import { createUnreached } from "./smtp-out/unreached.ts";
import type { Fault, Target } from "./smtp/transaction.ts";

/** A connection waits this long for the next mail: by time, not by count, so that busy sites keep theirs. */
const idleMs = 5000;
/** A peer needs a moment to see that a connection is closed: it may take up the next one first, and would count one too many. */
const noticeMs = 25;
/** After a source's proxy failed, nobody else waits for it so long. */
const proxyRestMs = 1000;

export interface Outbound {
  /** An idle connection to exactly these hosts. */
  take(key: string): Connection | undefined;
  /** Keeps it for the next mail, unless it is over or no longer wanted: then its end is told to the scheduler, if it is still to come. */
  keep(key: string, connection: Connection, limit: number): FinishResult["connection"];
  /** As `Permits.open`. */
  guests(butBy?: string): LeftOver["open"];
  /** As `Permits.leave`. */
  leave(rule: string): void;
  /** What its host's home allows it; undefined = the site's own hosts are asked for nothing. */
  permitOf(connection: Connection): Permit | undefined;
  /** How a dispatch ends whose connection is not idle any more. */
  ending(connection: Connection): "closing" | "closed";
  /** Says goodbye on every idle connection. */
  closeAllIdle(): void;
  /** Closes one idle connection, to make room for another host's or another site's. */
  makeRoom(link: SiteSource): void;
  /** Nothing leaves: it can be opened without targets. */
  isSink(source: string): boolean;
  open(order: OpenOrder): void;
  /** A transaction of the shard uses `connection` until the returned function is called. */
  use(shard: number, connection: Connection): () => void;
  /** Says goodbye on every idle connection of the site. */
  closeIdle(site: string): void;
  /** Aborts what is before its dot on the shard, connections on their way to be opened included. */
  abandon(shard: number): void;
  /** Cuts everything off, what waits for the reply to its dot too: nobody counts connections of a pod that says it is gone. */
  destroyAll(): void;
}

/** The configuration changed on the way here. */
const unused: Fault = { stage: "connect", kind: "proxy", text: "the source is not used any more" };

interface OpenOrder {
  readonly dispatch: Dispatch;
  readonly key: string;
  readonly route: SiteRoute;
  readonly targets: readonly Target[];
  ready(connection: Connection): void;
  failed(fault: Fault): void;
}

interface OutboundOptions {
  wake(): void;
  readonly peers: Pick<Peers, "askPod">;
  readonly shards: number;
  readonly slicing: Pick<Slicing, "guestsAt">;
  /** Default `openConnection`. */
  readonly connect?: Connect;
}

type Connect = (options: ConnectOptions, events: ConnectionEvents) => Connection;

function connecting(clock: Clock): Connect {
  const tlsPolicy = createTlsPolicy({ clock });
  return (options, events) => openConnection(options, events, { clock, tlsPolicy });
}

interface SiteSource {
  readonly site: string;
  readonly source: string;
}

export function siteKey({ site, source }: SiteSource): string {
  return `${site}|${source}`;
}

export function createOutbound(
  pod: PermitsDeps["pod"] & Pick<Pod, "log" | "scheduler">,
  egress: Pick<Egress, "wayOf">,
  { wake, peers, shards, slicing, connect = connecting(pod.clock) }: OutboundOptions,
): Outbound {
  const { clock, log, scheduler } = pod;
  const pool = createPool({ clock, log, idleMs });
  const used = new Map<number, Set<Connection>>();
  /** Whether the source that a connection was opened for would open it in the same way now. */
  const isCurrent = new WeakMap<Connection, () => boolean>();
  const closing = new WeakSet<Connection>();
  const gone = new WeakSet<Connection>();
  const permits = createPermits({
    pod,
    peers,
    shards,
    mayBeAt: (place) => slicing.guestsAt(place) !== undefined,
  });
  const permitOf = new WeakMap<Connection, Permit>();
  const unreached = createUnreached(clock);
  const proxyRest = new Map<string, { readonly until: number; readonly fault: Fault }>();
  const use = (shard: number, connection: Connection): (() => void) => {
    const set = used.get(shard) ?? new Set();
    used.set(shard, set.add(connection));
    return () => void set.delete(connection);
  };
  /** A peer counts a connection until its socket is closed, which is after our goodbye and its own. */
  const ending = (connection: Connection): "closing" | "closed" => {
    if (gone.has(connection)) return "closed";
    closing.add(connection);
    return "closing";
  };
  return {
    guests: permits.open,
    leave: permits.leave,
    permitOf: (connection) => permitOf.get(connection),
    take: (key) => pool.take(key),
    keep(key, connection, limit) {
      const isAskedBack = permitOf.get(connection)?.isWanted === true;
      const isLast = connection.sent >= limit || isAskedBack || isCurrent.get(connection)?.() === false;
      if (connection.idle && !isLast) {
        pool.give(key, connection);
        return "kept";
      }
      connection.close();
      return ending(connection);
    },
    ending,
    closeAllIdle: () => pool.closeIdle(),
    isSink: (source) => egress.wayOf(source)?.isSink === true,
    makeRoom: (link) => void pool.closeOne(siteKey(link)),
    open({ dispatch, key, route, targets, ready, failed }) {
      const way = egress.wayOf(dispatch.source);
      if (way === undefined) return queueMicrotask(() => failed(unused));
      const rest = proxyRest.get(dispatch.source);
      if (rest !== undefined && rest.until > clock.monotonic())
        return queueMicrotask(() => failed(rest.fault));
      const gate = permits.gate(
        { rule: route.rule?.name ?? "", limits: limitsOf(route), source: dispatch.source },
        {
          lapsed: () => {
            hasLapsed = true;
            if (!connection.committed) connection.destroy();
          },
          wanted: () => connection.close(),
        },
      );
      let hasLapsed = false;
      const leave = (): void => void setTimeout(() => gate.leave(connection.facts !== undefined), noticeMs);
      const events: ConnectionEvents = {
        ready: ({ target }) => {
          opened();
          unreached.reached(dispatch.source, target);
          const permit = gate.permit();
          if (permit !== undefined) permitOf.set(connection, permit);
          ready(connection);
        },
        failed: (fault) => {
          opened();
          leave();
          if (fault.kind === "proxy")
            proxyRest.set(dispatch.source, { until: clock.monotonic() + proxyRestMs, fault });
          // Cut off here for want of a permit: its host may be fine.
          failed(hasLapsed ? { ...fault, kind: "full" } : fault);
        },
        closed: () => {
          const wasIdle = pool.remove(key, connection);
          leave();
          const over = setTimeout(() => {
            gone.add(connection);
            const wasClosing = closing.has(connection);
            // The end of one in use is told by its transaction's result.
            if (!wasIdle && !wasClosing) return;
            const was = wasClosing ? "closing" : "idle";
            scheduler.connectionClosed(dispatch.lane.site, dispatch.source, clock.now(), was);
            wake();
          }, noticeMs);
          over.unref();
        },
      };
      const connection = way.isSink
        ? openSink(events)
        : connect(
            {
              targets: unreached.worthwhile(dispatch.source, targets),
              ehlo: way.ehlo,
              tls: route.rule?.tls.mode ?? "Opportunistic",
              timeouts: route.rule?.timeouts ?? defaultTimeouts,
              log,
              admit: gate.admit,
              missed: (fault) => unreached.failed(dispatch.source, fault),
              ...(way.localAddress === undefined ? {} : { localAddress: way.localAddress }),
              ...(way.hop === undefined ? {} : { hop: way.hop }),
            },
            events,
          );
      isCurrent.set(connection, () => egress.wayOf(dispatch.source)?.key === way.key);
      const opened = use(dispatch.entry.shard, connection);
      return undefined;
    },
    use,
    closeIdle(site) {
      while (pool.closeOne(site));
    },
    abandon(shard) {
      for (const connection of used.get(shard) ?? []) if (!connection.committed) connection.destroy();
    },
    destroyAll() {
      pool.destroyAll();
      for (const connection of [...used.values()].flatMap((set) => [...set])) connection.destroy();
    },
  };
}
