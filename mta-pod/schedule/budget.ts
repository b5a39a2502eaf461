/** What one tenant, or one sender domain, may do at one site over all its sources: connections in use, message rate. Pure. */
import type { Sweepable } from "./broom.ts";
import type { LaneState } from "./lane-state.ts";
import { MessageRate } from "./message-rate.ts";
import { Ring } from "./ring.ts";
import type { SiteState } from "./site-state.ts";
import type { Timed } from "./timer-heap.ts";
import { tuning } from "./tuning.ts";
import type { BudgetKind, BudgetLimits, Binding } from "./types.ts";

const never = Number.POSITIVE_INFINITY;

export class Budget implements Timed, Sweepable {
  readonly kind: BudgetKind;
  readonly name: string;
  readonly site: SiteState;
  readonly messages = new MessageRate();
  /** Lanes that wait for it: they take no turns. */
  readonly held = new Ring<LaneState>();
  /** Lanes that draw on it. */
  users = 0;
  /** Dispatches under way. */
  busy = 0;
  /** Connections that the former owner may still have in use for it, until it says that they are closed. */
  former = 0;
  formerUntil = 0;
  /** What holds its lanes back, as the metric counts it; null = none is held. */
  heldBy: Binding | null = null;
  /** After `isOpen` said no: why, and until when at the least (Infinity = until something happens). */
  binding: Binding;
  wakeAt = never;
  at = 0;
  heapIndex = -1;
  emptySince = never;
  #connections = never;
  #isSet = false;

  constructor(kind: BudgetKind, name: string, site: SiteState) {
    this.kind = kind;
    this.name = name;
    this.site = site;
    this.binding = `${kind}.messageRate`;
  }

  setLimits({ connections = never, messagesPerSecond }: BudgetLimits): void {
    this.#connections = connections;
    const told = this.messages.nextAt;
    this.messages.setRate(messagesPerSecond);
    if (this.#isSet) return;
    this.#isSet = true;
    this.messages.startAt(told);
    if (this.site.othersSpentAt > 0) this.messages.spent(this.site.othersSpentAt);
  }

  /** May a dispatch start now? */
  isOpen(now: number): boolean {
    const { dispatches } = this.messages;
    if (!dispatches.isOpen(now)) return this.#refuse(`${this.kind}.messageRate`, dispatches.nextAt);
    if (this.#connections === never) return true;
    const isFull = this.busy + this.#othersOpen(now) >= this.#connections;
    return !isFull || this.#refuse("perTenant.connections", this.#othersUntil(now));
  }

  /** Nothing would be forgotten with it. */
  isAtRest(now: number): boolean {
    return (
      this.users + this.busy + this.held.length === 0 &&
      (this.former === 0 || this.formerUntil <= now) &&
      // What was sent close together is remembered one by one.
      this.messages.nextAt + tuning.forgetAfterMs <= now
    );
  }

  /** A successor has to know of it. */
  isSpent(now: number): boolean {
    return this.busy + this.formerAt(now) > 0 || this.messages.nextForSuccessor > now;
  }

  formerAt(now: number): number {
    return this.formerUntil > now ? this.former : 0;
  }

  shift(byMs: number): void {
    this.messages.shift(byMs);
    this.formerUntil += byMs;
  }

  #othersOpen(now: number): number {
    let open = this.formerAt(now);
    if (this.site.anybodysUntil > now) open += this.site.anybodys;
    for (const link of this.site.links.values()) if (link.lingeringUntil > now) open += link.lingering;
    return open;
  }

  #othersUntil(now: number): number {
    let until = this.formerAt(now) > 0 ? this.formerUntil : never;
    if (this.site.anybodysUntil > now) until = Math.min(until, this.site.anybodysUntil);
    for (const { lingering, lingeringUntil } of this.site.links.values())
      if (lingering > 0 && lingeringUntil > now) until = Math.min(until, lingeringUntil);
    return until;
  }

  #refuse(binding: Binding, wakeAt: number): false {
    this.binding = binding;
    this.wakeAt = wakeAt;
    return false;
  }
}
