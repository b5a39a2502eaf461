/**
 * Whether what is known of a sequence can still be relied on: a server that lost its unsynced end uses sequences again, and what was read
 * or stored over a connection before this one may have been lost since. Never fails.
 */
import type { Spool } from "./connection.ts";

export interface Doubt {
  /** `since` = when it was asked for or stored, by the spool's monotonic clock; undefined = unknown, so rather yes. */
  isDoubtful(since: number | undefined): boolean;
  close(): void;
}

export function createDoubt(spool: Spool): Doubt {
  let brokenAt = -Infinity;
  const note = (): void => {
    brokenAt = spool.options.clock.monotonic();
  };
  const stops = [spool.onDisconnect(note), spool.onReconnect(note)];
  return {
    isDoubtful: (since = -Infinity) => brokenAt > -Infinity && since <= brokenAt,
    close() {
      for (const stop of stops) stop();
    },
  };
}
