/**
 * CORRIDOR: messages that operators have suspended by id or recipient domain. They stand in lanes with others, so each is put aside as its turn
 * comes, for an hour at most, and looked at again; those of whole tenants and sites wait as lanes do, in the scheduler. Never fails.
 */
import type { Envelope } from "#crds/wire/envelope.ts";
import { covers, isOfMessages, type Selection } from "#crds/wire/selection.ts";
import { maxStayMs } from "./admit/send-at.ts";
import type { Pod } from "./pod.ts";
import { sorted } from "./queue-query.ts";
import { timeOfId } from "./runtime/message-id.ts";
import type { Suspension } from "./spool/suspensions.ts";

export interface MessageHolds {
  /** What stands now. What was put aside is looked at again when one was lifted, or ends at another time. */
  adopt(standing: readonly Suspension[]): void;
  /** The suspension that keeps the message; undefined = none does. */
  of(envelope: HeldBy, open?: readonly number[]): Suspension | undefined;
  /** So many ms the entry is to be put aside, 0 = it may go on; it is let go when it is resumed. */
  holdMs(handle: number, envelope: Envelope, open: readonly number[]): number;
}

type HeldBy = Pick<Envelope, "id" | "tenant" | "site" | "to">;

const longestMs = 3_600_000;

export function createMessageHolds(
  { scheduler, clock }: Pick<Pod, "scheduler" | "clock">,
  pump: () => void,
): MessageHolds {
  let standing: readonly Suspension[] = [];
  /** Made of them when it is asked for: at the start they come one by one. */
  let index: Index | undefined;
  /** Handles of what was put aside at its last turn. */
  const aside = new Set<number>();
  const of: MessageHolds["of"] = (envelope, open = envelope.to.map((_, index) => index)) => {
    const now = clock.now();
    const { tenant, site, id } = envelope;
    return candidates(envelope, open).find((one) => {
      if (one.until !== undefined && one.until <= now) return false;
      const { domain } = one;
      const isMeant = sorted({ envelope, open }, { domain }).meant.length > 0;
      return isMeant && covers(one, { tenant, site, id, domain });
    });
  };
  /** By its name alone: there may be thousands, and each attempt asks. */
  const candidates = ({ id, to }: HeldBy, open: readonly number[]): readonly Suspension[] => {
    const { byId, byDomain } = (index ??= indexOf(standing));
    const named = byId.get(id) ?? [];
    if (byDomain.size === 0) return named;
    const domains = new Set(open.map((index) => domainIn(to[index] ?? "")));
    return [...named, ...[...domains].flatMap((domain) => byDomain.get(domain) ?? [])];
  };
  return {
    adopt(all) {
      const before = standing.length;
      standing = all.filter(isOfMessages);
      index = undefined;
      // One more lets nothing go.
      if (standing.length > before) return;
      for (const handle of aside)
        if (scheduler.entryOf(handle)?.state === "waiting") scheduler.requeue(handle, clock.now());
      if (aside.size > 0) pump();
      aside.clear();
    },
    of,
    holdMs(handle, envelope, open) {
      // It has its turn: what puts it off after this one is not our doing.
      aside.delete(handle);
      if (standing.length === 0) return 0;
      const by = of(envelope, open);
      if (by === undefined) return 0;
      aside.add(handle);
      return Math.min(longestMs, (by.until ?? Number.POSITIVE_INFINITY) - clock.now());
    },
  };
}

/**
 * When a suspension stated at `at` ends, ms since 1970; undefined = when it is resumed. That of one message ends when nothing of it can be queued
 * any more: nobody resumes what is gone, and it would stand for ever.
 */
export function endOf(
  { id }: Selection,
  {
    at,
    forSeconds = Number.POSITIVE_INFINITY,
  }: { readonly at: number; readonly forSeconds?: number | undefined },
): number | undefined {
  const acceptedAt = id === undefined ? Number.POSITIVE_INFINITY : Math.min(timeOfId(id), at);
  // An id that is none of ours is that of nothing, and harmless.
  const goneAt = (Number.isNaN(acceptedAt) ? at : acceptedAt) + maxStayMs;
  const until = Math.min(at + forSeconds * 1000, goneAt);
  return Number.isFinite(until) ? until : undefined;
}

interface Index {
  readonly byId: ReadonlyMap<string | undefined, readonly Suspension[]>;
  /** Those that name no message. */
  readonly byDomain: ReadonlyMap<string | undefined, readonly Suspension[]>;
}

function indexOf(standing: readonly Suspension[]): Index {
  const byId = Map.groupBy(standing, ({ id }) => id);
  return { byId, byDomain: Map.groupBy(byId.get(undefined) ?? [], ({ domain }) => domain) };
}

function domainIn(address: string): string {
  return address.slice(address.lastIndexOf("@") + 1).toLowerCase();
}
