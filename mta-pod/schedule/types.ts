/** The scheduler's vocabulary: what it is told, what it answers. Types only. */
import type { Random } from "#mta-pod/runtime/clock.ts";
import type { GuestTurns } from "./guests.ts";
import type { MailTurns } from "./turns.ts";

/** What one source may do at one site (decisions.md 2); rates are even, without bursts (decisions.md 3). */
export interface SiteLimits {
  readonly connections: number;
  readonly messagesPerSecond?: number;
  readonly connectionsPerSecond?: number;
  /** Of each tenant at the site, over all sources. */
  readonly perTenant?: BudgetLimits;
  /** Of each sender domain at the site, over all sources; it takes lanes that tell it. */
  readonly perSenderDomain?: Pick<BudgetLimits, "messagesPerSecond">;
}

export interface BudgetLimits {
  /** Dispatches under way at once. */
  readonly connections?: number | undefined;
  readonly messagesPerSecond?: number | undefined;
}

export type BudgetKind = "perTenant" | "perSenderDomain";

/** What the index keeps of a stored message. Times are ms since 1970. */
export interface Entry {
  readonly shard: number;
  readonly seq: number;
  readonly idHash: number;
  readonly size: number;
  readonly receivedAt: number;
  readonly expiresAt: number;
  /** Absent or 0 = at once. When that has come, it counts as received then. */
  readonly sendAt?: number;
  /** 0 = at once. Of a waiting entry: when it is looked at next, its expiry included. */
  readonly due: number;
  /** Attempts made so far. */
  readonly attempt: number;
}

export interface Lane {
  readonly site: string;
  readonly tenant: string;
  readonly class: "transactional" | "bulk";
  /** Where limits hold per sender domain; "" = from nobody. Its lanes share the turns of the tenant and class. */
  readonly senderDomain?: string;
}

export interface SourceWeight {
  readonly name: string;
  readonly weight: number;
}

/** A dispatch of kind "reuse" must use an idle connection of that (source, site); only "open" may open one. */
export interface Dispatch {
  readonly handle: number;
  readonly entry: Entry;
  readonly lane: Lane;
  readonly source: string;
  readonly connection: "reuse" | "open";
}

export type Step =
  | { readonly kind: "dispatch"; readonly dispatch: Dispatch }
  /** A guest that waits may connect, and ends as a dispatch does. */
  | { readonly kind: "admit"; readonly handle: number }
  /** An idle connection of (source, site) is to be closed: another site that shares its hosts has none, and there may be no more. */
  | { readonly kind: "yield"; readonly site: string; readonly source: string }
  | { readonly kind: "expire"; readonly handle: number; readonly entry: Entry; readonly lane: Lane }
  | { readonly kind: "sleep"; readonly ms: number }
  | { readonly kind: "idle" };

/**
 * good: a transaction ended well. throttled: 421, or a 4xx that speaks of rate. unreachable: no connection could be
 * made. proxy: the source's proxy failed, which pauses that source at this site. neutral: a refusal of this mail, or a
 * reason of our own; says nothing about the site.
 */
export type Feedback = "good" | "throttled" | "unreachable" | "proxy" | "neutral";

export interface FinishResult {
  readonly feedback: Feedback;
  /** "closing" = it is still there for its peer: its end will be told by `connectionClosed`. */
  readonly connection: "kept" | "closing" | "closed";
  /** Nobody was connected to for it and nothing sent: what it was charged of rates is given back. */
  readonly isUnspent?: boolean;
}

export type SiteConfig =
  | { readonly limits: SiteLimits }
  | "unresolved"
  | { readonly retryAt: number }
  | { readonly crowdedUntil: number };

export interface TenantPolicy {
  readonly weight: number;
  readonly held: boolean;
}

/** Both absent = everything. */
export interface Selector {
  readonly tenant?: string;
  readonly site?: string;
}

export type EntryState = "ready" | "waiting" | "suspended" | "inflight";

