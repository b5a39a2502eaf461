/** One site: its links, its two classes of lanes, its backoff; which link and which lane come next. Pure. */
import { Backoff } from "./backoff.ts";
import type { Sweepable } from "./broom.ts";
import { FairQueue } from "./fair-queue.ts";
import type { Guest } from "./guests.ts";
import type { LaneState } from "./lane-state.ts";
import { Link, probeLimits } from "./link.ts";
import type { SharedHosts } from "./shared-hosts.ts";
import type { Ring, RingItem } from "./ring.ts";
import { SiteBudgets } from "./site-budgets.ts";
import type { Timed } from "./timer-heap.ts";
import { tuning } from "./tuning.ts";
import type { Binding, SiteConfig, SiteLimits, SourceWeight } from "./types.ts";

const never = Number.POSITIVE_INFINITY;

export class SiteState implements RingItem<SiteState>, Timed, Sweepable {
  readonly id: string;
  readonly lanes: { readonly transactional: Map<string, LaneState>; readonly bulk: Map<string, LaneState> };
  readonly transactional = new FairQueue();
  readonly bulk = new FairQueue();
  readonly links = new Map<string, Link>();
  /** Of a guest site, which has no lanes: those that wait, the first one first. */
  readonly guests: Guest[] = [];
  readonly backoff = new Backoff(tuning.backoff);
  /** Set at least once. */
  isKnown = false;
  /** Good transactions since the site is known. */
  good = 0;
  /** When the last one ended. */
  lastGoodAt = Number.NEGATIVE_INFINITY;
  emptySince = never;
  ring: Ring<SiteState> | null = null;
  ringNext: SiteState | null = null;
  ringPrevious: SiteState | null = null;
  at = 0;
  heapIndex = -1;
  /** After `openLink` said no: why, and until when at the least. */
  binding: Binding = "unresolved";
  wakeAt = never;
  /** With sites of other rules that lead to its hosts; null = there are none. */
  shared: SharedHosts | null = null;
  /** Of tenants and sender domains; null = no limit has asked for any so far. */
  budgets: SiteBudgets | null = null;
  /** A limit asks for them. */
  isBudgeted = false;
  /** Tenants and sender domains that nobody told of may have sent as late as then; 0 = they have not. */
  othersSpentAt = 0;
  /** Connections that former owners may still have in use for whichever tenant. */
  anybodys = 0;
  anybodysUntil = 0;
  /** Held back since, and by what, as the metric counts it; 0 = not. */
  heldFrom = 0;
  heldBy: Binding = "unresolved";
  /** Infinity = unresolved; else lanes run from this time on. */
  #resolvedFrom = never;
  #crowdedUntil = 0;
  #limits: SiteLimits = probeLimits;
  #sinceBulk = 0;
  #turn = 0;

  constructor(id: string) {
    this.id = id;
    this.lanes = { transactional: new Map(), bulk: new Map() };
  }

  /** Answers whether limits of tenants or sender domains are others now. */
  configure(config: SiteConfig): boolean {
    this.isKnown = true;
    if (config === "unresolved") this.#resolvedFrom = never;
    else if ("retryAt" in config) this.#resolvedFrom = config.retryAt;
    else if ("crowdedUntil" in config) this.#crowdedUntil = config.crowdedUntil;
    else {
      this.#resolvedFrom = 0;
      this.#limits = config.limits;
      for (const link of this.links.values()) link.setLimits(config.limits);
      this.shared?.setLimits();
      return this.#configureBudgets(config.limits);
    }
    return false;
  }

  get laneCount(): number {
    return this.lanes.transactional.size + this.lanes.bulk.size;
  }

  /** Those by sender domain included. */
  *allLanes(tenant?: string): Iterable<LaneState> {
    for (const lanes of [this.lanes.transactional, this.lanes.bulk])
      for (const lane of tenant === undefined ? lanes.values() : [lanes.get(tenant)]) {
        if (lane === undefined) continue;
        yield lane;
        if (lane.senders !== null) yield* lane.senders.lanes.values();
      }
  }

