/** CORRIDOR: what a list of the queue shows of one entry, that is indexed or parked. Never rejects. */
import type { Envelope } from "#crds/wire/envelope.ts";
import { type Pod, tenantOf } from "./pod.ts";
import type { ParkedEntry } from "./poison.ts";
import type { Entry, ListedEntry } from "./schedule/types.ts";
import type { Suspending } from "./suspend.ts";

export interface QueuedEntry {
  readonly id: string;
  readonly tenant: string;
  readonly stream: string;
  readonly class: string;
  readonly site: string;
  readonly from: string;
  readonly to: readonly string[];
  readonly size: number;
  readonly receivedAt: number;
  readonly expiresAt: number;
  readonly attempt: number;
  readonly state: string;
  readonly due: number;
  readonly shard: number;
  readonly pod: string;
  /** What keeps it whatever is due: a suspension, or its tenant's state Hold. */
  readonly stopped?: "suspended" | "held";
  /** Of a parked entry: why. */
  readonly reason?: string;
}

interface ShownBy {
  readonly pod: Pod;
  readonly suspending: Pick<Suspending, "describe">;
}

/** Of what is queued of a message that which is attempted first; what is kept comes after what is not, what is parked last. */
export function nextOf(entries: readonly QueuedEntry[]): QueuedEntry | undefined {
  const rank = ({ stopped, reason }: QueuedEntry): number =>
    Number(stopped !== undefined) + 2 * Number(reason !== undefined);
  return entries.toSorted((a, b) => rank(a) - rank(b) || a.due - b.due)[0];
}

/** With those recipients alone that are not settled; all of them where that cannot be read. */
export async function withOpen(
  { states }: Pick<Pod, "states">,
  { shard, seq, idHash, attempt }: Entry,
  envelope: Envelope,
): Promise<Envelope> {
  if (attempt === 0 || envelope.to.length === 1) return envelope;
  const state = await states.read(shard, seq);
  if (state.kind !== "state" || state.record.idHash !== idHash) return envelope;
  const open = new Set(state.record.open);
  const to = envelope.to.filter((_, index) => open.has(index));
  return to.length === 0 ? envelope : { ...envelope, to };
}

function stoppedBy(
  { pod, suspending }: ShownBy,
  { lane, state }: ListedEntry,
  envelope: Envelope,
): QueuedEntry["stopped"] {
  if (state === "inflight") return undefined;
  if (tenantOf(pod, lane.tenant)?.state === "Hold") return "held";
  return suspending.describe(lane, envelope) === null ? undefined : "suspended";
}

export function shown(deps: ShownBy, item: ListedEntry, envelope: Envelope): QueuedEntry {
  const { entry, lane, state } = item;
  const { id, tenant, stream, from, to, size, receivedAt, expiresAt } = envelope;
  const { attempt, due, shard } = entry;
  const stopped = stoppedBy(deps, item, envelope);
  return {
    id,
    tenant,
    stream,
    class: lane.class,
    site: lane.site,
    from,
    to,
    size,
    receivedAt,
    expiresAt,
    attempt,
    state,
    due,
    shard,
    pod: deps.pod.name,
    ...(stopped === undefined ? {} : { stopped }),
  };
}

/** A message for several sites whose shard's owner has not split it yet: it is at no site. */
export function shownUnsplit(pod: Pod, shard: number, envelope: Envelope): QueuedEntry {
  return { ...factsOf(envelope), id: envelope.id, state: "splitting", due: 0, shard, pod: pod.name };
}

export function shownParked(pod: Pod, { shard, id, envelope, reason }: ParkedEntry): QueuedEntry {
  return { ...factsOf(envelope), id, state: "parked", due: 0, shard, pod: pod.name, reason };
}

function factsOf(envelope: Partial<Envelope> = {}) {
  const { tenant = "", stream = "", class: priority = "", site = "", from = "", to = [] } = envelope;
  const { size = 0, receivedAt = 0, expiresAt = 0, attempt = 0 } = envelope;
  return { tenant, stream, class: priority, site, from, to, size, receivedAt, expiresAt, attempt };
}