export interface ListedEntry {
  readonly handle: number;
  readonly entry: Entry;
  readonly lane: Lane;
  readonly state: EntryState;
}

export type Binding =
  | "connections"
  | "messageRate"
  | "connectionRate"
  | "perTenant.connections"
  | `${BudgetKind}.messageRate`
  | "backoff"
  | "suspended"
  | "crowded"
  | "unresolved";

export interface SiteReport {
  /** Concurrency allowed at this moment, over all sources. */
  readonly window: number;
  readonly open: number;
  readonly idle: number;
  readonly busy: number;
  readonly backoffUntil: number;
  readonly queued: number;
  /** Good transactions since the site is known. */
  readonly good: number;
  /** What holds the site's ready mail back now, or some tenants' of it; null = nothing. */
  readonly binding: Binding | null;
}

/** Time that a site's ready mail, or some of it, was held back by one limit; site "other" = the many. */
export interface HeldTime {
  readonly site: string;
  readonly binding: Binding;
  readonly ms: number;
}

export interface TenantCounts {
  readonly ready: number;
  /** Deferred, or sent for a later time. */
  readonly waiting: number;
  /** Ready, but held or suspended. */
  readonly suspended: number;
  readonly inflight: number;
  /** `receivedAt` of the oldest entry, judged by the heads of its lanes; mail for later has no age. 0 = none. */
  readonly oldest: number;
}

export interface QueueCounts {
  readonly tenants: ReadonlyMap<string, TenantCounts>;
  readonly total: TenantCounts;
}

/** Ready entries that nothing holds back: they wait for this pod alone. */
export interface Unserved {
  readonly entries: number;
  /** When the first of them became ready; 0 = there is none. */
  readonly since: number;
}

/** What is spent of one tenant's, or one sender domain's, limits at a site. */
export interface SpentBudget {
  readonly kind: BudgetKind;
  /** The tenant or the domain; of mail from nobody its tenant. */
  readonly name: string;
  /** Connections in use for it, those of owners before included. */
  readonly busy: number;
  readonly nextMessageAt: number;
}

export interface SpentBudgets {
  readonly told: readonly SpentBudget[];
  /** Those that are not told may have sent as late as then; absent = they have not. */
  readonly othersSpentAt?: number;
  /** Connections in use that may be anybody's; absent = none. */
  readonly anybodys?: number;
}

/** What a releasing owner tells its successor about one site (decisions.md 12). */
export interface SiteHandover {
  readonly site: string;
  readonly backoffUntil: number;
  /** Absent = not known. */
  readonly budgets?: SpentBudgets;
  readonly sources: readonly {
    readonly source: string;
    readonly open: number;
    /** Of owners before, who have not said that these are closed; absent = none. */
    readonly former?: number;
    /** Of an owner before that fell silent; absent = none. */
    readonly lingering?: number;
    readonly lingeringUntil?: number;
    /** Absent = not known. */
    readonly window?: number;
    readonly pausedUntil: number;
    readonly nextMessageAt: number;
    readonly nextConnectionAt: number;
    /** Of an owner that told nothing: it may have begun a message and a connection as late as then; absent = it did tell. */
    readonly spentAt?: number;
  }[];
}

export interface SchedulerOptions {
  readonly random: Random;
  readonly sources: readonly SourceWeight[];
}

/**
 * One pod's queue index and dispatcher. `now` is ms since 1970 and should be steady (wall time at the start plus
 * monotonic time since): a backward jump is made good, a forward jump that `clockSet` does not tell may cost a message of pacing.
 * A handle whose entry is gone is harmless everywhere.
 */
