/** What a pod says of itself when the operator asks over NATS: what it runs and what it holds. Pure; parsing never throws. */
import { z } from "zod";
import type { Parsed } from "#crds/values/issue.ts";
import { parseBy } from "#crds/values/zod-issue.ts";

/** Kinds of questions to pods that the operator asks. */
export const reportQuestion = "report";
export const witnessQuestion = "witness";

export const maxWaitsFor = 512;
/** Tenants that one question may ask about. */
const maxAskedTenants = 500;

const count = z.number().min(0).max(Number.MAX_SAFE_INTEGER);
const text = z.string().max(512);

/** Fields that later releases add are passed over: pods and operator are never of one release for long. */
const podReportSchema = z.object({
  incarnation: text,
  /** Of the configuration that runs. */
  generation: count,
  digest: text,
  keysDigest: text,
  shards: z.array(z.int().min(0).max(1023)).max(1024),
  /** Entries in its shards, those in flight included. */
  queued: count,
  /** ms since 1970 when the oldest of them was accepted; null when there is none. */
  oldestAt: count.nullable(),
  /** Entries that could leave now if limits allowed it. */
  sendable: count,
  /** Of those, the ones that wait for nothing but a pod: more pods would send them sooner. */
  backlog: z.object({
    messages: count,
    /** ms since 1970 when the first of them became ready; null when there is none, or it is not known. */
    oldestAt: count.nullable(),
  }),
  /** Share of time that its event loop was busy since the report before, 0 to 1. */
  busy: z.number().min(0).max(1),
  /** The newest configuration that it has seen cannot be used: it keeps the last good one. */
  refuses: z.boolean(),
  /** Queued entries of the tenants that were asked about. */
  tenants: z.record(z.string(), count),
});

export type PodReport = z.infer<typeof podReportSchema>;

export function parsePodReport(input: unknown): Parsed<PodReport> {
  return parseBy(podReportSchema, input);
}

/** What a pod that cannot begin says in place of a report: why JetStream is not as the pool needs it. */
const podWaitingSchema = z.object({ waitsFor: z.string().min(1).max(maxWaitsFor) });

export type PodWaiting = z.infer<typeof podWaitingSchema>;

export function parsePodWaiting(input: unknown): Parsed<PodWaiting> {
  return parseBy(podWaitingSchema, input);
}

export interface ReportQuery {
  /** `namespace/name`; at most `maxAskedTenants` are answered. */
  readonly tenants: readonly string[];
}

export function reportQueryOf(input: unknown): ReportQuery {
  const asked: unknown = typeof input === "object" && input !== null ? Reflect.get(input, "tenants") : [];
  const tenants = Array.isArray(asked) ? asked.filter((one): one is string => typeof one === "string") : [];
  return { tenants: tenants.slice(0, maxAskedTenants) };
}
