/**
 * Sites, tenants and lanes by name, which lanes are parked, and the broom that forgets those at rest. Never fails;
 * numbers of forgotten lanes are used again.
 */
import { covers } from "#crds/wire/selection.ts";
import { isSiteWithin } from "#crds/wire/subject.ts";
import { Broom } from "./broom.ts";
import type { Budget } from "./budget.ts";
import { LaneState, newTenant, SenderLanes, type TenantState } from "./lane-state.ts";
import { Neighbours } from "./neighbours.ts";
import { SiteState } from "./site-state.ts";
import type { Lane, Selector, TenantPolicy } from "./types.ts";

interface Suspension {
  readonly selector: Selector;
  /** Infinity = until resumed. */
  readonly until: number;
}

export class Registry {
  readonly sites = new Map<string, SiteState>();
  readonly tenants = new Map<string, TenantState>();
  /** The earliest end of a suspension. */
  suspendedUntil = Number.POSITIVE_INFINITY;
  readonly neighbours = new Neighbours();
  #lanes: (LaneState | undefined)[] = [];
  #freeIds: number[] = [];
  #suspensions: Suspension[] = [];
  readonly #emptyLanes = new Broom<LaneState>();
  readonly #unusedSites = new Broom<SiteState>();
  readonly #unusedBudgets = new Broom<Budget>();

  laneById(id: number): LaneState | undefined {
    return this.#lanes[id];
  }

  siteOf(id: string): SiteState {
    let site = this.sites.get(id);
    if (site === undefined) {
      site = new SiteState(id);
      this.neighbours.add(site);
      this.sites.set(id, site);
    }
    return site;
  }

  laneOf(lane: Lane): LaneState {
    const site = this.siteOf(lane.site);
    const whole = site.lanes[lane.class].get(lane.tenant) ?? this.#newLane(site, lane, null);
    if (lane.senderDomain === undefined) return whole;
    return whole.senders?.lanes.get(lane.senderDomain) ?? this.#newLane(site, lane, whole);
  }

