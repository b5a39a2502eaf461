/** Keeps idle connections by key and closes them when they have waited long enough. Never hands out one that is not idle. */
import type { Clock } from "../runtime/clock.ts";
import type { Log } from "../runtime/log.ts";
import type { Connection } from "./connection.ts";

export interface PoolOptions {
  readonly clock: Clock;
  readonly log: Log;
  /** How long a connection may wait for its next transaction, default 5 s. */
  readonly idleMs?: number;
  /** The pool begins to close a connection of this key, for its age or by `closeOne` and `closeIdle`. */
  readonly onIdleClosed?: (key: string) => void;
}

export interface Pool {
  /** The one that waited least; undefined when none is idle. */
  take(key: string): Connection | undefined;
  /** From now on the pool's, until it is taken or removed; one that is not idle is not kept. */
  give(key: string, connection: Connection): void;
  /**
   * To be called at a connection's `closed`, else the pool holds it for ever.
   * @returns true when it was in the pool, that is: closed while idle, by the peer or by the pool
   */
  remove(key: string, connection: Connection): boolean;
  /** How many could be taken. */
  size(key: string): number;
  /** Says goodbye to the one that waited longest among the keys that are `prefix` or begin with `prefix|`. */
  closeOne(prefix: string): boolean;
  /** Says goodbye to all that are idle, of one key or of all. */
  closeIdle(key?: string): void;
  /** Cuts everything off; the pool can be used again. */
  destroyAll(): void;
}

interface Kept {
  readonly connection: Connection;
  readonly since: number;
}

export function createPool({ clock, log, idleMs = 5_000, onIdleClosed }: PoolOptions): Pool {
  /** Oldest first. One that is being closed stays until it is removed. */
  const kept = new Map<string, Kept[]>();
  let timer: NodeJS.Timeout | undefined;

  const close = (key: string, { connection }: Kept) => {
    connection.close();
    onIdleClosed?.(key);
  };

  const sweep = () => {
    timer = undefined;
    const now = clock.monotonic();
    let nextDue = Number.POSITIVE_INFINITY;
    let closed = 0;
    for (const [key, list] of kept) {
      for (const entry of list) {
        if (!entry.connection.idle) continue;
        if (entry.since + idleMs > now) {
          nextDue = Math.min(nextDue, entry.since + idleMs);
          break;
        }
        close(key, entry);
        closed++;
      }
    }
    if (closed > 0) log.debug("idle connections closed", { count: closed });
    if (nextDue < Number.POSITIVE_INFINITY) schedule(nextDue - now);
  };

  const schedule = (ms: number) => {
    // A floor, so that many ages a few ms apart are one sweep.
    timer ??= setTimeout(sweep, Math.max(Math.ceil(ms), Math.min(100, idleMs)));
    timer.unref();
  };

  const drop = (key: string, list: Kept[], index: number) => {
    list.splice(index, 1);
    if (list.length === 0) kept.delete(key);
  };

  return {
    take(key) {
      const list = kept.get(key) ?? [];
      const index = list.findLastIndex(({ connection }) => connection.idle);
      const found = list[index]?.connection;
      if (found !== undefined) drop(key, list, index);
      return found;
    },
    give(key, connection) {
      if (!connection.idle) return;
      const list = kept.get(key) ?? [];
      if (list.length === 0) kept.set(key, list);
      list.push({ connection, since: clock.monotonic() });
      if (timer === undefined) schedule(idleMs);
    },
    remove(key, connection) {
      const list = kept.get(key) ?? [];
      const index = list.findIndex((entry) => entry.connection === connection);
      if (index >= 0) drop(key, list, index);
      return index >= 0;
    },
    size: (key) => (kept.get(key) ?? []).filter(({ connection }) => connection.idle).length,
    closeOne(prefix) {
      let oldest: { readonly key: string; readonly entry: Kept } | undefined;
      for (const [key, list] of kept) {
        if (key !== prefix && !key.startsWith(`${prefix}|`)) continue;
        const entry = list.find(({ connection }) => connection.idle);
        if (entry !== undefined && entry.since < (oldest?.entry.since ?? Number.POSITIVE_INFINITY)) {
          oldest = { key, entry };
        }
      }
      if (oldest !== undefined) close(oldest.key, oldest.entry);
      return oldest !== undefined;
    },
    closeIdle(key) {
      for (const [name, list] of key === undefined ? kept : [[key, kept.get(key) ?? []] as const]) {
        for (const entry of list) if (entry.connection.idle) close(name, entry);
      }
    },
    destroyAll() {
      clearTimeout(timer);
      timer = undefined;
      // A copy: a connection may tell of its end at once.
      for (const { connection } of [...kept.values()].flat()) connection.destroy();
    },
  };
}
