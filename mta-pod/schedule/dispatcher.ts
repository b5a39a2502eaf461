/**
 * Runnable sites, dispatches under way, and the next step. Pure, never fails.
 *
 * A site with work stands in the ring of runnable sites, which take turns. One that may not run leaves the ring: for
 * the heap of wake times when time alone frees it, else until an event does. So no call looks at all sites, and a
 * slow site costs the others nothing.
 */
import type { Random } from "#mta-pod/runtime/clock.ts";
import { answered, bookMail } from "./booking.ts";
import { BudgetGate } from "./budget-gate.ts";
import { noSlot } from "./entry-table.ts";
import { applyFeedback, type Flight } from "./feedback.ts";
import { WaitingGuests, wantedSources } from "./guests.ts";
import { takeOver } from "./handover.ts";
import { HeldTimes } from "./held-times.ts";
import type { Link } from "./link.ts";
import { Queue } from "./queue.ts";
import { Registry } from "./registry.ts";
import { Ring } from "./ring.ts";
import type { SharedHosts } from "./shared-hosts.ts";
import type { SiteState } from "./site-state.ts";
import { TimerHeap } from "./timer-heap.ts";
import { tuning } from "./tuning.ts";
import type {
  FinishResult,
  SchedulerOptions,
  SiteConfig,
  SiteHandover,
  SourceWeight,
  Step,
} from "./types.ts";
import type { MailTurn } from "./turns.ts";

const never = Number.POSITIVE_INFINITY;
const atOnce: MailTurn = { then: "send", ms: 0 };

export class Dispatcher {
  readonly registry = new Registry();
  readonly queue: Queue;
  readonly held = new HeldTimes();
  readonly gate: BudgetGate;
  readonly guests = new WaitingGuests();
  sources: readonly SourceWeight[];
  /** The latest time told: for calls that bring none. */
  now = 0;
  readonly #random: Random;
  readonly #flights = new Map<number, Flight>();
  readonly #runnable = new Ring<SiteState>();
  readonly #blocked = new TimerHeap<SiteState>();
  #isDispatchFirst = false;

  constructor(options: SchedulerOptions) {
    this.#random = options.random;
    this.sources = options.sources;
    this.queue = new Queue(this.registry, {
      onWork: (site) => this.poke(site),
      onNoWork: (site) => this.#endHold(site),
      onNoneHeld: (budget) => this.gate.release(budget, this.now),
    });
    this.gate = new BudgetGate(this.held, (lane) => this.queue.refresh(lane));
  }

  /** Time goes on; back it goes only when the clock was set. */
  tell(now: number): void {
    const step = now - this.now;
    if (step <= -tuning.clockStepMs) this.clockSet(step);
    this.now = now;
  }

  /** Pauses and rates go with it: else they would hold for as long as it went back, or be over when it goes ahead. */
  clockSet(step: number): void {
    this.now += step;
    for (const site of this.registry.sites.values()) site.shift(step);
    for (const shared of this.registry.neighbours.shared) shared.shift(step);
    for (const flight of this.#flights.values()) flight.startedAt += step;
    this.#blocked.shift(step);
    this.gate.shift(step);
  }

  configure(site: SiteState, config: SiteConfig): void {
    if (site.configure(config)) this.#drawAnew(site);
    this.registry.noteUnused(site, this.now);
    this.poke(site);
  }

  restore(handover: SiteHandover, until: number): void {
    const site = this.registry.siteOf(handover.site);
    takeOver(site, handover, { until, now: this.now });
    site.shared?.learn();
    for (const budget of site.budgets?.all() ?? []) this.registry.noteUnusedBudget(budget, this.now);
    this.registry.noteUnused(site, this.now);
    this.poke(site);
  }

  forgetFormer(site: SiteState): void {
    for (const link of site.links.values()) link.former = 0;
    site.anybodys = 0;
    for (const budget of site.budgets?.all() ?? []) {
      budget.former = 0;
      this.gate.review(budget, this.now);
    }
    this.poke(site);
  }

  /** Something happened at the site: it may be able to run, or rather one that waits for the hosts it shares. */
  poke(site: SiteState): void {
    if (site.shared !== null) this.#pokeWaiting(site.shared);
    this.#poke(site);
  }

  #pokeWaiting(shared: SharedHosts): void {
    for (const site of shared.next()) this.#poke(site);
  }

