/**
 * Sites that share their hosts, since several rules lead there: each keeps its own limits, and all of them together the largest, so
 * that they do not add up where they are counted (decisions.md 16). Who has few connections gets one from who has more. Pure, never fails.
 */
import { type Link, probeLimits } from "./link.ts";
import { MessageRate } from "./message-rate.ts";
import { Pace } from "./pace.ts";
import type { Sent } from "./peer-count.ts";
import type { SiteState } from "./site-state.ts";
import { tuning } from "./tuning.ts";
import type { Binding } from "./types.ts";

const never = Number.POSITIVE_INFINITY;

/** What one source does at shared hosts. */
export class SharedLink {
  readonly messages = new MessageRate();
  readonly connects = new Pace();
  readonly #links = new Set<Link>();
  /** A link came, or was told of what others did: what is spent there is to be looked at. */
  #isNews = false;

  join(link: Link): void {
    this.#links.add(link);
    link.shared = this;
    this.setLimits();
  }

  leave(link: Link): void {
    this.#links.delete(link);
    link.shared = null;
    this.setLimits();
  }

  /** Of each kind the largest that one of the links has; none, where one of them has none. Whose limits are not known has no say. */
  setLimits(): void {
    const limits = [...this.#links].map((link) => link.limits).filter((of) => of !== probeLimits);
    this.#isNews = true;
    this.messages.setRate(largest(limits.map(({ messagesPerSecond = never }) => messagesPerSecond)));
    this.connects.setRate(largest(limits.map(({ connectionsPerSecond = never }) => connectionsPerSecond)));
  }

  learn(): void {
    this.#isNews = true;
  }

  /** Why a dispatch of one of the links may not start now, and until when at the least; undefined = it may. */
  refusal(now: number, isNew: boolean): { readonly binding: Binding; readonly wakeAt: number } | undefined {
    this.#catchUp(now);
    if (isNew && this.#taken(now) >= this.#size)
      return {
        binding: "connections",
        wakeAt: Math.min(...[...this.#links].map((link) => link.formerEnd(now))),
      };
    const { dispatches } = this.messages;
    if (!dispatches.isOpen(now)) return { binding: "messageRate", wakeAt: dispatches.nextAt };
    return isNew && !this.connects.isOpen(now)
      ? { binding: "connectionRate", wakeAt: this.connects.nextAt }
      : undefined;
  }

  /** When a message of one of the links may be sent. */
  earliest(now: number): number {
    this.#catchUp(now);
    return this.messages.earliest(now);
  }

  /** On one of them goodbye is being said. */
  get isClosing(): boolean {
    return [...this.#links].some(({ closing }) => closing > 0);
  }

  /** After the links, which shift their own messages. */
  shift(byMs: number): void {
    this.messages.shift(byMs, new Set(this.#sent()));
    this.connects.nextAt += byMs;
  }

  *#sent(): Iterable<Sent> {
    for (const { messages } of this.#links) yield* messages.counted.remembered();
  }

  /** Connections that their hosts may count. */
  #taken(now: number): number {
    let taken = 0;
    for (const link of this.#links) taken += link.open + link.formerAt(now);
    return taken;
  }

  get #size(): number {
    return Math.max(...[...this.#links].map(({ window }) => window.size));
  }

  /** What was sent there alone, or by former owners, counts here. */
  #catchUp(now: number): void {
    if (!this.#isNews) return;
    this.#isNews = false;
    this.messages.counted.remember(this.#sent(), now);
    for (const { messages, connects, limits } of this.#links) {
      // Of one whose rate is not known yet all that is known is when a former owner would have gone on.
      const latest = limits === probeLimits ? now : never;
      this.messages.learn(messages, latest);
      this.connects.learn(connects, latest);
    }
  }
}

export class SharedHosts {
  /** Held back by what all of them may do together, and since when: who waits longest is first. */
  readonly #waiting = new Map<SiteState, number>();
  readonly #sites = new Set<SiteState>();
  readonly #links = new Map<string, SharedLink>();
  #askedAt = 0;

  add(site: SiteState): void {
    this.#sites.add(site);
    site.shared = this;
    for (const link of site.links.values()) this.join(link);
  }

  join(link: Link): void {
    let shared = this.#links.get(link.source);
    if (shared === undefined) {
      shared = new SharedLink();
      this.#links.set(link.source, shared);
    }
    shared.join(link);
  }

  get sites(): SiteState[] {
    return [...this.#sites];
  }

  get size(): number {
    return this.#sites.size;
  }

  remove(site: SiteState): void {
    this.#sites.delete(site);
    this.#waiting.delete(site);
    site.shared = null;
    for (const link of site.links.values()) link.shared?.leave(link);
  }

  setLimits(): void {
    for (const link of this.#links.values()) link.setLimits();
  }

  /** A site was told what former owners did. */
  learn(): void {
    for (const link of this.#links.values()) link.learn();
  }

  /** Who is next for a connection, and by the rate. Whose mail has gone otherwise, or is suspended, waits no more. */
  *next(): Iterable<SiteState> {
    const seen = new Set<boolean>();
    for (const site of this.#waiting.keys()) {
      const isCrowdedOut = [...site.links.values()].some((link) => link.isCrowdedOut);
      if (!site.hasWork) this.#waiting.delete(site);
      else if (!seen.has(isCrowdedOut)) {
        seen.add(isCrowdedOut);
        yield site;
      }
      if (seen.size === 2) return;
    }
  }

  /** After `openLink` said no, or a dispatch of it began. */
  note(site: SiteState, isHeld: boolean, now: number): void {
    const isWaiting = isHeld && [...site.links.values()].some(({ sharedBinding }) => sharedBinding !== null);
    if (!isWaiting) this.#waiting.delete(site);
    else if (!this.#waiting.has(site)) this.#waiting.set(site, now);
  }

  /** Where an idle connection is to be closed, so that `site` gets one; asked again after a moment, if that did not help. */
  roomFor(site: SiteState, now: number): { readonly site: string; readonly source: string } | undefined {
    if (now - this.#askedAt < tuning.roomAgainMs) return undefined;
    for (const link of site.links.values()) {
      if (!link.isCrowdedOut || link.shared?.isClosing === true) continue;
      for (const other of this.#sites) {
        const theirs = other.links.get(link.source);
        if (theirs === undefined || theirs.idle <= 0 || theirs.open <= link.open) continue;
        // Between two messages of one that has more and goes on soon it is not idle.
        const isUsed = other.hasWork && (theirs.isOpen(now) || theirs.wakeAt <= now + tuning.sharedTurnMs);
        if (isUsed && !isDue(theirs, link, now - (this.#waiting.get(site) ?? now))) continue;
        this.#askedAt = now;
        return { site: other.id, source: link.source };
      }
    }
    return undefined;
  }

  /** A connection of the link that a dispatch has just used is wanted by a site that has fewer. */
  mustYield(link: Link, now: number): boolean {
    for (const [site, since] of this.#waiting) {
      const wants = site.links.get(link.source);
      if (wants === undefined || wants === link || !wants.isCrowdedOut || !site.hasWork) continue;
      return isDue(link, wants, now - since) && link.shared?.isClosing === false;
    }
    return false;
  }

  shift(byMs: number): void {
    for (const link of this.#links.values()) link.shift(byMs);
    for (const [site, since] of this.#waiting) this.#waiting.set(site, since + byMs);
    this.#askedAt += byMs;
  }
}

/** One of several goes at once, the last one when the other has waited for a while. */
function isDue(theirs: Link, wants: Link, waitedMs: number): boolean {
  return theirs.open >= wants.open + 2 || (wants.open === 0 && waitedMs >= tuning.sharedTurnMs);
}

function largest(rates: readonly number[]): number | undefined {
  const rate = Math.max(...rates);
  return rate > 0 && rate < never ? rate : undefined;
}
