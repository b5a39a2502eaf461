/** The pod's scheduler: index, fairness and limits behind one interface. Pure: time and chance come in, steps go out. */
import { covers } from "#crds/wire/selection.ts";
import { bookFinalDot, bookNext, finalDotMs } from "./booking.ts";
import { Dispatcher } from "./dispatcher.ts";
import { noSlot, slotStates } from "./entry-table.ts";
import { handOver, spentBudgets } from "./handover.ts";
import { oldestOf } from "./listing.ts";
import type { Queue } from "./queue.ts";
import type { Registry } from "./registry.ts";
import { bindingOfLane, countQueue, countUnserved, reportSite, unknownSite } from "./report.ts";
import type {
  Binding,
  Entry,
  FinishResult,
  HeldTime,
  Lane,
  ListedEntry,
  QueueCounts,
  Scheduler,
  SchedulerOptions,
  Selector,
  SiteConfig,
  SiteHandover,
  SiteReport,
  SourceWeight,
  Step,
  TenantPolicy,
  Unserved,
} from "./types.ts";
import type { MailTurn } from "./turns.ts";

/** Worked example: `add` an entry, `setSite` and `setTenants` its site and tenant, then call `next` until it sleeps. */
export function createScheduler(options: SchedulerOptions): Scheduler {
  return new PodScheduler(options);
}

class PodScheduler implements Scheduler {
  readonly #dispatcher: Dispatcher;
  readonly #queue: Queue;
  readonly #registry: Registry;

  constructor(options: SchedulerOptions) {
    this.#dispatcher = new Dispatcher(options);
    this.#queue = this.#dispatcher.queue;
    this.#registry = this.#dispatcher.registry;
  }

  add(lane: Lane, entry: Entry, now: number): number {
    this.#dispatcher.tell(now);
    const state = this.#registry.laneOf(lane);
    const slot = this.#queue.table.take(entry, state.id);
    if (entry.due > now) this.#queue.toWaiting(slot, entry.due, now, (entry.sendAt ?? 0) > now);
    else this.#queue.toReady(slot, "tail");
    return this.#queue.table.handleOf(slot);
  }

  settle(handle: number): void {
    const slot = this.#queue.table.slotOf(handle);
    if (slot !== noSlot) this.#queue.remove(slot, this.#dispatcher.now);
  }