  /** Lanes within a selection, by the shortest way there. */
  *lanesOf(selector: Selector): Iterable<LaneState> {
    if (selector.site !== undefined) {
      for (const [id, site] of this.sites)
        if (isSiteWithin(id, selector.site)) yield* site.allLanes(selector.tenant);
    } else if (selector.tenant !== undefined) yield* this.tenants.get(selector.tenant)?.lanes ?? [];
    else for (const lane of this.#lanes) if (lane !== undefined) yield lane;
  }

  /** Answers the lanes that have to be parked or set going. */
  setTenants(policies: ReadonlyMap<string, TenantPolicy>): LaneState[] {
    for (const [id, policy] of policies) {
      const tenant = this.#tenantOf(id);
      tenant.weight = policy.weight;
      tenant.held = policy.held;
      tenant.isConfigured = true;
    }
    for (const tenant of this.tenants.values()) {
      if (policies.has(tenant.id)) continue;
      tenant.held = true;
      tenant.isConfigured = false;
      if (tenant.lanes.size === 0) this.tenants.delete(tenant.id);
    }
    return this.#changedLanes({});
  }

  suspend(selector: Selector, until: number | null): LaneState[] {
    const isSame = (other: Selector) => covers(selector, other) && covers(other, selector);
    this.#suspensions = this.#suspensions.filter((suspension) => !isSame(suspension.selector));
    this.#suspensions.push({
      selector,
      until: until !== null && until <= Number.MAX_VALUE ? until : Number.POSITIVE_INFINITY,
    });
    return this.#suspensionsChanged(selector);
  }

  resume(selector: Selector): LaneState[] {
    this.#suspensions = this.#suspensions.filter((suspension) => !covers(selector, suspension.selector));
    return this.#suspensionsChanged(selector);
  }

  endSuspensions(now: number): LaneState[] {
    this.#suspensions = this.#suspensions.filter((suspension) => suspension.until > now);
    return this.#suspensionsChanged({});
  }

  noteEmpty(lane: LaneState, now: number): void {
    this.#emptyLanes.note(lane, now);
  }

  noteUnused(site: SiteState, now: number): void {
    if (site.laneCount === 0) this.#unusedSites.note(site, now);
  }

  noteUnusedBudget(budget: Budget, now: number): void {
    if (budget.users === 0) this.#unusedBudgets.note(budget, now);
  }

  /** Forgets one lane, one budget and one site at rest; answers the lane. Called once a step: as fast as lanes come to be. */
  sweep(now: number): LaneState | undefined {
    const site = this.#unusedSites.take(now);
    if (site !== undefined && site.laneCount === 0) {
      if (site.isAtRest(now)) this.#forget(site);
      else this.noteUnused(site, now);
    }
    const budget = this.#unusedBudgets.take(now);
    if (budget !== undefined && budget.users === 0) {
      if (budget.isAtRest(now)) budget.site.budgets?.forget(budget);
      else this.noteUnusedBudget(budget, now);
    }
    const lane = this.#emptyLanes.take(now);
    if (lane === undefined || lane.entries > 0 || lane.senders !== null) return undefined;
    this.#takeOut(lane, now);
    this.noteUnused(lane.site, now);
    lane.tenant.lanes.delete(lane);
    if (lane.tenant.lanes.size === 0 && !lane.tenant.isConfigured) this.tenants.delete(lane.tenant.id);
    this.#lanes[lane.id] = undefined;
    this.#freeIds.push(lane.id);
    return lane;
  }

  #forget(site: SiteState): void {
    this.sites.delete(site.id);
    this.neighbours.remove(site);
  }

  #newLane(
    site: SiteState,
    { tenant: name, class: priority, senderDomain }: Lane,
    whole: LaneState | null,
  ): LaneState {
    const tenant = this.#tenantOf(name);
    const id = this.#freeIds.pop() ?? this.#lanes.length;
    const own = { site: site.id, tenant: name, class: priority };
    const isPart = whole !== null && senderDomain !== undefined;
    const lane = isPart ? { ...own, senderDomain } : own;
    const state = new LaneState({ id, lane, site, tenant, parent: whole });
    state.parked = this.#mustPark(state);
    this.#lanes[id] = state;
    if (isPart) (whole.senders ??= new SenderLanes()).lanes.set(senderDomain, state);
    else site.lanes[priority].set(name, state);
    tenant.lanes.add(state);
    if (site.isBudgeted) site.budgets?.attach(state);
    return state;
  }

  #takeOut(lane: LaneState, now: number): void {
    const { parent, site, budget } = lane;
    const { tenant, class: priority, senderDomain } = lane.lane;
    site.budgets?.detach(lane);
    if (budget !== null) this.noteUnusedBudget(budget, now);
    if (parent === null) {
      site.lanes[priority].delete(tenant);
      return;
    }
    parent.senders?.lanes.delete(senderDomain ?? "");
    if (parent.senders?.lanes.size !== 0) return;
    parent.senders = null;
    if (parent.entries === 0) this.noteEmpty(parent, now);
  }

  #suspensionsChanged(selector: Selector): LaneState[] {
    this.suspendedUntil = Number.POSITIVE_INFINITY;
    for (const { until } of this.#suspensions) this.suspendedUntil = Math.min(this.suspendedUntil, until);
    return this.#changedLanes(selector);
  }

  #changedLanes(selector: Selector): LaneState[] {
    return [...this.lanesOf(selector)].filter((lane) => this.#mustPark(lane) !== lane.parked);
  }

  #mustPark(lane: LaneState): boolean {
    return lane.tenant.held || this.#suspensions.some(({ selector }) => covers(selector, lane.lane));
  }

  #tenantOf(id: string): TenantState {
    let tenant = this.tenants.get(id);
    if (tenant === undefined) {
      tenant = newTenant(id);
      this.tenants.set(id, tenant);
    }
    return tenant;
  }
}