  get hasWork(): boolean {
    return !this.transactional.isEmpty || !this.bulk.isEmpty || this.guests.length > 0;
  }

  linkOf(source: string): Link {
    let link = this.links.get(source);
    if (link === undefined) {
      link = new Link(source, this.#limits);
      this.links.set(source, link);
      this.shared?.join(link);
    }
    return link;
  }

  /**
   * Weighted round robin over the sources that may start now: the one that is furthest behind its share. undefined =
   * none may; `binding` and `wakeAt` then say why. Changes nothing until `start`.
   */
  openLink(sources: readonly SourceWeight[], now: number): Link | undefined {
    if (this.#resolvedFrom > now) return this.#refuse("unresolved", this.#resolvedFrom);
    if (this.backoff.until > now) return this.#refuse("backoff", this.backoff.until);
    this.#refuse("connections", never);
    let best: Link | undefined;
    for (const source of sources) {
      const link = this.linkOf(source.name);
      link.weight = source.weight;
      if (link.isOpen(now)) {
        if (best === undefined || link.turn < best.turn) best = link;
      } else if (link.wakeAt <= this.wakeAt) this.#refuse(link.binding, link.wakeAt);
    }
    if (best !== undefined && this.#crowdedUntil > now) return this.#refuse("crowded", this.#crowdedUntil);
    return best;
  }

  /** Starts a dispatch on a link that may; a link that could not for a while gets no turns back. */
  start(link: Link, now: number): "reuse" | "open" {
    this.#turn = Math.max(this.#turn, link.turn);
    link.turn = this.#turn + 1 / link.weight;
    return link.start(now);
  }

  /** The lane whose turn it is: transactional first, but one turn in ten to bulk while it has work. */
  peekLane(): LaneState | null {
    const first = this.transactional.peek();
    const second = this.bulk.peek();
    if (first === null || second === null) return first ?? second;
    return this.#sinceBulk >= tuning.bulkEvery - 1 ? second : first;
  }

  /** Takes the turn that `peekLane` showed. */
  chargeLane(lane: LaneState): void {
    const turn = lane.parent ?? lane;
    this[lane.lane.class].charge(turn);
    if (turn.senders !== null) {
      turn.senders.isOwnTurn = turn !== lane;
      if (turn !== lane) {
        turn.senders.ready.remove(lane);
        turn.senders.ready.push(lane);
      }
    }
    this.#sinceBulk = lane.lane.class === "bulk" || this.bulk.isEmpty ? 0 : this.#sinceBulk + 1;
  }

  /** Nothing would be forgotten with it. */
  isAtRest(now: number): boolean {
    if (this.laneCount + this.guests.length > 0 || this.backoff.until > now) return false;
    if (this.budgets !== null && !this.budgets.isAtRest(now)) return false;
    for (const link of this.links.values()) if (!link.isAtRest(now)) return false;
    return true;
  }

  shift(byMs: number): void {
    this.backoff.shift(byMs);
    this.lastGoodAt += byMs;
    if (this.heldFrom > 0) this.heldFrom += byMs;
    if (this.#resolvedFrom > 0) this.#resolvedFrom += byMs;
    if (this.#crowdedUntil > 0) this.#crowdedUntil += byMs;
    for (const link of this.links.values()) link.shift(byMs);
    this.budgets?.shift(byMs);
    if (this.othersSpentAt > 0) this.othersSpentAt += byMs;
    this.anybodysUntil += byMs;
  }

  #configureBudgets(limits: SiteLimits): boolean {
    if (this.budgets === null && limits.perTenant === undefined && limits.perSenderDomain === undefined)
      return false;
    this.budgets ??= new SiteBudgets(this);
    const isChanged = this.budgets.setLimits(limits);
    this.isBudgeted = this.budgets.isActive;
    return isChanged;
  }

  #refuse(binding: Binding, wakeAt: number): undefined {
    this.binding = binding;
    this.wakeAt = wakeAt;
    return undefined;
  }
}
