/** Who leads, as a Lease says it, and whether it may be taken (client-go's rules). Pure. */
import type { KubeObject } from "./types.ts";

export interface LeaseRecord {
  /** "" = nobody: released. */
  readonly holder: string;
  readonly durationMs: number;
  readonly transitions: number;
  readonly acquireTime: string | undefined;
}

/** A record, and since when this very record has stood by our own clock: others' clocks prove nothing. */
export interface Observed {
  readonly text: string;
  readonly record: LeaseRecord;
  readonly since: number;
}

export function observe(lease: KubeObject, before: Observed | undefined, now: number): Observed {
  const spec = (lease["spec"] ?? {}) as { [field in string]?: unknown };
  const text = JSON.stringify(spec);
  if (before?.text === text) return before;
  const { holderIdentity, leaseDurationSeconds, leaseTransitions, acquireTime } = spec;
  const record: LeaseRecord = {
    holder: typeof holderIdentity === "string" ? holderIdentity : "",
    durationMs: typeof leaseDurationSeconds === "number" ? leaseDurationSeconds * 1000 : 0,
    transitions: typeof leaseTransitions === "number" ? leaseTransitions : 0,
    acquireTime: typeof acquireTime === "string" ? acquireTime : undefined,
  };
  return { text, record, since: now };
}

/** Another holder's lease stands until its duration has gone by since we first saw its last renewal. */
export function isHeldByAnother({ record, since }: Observed, identity: string, now: number): boolean {
  return record.holder !== "" && record.holder !== identity && now < since + record.durationMs;
}

export interface SpecInput {
  readonly identity: string;
  readonly durationMs: number;
  /** Milliseconds since 1970. */
  readonly now: number;
  readonly before: LeaseRecord | undefined;
}

/** The spec with which `identity` takes or renews the lease. */
export function heldSpec({ identity, durationMs, now, before }: SpecInput): object {
  const isOurs = before?.holder === identity;
  return {
    holderIdentity: identity,
    leaseDurationSeconds: Math.ceil(durationMs / 1000),
    acquireTime: (isOurs ? before.acquireTime : undefined) ?? microTime(now),
    renewTime: microTime(now),
    leaseTransitions: before === undefined ? 0 : before.transitions + (isOurs ? 0 : 1),
  };
}

/** As client-go gives a lease up: nobody holds it, and it runs out at once. */
export function releasedSpec(now: number, { transitions }: LeaseRecord): object {
  return {
    holderIdentity: "",
    leaseDurationSeconds: 1,
    acquireTime: microTime(now),
    renewTime: microTime(now),
    leaseTransitions: transitions,
  };
}

function microTime(now: number): string {
  return new Date(now).toISOString().replace("Z", "000Z");
}