  defer(handle: number, due: number, attempt: number, now: number): void {
    this.#dispatcher.tell(now);
    const slot = this.#queue.table.slotOf(handle);
    if (slot === noSlot) return;
    this.#queue.table.setAttempt(slot, attempt);
    this.#dispatcher.afterFlight(handle, () => {
      if (due > this.#dispatcher.now) this.#queue.toWaiting(slot, Math.ceil(due), this.#dispatcher.now);
      else this.#queue.toReady(slot, "tail");
    });
  }

  requeue(handle: number, now: number): void {
    this.#dispatcher.tell(now);
    const slot = this.#queue.table.slotOf(handle);
    if (slot === noSlot) return;
    const state = this.#queue.table.stateOf(slot);
    if (state === slotStates.waiting) this.#queue.wakeNow(slot, now);
    else if (state === slotStates.inflight)
      this.#dispatcher.afterFlight(handle, () => this.#queue.toReady(slot, "head"));
  }

  finish(handle: number, result: FinishResult, now: number): void {
    this.#dispatcher.tell(now);
    this.#dispatcher.finish(handle, result, now);
  }

  connectionClosed(site: string, source: string, now: number, was: "idle" | "closing" = "idle"): void {
    this.#dispatcher.tell(now);
    const state = this.#registry.sites.get(site);
    if (state === undefined) return;
    state.links.get(source)?.closed(was);
    this.#dispatcher.poke(state);
  }

  next(now: number): Step {
    this.#dispatcher.tell(now);
    return this.#dispatcher.next(now);
  }

  clockSet(byMs: number): void {
    this.#dispatcher.clockSet(byMs);
  }

  holdBeforeMail(handle: number, now: number): MailTurn {
    this.#dispatcher.tell(now);
    return this.#dispatcher.holdBeforeMail(handle, now);
  }

  finalDotMs(handle: number, now: number): number {
    this.#dispatcher.tell(now);
    const flight = this.#dispatcher.flightOf(handle);
    return flight === undefined ? 0 : finalDotMs(flight, now);
  }

  addGuest(site: string, source: string, now: number): number {
    this.#dispatcher.tell(now);
    const state = this.#registry.siteOf(site);
    const handle = this.#dispatcher.guests.add(state, source);
    this.#dispatcher.poke(state);
    return handle;
  }

  dropGuest(handle: number, now: number): void {
    this.#dispatcher.tell(now);
    const site = this.#dispatcher.guests.drop(handle);
    if (site !== undefined) this.#dispatcher.poke(site);
  }

  bookFinalDot(handle: number, from: number, lateMs: number): number {
    const flight = this.#dispatcher.flightOf(handle);
    return flight === undefined ? Number.POSITIVE_INFINITY : bookFinalDot(flight, from, lateMs);
  }

  promise(handle: number, until: number): void {
    this.#dispatcher.flightOf(handle)?.link.promise(until);
  }

  nextTurn(handle: number, now: number): MailTurn {
    this.#dispatcher.tell(now);
    const flight = this.#dispatcher.flightOf(handle);
    return flight === undefined ? { then: "requeue", ms: 0 } : bookNext(flight, now);
  }

  surplus(site: string, source: string): number {
    const state = this.#registry.sites.get(site);
    const link = state?.links.get(source);
    if (state === undefined || link === undefined) return 0;
    const isWanted = state.shared?.mustYield(link, this.#dispatcher.now) === true;
    return Math.max(link.surplus(), isWanted ? 1 : 0);
  }

  knowsSite(site: string): boolean {
    return this.#registry.sites.get(site)?.isKnown ?? false;
  }

  setSite(site: string, config: SiteConfig, now: number): void {
    this.#dispatcher.tell(now);
    this.#dispatcher.configure(this.#registry.siteOf(site), config);
  }

  setTenants(tenants: ReadonlyMap<string, TenantPolicy>, now: number): void {
    this.#dispatcher.tell(now);
    this.#queue.toggle(this.#registry.setTenants(tenants));
  }

  setSources(sources: readonly SourceWeight[], now: number): void {
    this.#dispatcher.tell(now);
    this.#dispatcher.sources = sources;
    for (const site of this.#registry.sites.values()) this.#dispatcher.poke(site);
  }

  suspend(selector: Selector, until: number | null, now: number): void {
    this.#dispatcher.tell(now);
    this.#queue.toggle(this.#registry.suspend(selector, until));
  }

  resume(selector: Selector, now: number): void {
    this.#dispatcher.tell(now);
    this.#queue.toggle(this.#registry.resume(selector));
  }

  dropShard(shard: number): void {
    const { table } = this.#queue;
    for (let slot = 0; slot < table.used; slot++)
      if (table.stateOf(slot) !== slotStates.free && table.shardOf(slot) === shard)
        this.#queue.remove(slot, this.#dispatcher.now);
  }

  relane(handle: number, lane: Lane, now: number): void {
    this.#dispatcher.tell(now);
    const slot = this.#queue.table.slotOf(handle);
    if (slot !== noSlot) this.#queue.relane(slot, this.#registry.laneOf(lane), now);
  }

  entryOf(handle: number): Omit<ListedEntry, "handle"> | undefined {
    const slot = this.#queue.table.slotOf(handle);
    return slot === noSlot ? undefined : this.#listed(slot);
  }

  list(filter: Selector, limit: number): readonly ListedEntry[] {
    const lanes = this.#registry.lanesOf(filter);
    return oldestOf(lanes, this.#queue.table, limit).map((slot) => this.#listed(slot));
  }

  withIdHash(idHash: number, filter: Selector): readonly ListedEntry[] {
    return [...this.#queue.table.withIdHash(idHash)]
      .map((slot) => this.#listed(slot))
      .filter(({ lane }) => covers(filter, lane));
  }

  count(filter: Selector): number {
    let count = 0;
    for (const lane of this.#registry.lanesOf(filter)) count += lane.entries;
    return count;
  }

  shardSize(shard: number): number {
    return this.#queue.table.sizeOf(shard);
  }

  holds(shard: number, seq: number): boolean {
    return this.#queue.table.holds(shard, seq);
  }

  handles(filter: Selector): readonly number[] {
    const handles: number[] = [];
    const { table } = this.#queue;
    for (const lane of this.#registry.lanesOf(filter))
      for (const { head } of lane.lists)
        for (let slot = head; slot !== noSlot; slot = table.nextOf(slot)) handles.push(table.handleOf(slot));
    return handles;
  }

  sites(): Iterable<string> {
    return this.#registry.sites.keys();
  }

  siteState(site: string): SiteReport {
    const state = this.#registry.sites.get(site);
    return state === undefined
      ? unknownSite
      : reportSite(state, this.#dispatcher.sources, this.#dispatcher.now);
  }

  bindingOf({ site, tenant, senderDomain }: Omit<Lane, "class">): Binding | null {
    const state = this.#registry.sites.get(site);
    if (state === undefined) return unknownSite.binding;
    const { sources, now } = this.#dispatcher;
    return bindingOfLane(state, { sources, now, tenant, senderDomain });
  }

  takeHeldTimes(): readonly HeldTime[] {
    return this.#dispatcher.held.take();
  }

  unserved(now: number): Unserved {
    const { sources } = this.#dispatcher;
    return countUnserved(this.#registry.sites.values(), { sources, now, table: this.#queue.table });
  }

  counts(): QueueCounts {
    return countQueue(this.#registry.tenants, this.#queue.table);
  }

  snapshot(site: string): SiteHandover | undefined {
    const state = this.#registry.sites.get(site);
    return state === undefined ? undefined : handOver(state);
  }

  handOver(site: string, now: number): SiteHandover | undefined {
    const state = this.#registry.sites.get(site);
    return state === undefined ? undefined : { ...handOver(state), budgets: spentBudgets(state, now) };
  }

  restore(handover: SiteHandover, until: number, now: number): void {
    this.#dispatcher.tell(now);
    this.#dispatcher.restore(handover, until);
  }

  forgetFormer(site: string, now: number): void {
    this.#dispatcher.tell(now);
    const state = this.#registry.sites.get(site);
    if (state !== undefined) this.#dispatcher.forgetFormer(state);
  }

  #listed(slot: number): ListedEntry {
    const { table } = this.#queue;
    const { lane } = this.#queue.laneOf(slot);
    return {
      handle: table.handleOf(slot),
      entry: table.entryAt(slot),
      lane,
      state: this.#queue.stateOf(slot),
    };
  }
}