  #poke(site: SiteState): void {
    this.#blocked.remove(site);
    this.#endHold(site);
    if (site.hasWork) this.#runnable.push(site);
  }

  #endHold(site: SiteState): void {
    if (site.heldFrom > 0) this.held.add(site.id, site.heldBy, Math.max(0, this.now - site.heldFrom));
    site.heldFrom = 0;
  }

  next(now: number): Step {
    this.#keepHouse(now);
    for (;;) {
      const step = this.#step(now);
      if (step !== undefined) return step;
      if (this.#runnable.length > 0) continue;
      const freedAt = Math.min(this.#nextFreedAt(), this.gate.nextWakeAt);
      const wakeAt = Math.min(this.queue.nextWakeAt(), freedAt, this.registry.suspendedUntil);
      if (wakeAt === never) return { kind: "idle" };
      const ms = Math.ceil(wakeAt - now);
      if (ms <= 0) continue;
      return { kind: "sleep", ms: ms < tuning.maxSleepMs ? ms : tuning.maxSleepMs };
    }
  }

  finish(handle: number, result: FinishResult, now: number): void {
    const flight = this.#flights.get(handle);
    if (flight === undefined) return;
    this.#flights.delete(handle);
    answered(flight, now);
    flight.link.end(result.connection);
    if (result.isUnspent === true && flight.mail === null) {
      flight.link.unspend(result.connection);
      for (const { budget } of flight.drafts ?? []) budget.messages.dispatches.unspend();
    }
    if (flight.drafts !== null) this.gate.finish(flight.drafts, now);
    applyFeedback(flight, result.feedback, { now, random: this.#random });
    if (this.queue.table.slotOf(handle) !== noSlot) flight.after?.();
    this.poke(flight.site);
  }

  /** Does it when the dispatch has ended: an entry must not be dispatched again while its last one holds a connection. */
  afterFlight(handle: number, act: () => void): void {
    const flight = this.#flights.get(handle);
    if (flight === undefined) act();
    else flight.after = act;
  }

  holdBeforeMail(handle: number, now: number): MailTurn {
    const flight = this.#flights.get(handle);
    if (flight === undefined) return atOnce;
    const { drafts } = flight;
    const turn = drafts === null ? undefined : this.gate.turnOf(drafts, now);
    if (turn !== undefined) return turn;
    const holdMs = bookMail(flight, now);
    if (drafts !== null) this.gate.book(drafts, now + holdMs, now);
    return holdMs > 0 ? { then: "send", ms: holdMs } : atOnce;
  }

  flightOf(handle: number): Flight | undefined {
    return this.#flights.get(handle);
  }

  /** Limits came or went: lanes, and what is under way, draw on what there is now. */
  #drawAnew(site: SiteState): void {
    const { budgets } = site;
    if (budgets === null) return;
    for (const budget of budgets.all()) this.gate.release(budget, this.now);
    for (const lane of site.allLanes()) budgets.attach(lane);
    for (const budget of budgets.all()) this.registry.noteUnusedBudget(budget, this.now);
    for (const flight of this.#flights.values()) {
      if (flight.site !== site || !site.isBudgeted) continue;
      const { lane } = flight;
      if (lane === null) continue;
      flight.drafts ??= [];
      for (const one of [lane.parent, lane])
        if (one !== null) this.gate.join(flight.drafts, budgets.budgetOf(one));
    }
  }

  /** When time frees the next site that still has work. */
  #nextFreedAt(): number {
    let site = this.#blocked.peek();
    for (; site !== undefined && !site.hasWork; site = this.#blocked.peek()) this.#blocked.remove(site);
    return site?.at ?? never;
  }

  #keepHouse(now: number): void {
    const forgotten = this.registry.sweep(now);
    if (forgotten !== undefined) this.queue.forget(forgotten);
    for (const site of this.registry.neighbours.takeRegrouped()) this.poke(site);
    if (this.registry.suspendedUntil <= now) this.queue.toggle(this.registry.endSuspensions(now));
  }

  /** Expiries and dispatches take turns, so that a wave of the one does not hold up the other. */
  #step(now: number): Step | undefined {
    const isDispatchFirst = this.#isDispatchFirst;
    this.#isDispatchFirst = false;
    if (isDispatchFirst) return this.#dispatch(now) ?? this.#wakeEntries(now);
    return this.#wakeEntries(now) ?? this.#dispatch(now);
  }

  #wakeEntries(now: number): Step | undefined {
    for (let count = 0; count < tuning.wakesPerCall; count++) {
      const slot = this.queue.wake(now);
      if (slot === undefined) return undefined;
      if (slot !== noSlot) return this.#expire(slot);
    }
    return undefined;
  }

  #expire(slot: number): Step {
    this.queue.toInflight(slot);
    this.#isDispatchFirst = true;
    const { lane } = this.queue.laneOf(slot);
    return {
      kind: "expire",
      handle: this.queue.table.handleOf(slot),
      entry: this.queue.table.entryAt(slot),
      lane,
    };
  }

  #dispatch(now: number): Step | undefined {
    this.gate.wake(now);
    for (let site = this.#blocked.peek(); site !== undefined && site.at <= now; site = this.#blocked.peek())
      this.poke(site);
    for (let site = this.#runnable.head; site !== null; site = this.#runnable.head) {
      this.#runnable.remove(site);
      const step = this.#dispatchFrom(site, now);
      if (step !== undefined) {
        this.#runnable.push(site);
        return step;
      }
    }
    return undefined;
  }

  #dispatchFrom(site: SiteState, now: number): Step | undefined {
    let lane = site.peekLane();
    if (lane === null && site.guests.length === 0) return undefined;
    const link = site.openLink(lane === null ? wantedSources(site.guests) : this.sources, now);
    site.shared?.note(site, link === undefined, now);
    if (link === undefined) {
      site.heldFrom = now;
      site.heldBy = site.binding;
      const room = site.shared?.roomFor(site, now);
      const wakeAt = room === undefined ? site.wakeAt : Math.min(site.wakeAt, now + tuning.roomAgainMs);
      if (wakeAt !== never) this.#blocked.set(site, wakeAt);
      return room === undefined ? undefined : { kind: "yield", ...room };
    }
    if (lane === null) return this.#admit(site, link, now);
    if (site.isBudgeted || lane.senders !== null) lane = this.gate.openLane(site, now);
    if (lane === null) return undefined;
    const slot = lane.ready.head;
    if (this.queue.table.expiresAt(slot) <= now) return this.#expire(slot);
    site.chargeLane(lane);
    this.queue.toInflight(slot);
    const connection = site.start(link, now);
    const handle = this.queue.table.handleOf(slot);
    const drafts = site.isBudgeted ? this.gate.start(lane, now) : null;
    this.#begin(handle, { site, link, lane, drafts }, now);
    const entry = this.queue.table.entryAt(slot);
    return {
      kind: "dispatch",
      dispatch: { handle, entry, lane: lane.lane, source: link.source, connection },
    };
  }

  #admit(site: SiteState, link: Link, now: number): Step | undefined {
    const handle = this.guests.take(site, link.source);
    if (handle === undefined) return undefined;
    site.start(link, now);
    this.#begin(handle, { site, link, lane: null, drafts: null }, now);
    return { kind: "admit", handle };
  }

  #begin(handle: number, flight: Pick<Flight, "site" | "link" | "lane" | "drafts">, now: number): void {
    this.#flights.set(handle, { ...flight, startedAt: now, mail: null, after: null });
    const { shared } = flight.site;
    if (shared !== null) this.#pokeWaiting(shared);
  }
}
