/** What this pod remembers of peers: TLS that fails, BDAT that is not understood, TLS sessions. Bounded; never fails. */
import { createSecureContext, type SecureContext } from "node:tls";
import { LRUCache } from "lru-cache";
import type { Clock } from "../runtime/clock.ts";

export interface TlsPolicy {
  /** Made at first use: a context reads the system's roots, a peer's connection should not. */
  context(): SecureContext;
  /** TLS with this host failed within the hour and clear text worked: opportunistic TLS is not tried. */
  isBroken(host: string): boolean;
  rememberBroken(host: string): void;
  /** This host offers CHUNKING and does not understand BDAT. */
  isBdatBroken(host: string): boolean;
  rememberBdatBroken(host: string): void;
  /** The newest session ticket of a host and port: saves both sides the costly half of a handshake. */
  session(host: string, port: number): Buffer | undefined;
  keepSession(host: string, port: number, session: Buffer): void;
}

export interface TlsPolicyOptions {
  readonly clock: Clock;
  /** Default 1 h. */
  readonly brokenMs?: number;
  /** Hosts remembered, default 10,000. */
  readonly maxHosts?: number;
}

export function createTlsPolicy({
  clock,
  brokenMs = 3_600_000,
  maxHosts = 10_000,
}: TlsPolicyOptions): TlsPolicy {
  const perf = { now: () => clock.monotonic() };
  const broken = new LRUCache<string, true>({ max: maxHosts, ttl: brokenMs, ttlResolution: 0, perf });
  const bdatBroken = new LRUCache<string, true>({
    max: maxHosts,
    ttl: 24 * 3_600_000,
    ttlResolution: 0,
    perf,
  });
  const sessions = new LRUCache<string, Buffer>({ max: 2_000, ttl: 3_600_000, ttlResolution: 0, perf });
  let context: SecureContext | undefined;
  return {
    context: () => (context ??= createSecureContext({ minVersion: "TLSv1.2" })),
    isBroken: (host) => broken.has(host),
    rememberBroken: (host) => void broken.set(host, true),
    isBdatBroken: (host) => bdatBroken.has(host),
    rememberBdatBroken: (host) => void bdatBroken.set(host, true),
    session: (host, port) => sessions.get(`${host}:${port}`),
    keepSession: (host, port, session) => void sessions.set(`${host}:${port}`, session),
  };
}
