/** What the compiler may see: the parsed resources and Secrets, in canonical order, each with where it came from. */
import type { Metadata } from "./metadata.ts";
import type { SendingPoolSpec } from "./sending-pool.ts";
import type { TenantSpec } from "./tenant.ts";
import type { TrafficShapeSpec } from "./traffic-shape.ts";

export interface Resource<Spec> {
  /** For issues: `FILE[doc N] Kind namespace/name`, or without the file what the API server holds. */
  readonly source: string;
  readonly metadata: Metadata;
  readonly spec: Spec;
}

export interface SecretResource {
  readonly source: string;
  readonly metadata: Metadata;
  /** Decoded values by key. Never print one. */
  readonly data: ReadonlyMap<string, Uint8Array>;
}

/** What is there only because mail is still queued. */
export interface Draining {
  /** Of tenants that are gone from a pool, or are about to be, in which they refuse new mail: its name is theirs. Nobody asks what became of them. */
  readonly tenants: readonly Resource<TenantSpec>[];
  /** Secrets that are gone, as they were last: for tenants that are going, and for nobody else. */
  readonly secrets: readonly SecretResource[];
}

/** Sorted by namespace, then name; two of a kind never share both. */
export interface Snapshot {
  readonly pools: readonly Resource<SendingPoolSpec>[];
  readonly shapes: readonly Resource<TrafficShapeSpec>[];
  readonly tenants: readonly Resource<TenantSpec>[];
  readonly secrets: readonly SecretResource[];
  /** Labels of the namespaces, for pools that let in the tenants of some; absent: no label is known, so none of those. */
  readonly namespaces?: ReadonlyMap<string, Readonly<Record<string, string>>>;
  readonly draining?: Draining;
  /** The pool that a tenant was in last, by tenant: there it stays while the one that it names cannot take it. */
  readonly homes?: ReadonlyMap<string, string>;
}
