/** What the provider got, counted: in all, by domain, by source, by id; and the latest refusals. Bounded but for the ids; never fails. */
import { createIdCounts, type IdCount, type IdCounts } from "./id-counts.ts";
import { createMeter, type Meter, type MeterReading } from "./meter.ts";

export interface Clock {
  /** Milliseconds since 1970. */
  now(): number;
  /** Milliseconds since some start, never back. */
  monotonic(): number;
}

interface Refusal {
  /** Milliseconds since 1970. */
  readonly at: number;
  readonly source: string;
  readonly from: string;
  readonly to: string;
  /** Reply code; 0 = hung up or hanging without one. */
  readonly code: number;
  readonly text: string;
}

interface Stats {
  readonly startedAt: number;
  readonly total: MeterReading;
  readonly refusedConnections: number;
  readonly droppedAfterDot: number;
  /** Pairs of message id and recipient. */
  readonly ids: { readonly unique: number; readonly repeated: number; readonly repeats: readonly IdCount[] };
  readonly domains: Readonly<Record<string, MeterReading>>;
  readonly sources: Readonly<Record<string, MeterReading>>;
  /** By the provider's own port. */
  readonly ports: Readonly<Record<string, MeterReading>>;
}

export interface Audit {
  readonly total: Meter;
  readonly ids: IdCounts;
  domain(name: string): Meter;
  source(address: string): Meter;
  port(port: number): Meter;
  refusal(refusal: Refusal): void;
  /** Newest first. */
  refusals(limit: number): Refusal[];
  connectionRefused(): void;
  dropped(): void;
  stats(): Stats;
}

/** Domains and sources counted apart; later ones share the name `other`. */
const maxMeters = 10_000;
const maxRefusals = 10_000;
const maxRepeatsShown = 100;

export function createAudit(clock: Clock): Audit {
  const startedAt = clock.now();
  const total = createMeter();
  const ids = createIdCounts();
  const domains = new Map<string, Meter>();
  const sources = new Map<string, Meter>();
  const ports = new Map<string, Meter>();
  let refusals: Refusal[] = [];
  let refusedConnections = 0;
  let droppedAfterDot = 0;
  return {
    total,
    ids,
    domain: (name) => meterOf(domains, name),
    source: (address) => meterOf(sources, address),
    port: (port) => meterOf(ports, String(port)),
    refusal(refusal) {
      refusals.push(refusal);
      if (refusals.length >= maxRefusals * 2) refusals = refusals.slice(-maxRefusals);
    },
    refusals: (limit) => refusals.slice(-Math.min(limit, maxRefusals)).reverse(),
    connectionRefused: () => void refusedConnections++,
    dropped: () => void droppedAfterDot++,
    stats: () => ({
      startedAt,
      total: total.read(),
      refusedConnections,
      droppedAfterDot,
      ids: { unique: ids.unique(), repeated: ids.repeated(), repeats: ids.repeats(maxRepeatsShown) },
      domains: readAll(domains),
      sources: readAll(sources),
      ports: readAll(ports),
    }),
  };
}

function meterOf(meters: Map<string, Meter>, name: string): Meter {
  const key = meters.has(name) || meters.size < maxMeters ? name : "other";
  let meter = meters.get(key);
  if (meter === undefined) meters.set(key, (meter = createMeter()));
  return meter;
}

function readAll(meters: ReadonlyMap<string, Meter>): Record<string, MeterReading> {
  return Object.fromEntries([...meters].map(([name, meter]) => [name, meter.read()]));
}