export interface Scheduler extends MailTurns, GuestTurns {
  /** Throws RangeError for a shard above 255, a time that is no number, or beyond 67 million entries. */
  add(lane: Lane, entry: Entry, now: number): number;
  /** Gone for good: delivered, bounced, moved, purged. */
  settle(handle: number): void;
  /** Waits until `due`, in whole milliseconds; called before `finish`, it takes effect at `finish`. */
  defer(handle: number, due: number, attempt: number, now: number): void;
  /** Ends a dispatch's hold on its connection, also when the entry is gone. The second call does nothing. */
  finish(handle: number, result: FinishResult, now: number): void;
  /** Back to the head of its lane, no attempt counted; a waiting entry becomes ready, at the tail. */
  requeue(handle: number, now: number): void;
  /**
   * A connection nobody was using went away, or one that finished as "closing". Its end is told once: here, or by `finish`. When a
   * "reuse" dispatch was on its way to it, that one finds none, and finishes with "kept": there is nothing of its own that closed.
   */
  connectionClosed(site: string, source: string, now: number, was?: "idle" | "closing"): void;
  next(now: number): Step;
  /** The clock was set by so much: pauses and rates go on from the new time. Called before anything is told it. */
  clockSet(byMs: number): void;
  /** Connections of (source, site) above what limits and window allow: close, do not keep, that many. */
  surplus(site: string, source: string): number;
  /** False for a site never set, or forgotten since it had no mail for a minute. */
  knowsSite(site: string): boolean;
  /**
   * "unresolved": its lanes wait. `retryAt`: they wait until then, and then run on the last known limits, else on
   * one connection: whoever gets the dispatch resolves again. `crowdedUntil`: this pod has enough of it under way for now, which
   * no limit of the site's is to blame for. Throws RangeError for a rate that is not above 0.
   */
  setSite(site: string, config: SiteConfig, now: number): void;
  /** A tenant that is not in the map is held, never dropped; expiry runs on. */
  setTenants(tenants: ReadonlyMap<string, TenantPolicy>, now: number): void;
  setSources(sources: readonly SourceWeight[], now: number): void;
  suspend(selector: Selector, until: number | null, now: number): void;
  /** Lifts every suspension within the selector. */
  resume(selector: Selector, now: number): void;
  /** Ownership lost: forgets the shard's entries; connections of those in flight stay counted until `finish`. */
  dropShard(shard: number): void;
  relane(handle: number, lane: Lane, now: number): void;
  entryOf(handle: number): Omit<ListedEntry, "handle"> | undefined;
  /**
   * The oldest first, as far as the lanes' own order tells: of a lane those that stand first in it come first, and what was deferred
   * stands behind what came meanwhile. Costs the lanes and what is listed, not the entries.
   */
  list(filter: Selector, limit: number): readonly ListedEntry[];
  /** Entries of the messages whose id has this hash, within a selection: of one message a few. Costs some ns an entry of the index. */
  withIdHash(idHash: number, filter: Selector): readonly ListedEntry[];
  /** Entries within a selection, those in flight included; costs its lanes, not its entries. */
  count(filter: Selector): number;
  /** Entries of a shard, those in flight included. */
  shardSize(shard: number): number;
  /** Whether the entry is in the index, in whatever state; looks at all of it, so this is for checks. */
  holds(shard: number, seq: number): boolean;
  /** Handles of the entries within a selection: 8 bytes each, where `list` makes objects. */
  handles(filter: Selector): readonly number[];
  sites(): Iterable<string>;
  siteState(site: string): SiteReport;
  /** What holds the lane's ready mail back now: its tenant's or sender domain's limits, else what holds the site; null = nothing. */
  bindingOf(lane: Omit<Lane, "class">): Binding | null;
  /** What was held back since the last call; a hold is told when it ends or is looked at again. */
  takeHeldTimes(): readonly HeldTime[];
  counts(): QueueCounts;
  /** Costs the lanes of sites that have work. */
  unserved(now: number): Unserved;
  snapshot(site: string): SiteHandover | undefined;
  /** The snapshot with what is spent per tenant and sender domain, which costs as many as there are. */
  handOver(site: string, now: number): SiteHandover | undefined;
  /** The former owner's open connections count until `until`, or until `forgetFormer`. */
  restore(handover: SiteHandover, until: number, now: number): void;
  forgetFormer(site: string, now: number): void;
}
