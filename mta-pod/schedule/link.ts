/** One (source, site): its connections, window, rates and pause. Pure, never fails. */
import { Backoff } from "./backoff.ts";
import { MessageRate } from "./message-rate.ts";
import { Pace } from "./pace.ts";
import type { SharedLink } from "./shared-hosts.ts";
import { tuning } from "./tuning.ts";
import type { Binding, FinishResult, SiteLimits } from "./types.ts";
import { Window } from "./window.ts";

const never = Number.POSITIVE_INFINITY;

/** For a site whose resolution failed before anything was known of it: one connection asks again. */
export const probeLimits: SiteLimits = { connections: 1 };

export class Link {
  readonly source: string;
  readonly window: Window;
  readonly pause = new Backoff(tuning.pause);
  readonly messages = new MessageRate();
  readonly connects = new Pace();
  /** Connections there are or are being made; `busy` of them carry a dispatch, on `closing` of them goodbye is being said. */
  open = 0;
  busy = 0;
  closing = 0;
  /** Connections that the former owner may still have open, until it says that they are closed. */
  former = 0;
  formerUntil = 0;
  /** Connections of an owner that fell silent: nobody will ever tell, only time does. */
  lingering = 0;
  lingeringUntil = 0;
  /** Messages of guests may be counted as late as then. */
  promisedUntil = 0;
  /** After `isOpen` said no: why, and until when at the least (Infinity = until something happens). */
  binding: Binding = "connections";
  wakeAt = never;
  /** Its place in the weighted choice among sources: the lowest is next. */
  turn = 0;
  weight = 1;
  limits: SiteLimits;
  /** What its source does at the site's hosts for all sites that share them; null = there are no others. */
  shared: SharedLink | null = null;
  /** After `isOpen` said no: the limit is one of all those together; null = its own. */
  sharedBinding: Binding | null = null;

  constructor(source: string, limits: SiteLimits) {
    this.source = source;
    this.limits = limits;
    this.window = new Window(limits.connections);
    this.setLimits(limits);
  }

  setLimits(limits: SiteLimits): void {
    this.limits = limits;
    this.window.setLimit(limits.connections);
    this.messages.setRate(limits.messagesPerSecond);
    this.connects.setRate(limits.connectionsPerSecond);
  }

  /** May a dispatch start now? */
  isOpen(now: number): boolean {
    this.sharedBinding = null;
    if (this.former > 0 && this.formerUntil <= now) this.former = 0;
    if (this.lingering > 0 && this.lingeringUntil <= now) this.lingering = 0;
    if (this.pause.until > now) return this.#refuse("backoff", this.pause.until);
    // The rate first: it holds for as long as it says, also when a connection that is busy is free sooner.
    const { dispatches } = this.messages;
    if (!dispatches.isOpen(now)) return this.#refuse("messageRate", dispatches.nextAt);
    if (this.busy + this.closing + this.former + this.lingering >= this.window.size)
      return this.#refuse("connections", this.formerEnd(now));
    // From here on the window has room for one more, idle or new.
    const isNew = this.idle <= 0;
    if (isNew && !this.connects.isOpen(now)) return this.#refuse("connectionRate", this.connects.nextAt);
    const refusal = this.shared?.refusal(now, isNew);
    if (refusal === undefined) return true;
    this.sharedBinding = refusal.binding;
    return this.#refuse(refusal.binding, refusal.wakeAt);
  }

  /** After `isOpen` said no: for all connections are taken, by sites that share its hosts as well. */
  get isCrowdedOut(): boolean {
    return this.sharedBinding === "connections";
  }

  /** Connections that carry no dispatch; below 0 when one that was promised to a dispatch is gone. */
  get idle(): number {
    return this.open - this.closing - this.busy;
  }

  /** Starts the dispatch that `isOpen` allowed. */
  start(now: number): "reuse" | "open" {
    this.messages.start(now);
    this.shared?.messages.start(now);
    const connection = this.idle > 0 ? "reuse" : "open";
    this.busy++;
    if (connection === "open") {
      this.open++;
      this.connects.charge(now);
      this.shared?.connects.charge(now);
    }
    return connection;
  }

  end(connection: FinishResult["connection"]): void {
    this.busy = Math.max(0, this.busy - 1);
    if (connection === "closing") this.closing++;
    if (connection === "closed") this.open = Math.max(0, this.open - 1);
  }

  /** Of a dispatch that ended, with `connection`, before anything was done for it. */
  unspend(connection: FinishResult["connection"]): void {
    this.messages.dispatches.unspend();
    this.shared?.messages.dispatches.unspend();
    if (connection !== "closed") return;
    this.connects.unspend();
    this.shared?.connects.unspend();
  }

  /** Also when a dispatch was promised it: `open` is then below `busy` until that one ends, with nothing kept. */
  closed(was: "idle" | "closing"): void {
    this.open = Math.max(0, this.open - 1);
    if (was === "closing") this.closing = Math.max(0, this.closing - 1);
  }

  /** Connections too many, after limits or the window went down. */
  surplus(): number {
    return Math.max(0, this.open - this.closing + this.former + this.lingering - this.window.size);
  }

  /** Nothing would be forgotten with it. */
  isAtRest(now: number): boolean {
    const paced = Math.max(this.messages.nextAt, this.connects.nextAt);
    const isFormerGone = this.former === 0 || this.formerUntil <= now;
    const isNoneLingering = this.lingering === 0 || this.lingeringUntil <= now;
    return (
      this.open + this.busy === 0 &&
      isFormerGone &&
      isNoneLingering &&
      this.pause.until <= now &&
      paced <= now
    );
  }

  shift(byMs: number): void {
    this.pause.shift(byMs);
    this.messages.shift(byMs);
    this.connects.nextAt += byMs;
    this.formerUntil += byMs;
    this.lingeringUntil += byMs;
    this.promisedUntil += byMs;
  }

  promise(until: number): void {
    this.promisedUntil = Math.max(this.promisedUntil, until);
  }

  /** When the next owner may send: what was answered late is not told of, and guests may send a moment longer. */
  get nextMessageForSuccessor(): number {
    const isLimited = this.limits.messagesPerSecond !== undefined;
    const afterGuests = isLimited && this.promisedUntil > 0 ? this.promisedUntil + tuning.guestPeriodMs : 0;
    return Math.max(this.messages.nextForSuccessor, afterGuests);
  }

  /** Connections of owners before that count still. */
  formerAt(now: number): number {
    return (this.formerUntil > now ? this.former : 0) + (this.lingeringUntil > now ? this.lingering : 0);
  }

  /** When the first of these ends by itself; Infinity = there are none. */
  formerEnd(now: number): number {
    return Math.min(
      this.former > 0 && this.formerUntil > now ? this.formerUntil : never,
      this.lingering > 0 && this.lingeringUntil > now ? this.lingeringUntil : never,
    );
  }

  #refuse(binding: Binding, wakeAt: number): boolean {
    this.binding = binding;
    this.wakeAt = wakeAt;
    return false;
  }
}
