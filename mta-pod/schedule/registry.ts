/**
 * Sites, tenants and lanes by name, which lanes are parked, and the broom that forgets those at rest. Never fails;
 * numbers of forgotten lanes are used again.
 */
import { Broom } from "./broom.ts";
import { LaneState, newTenant, type TenantState } from "./lane-state.ts";
import { SiteState } from "./site-state.ts";
import type { Lane, Selector, TenantPolicy } from "./types.ts";

interface Suspension {
  readonly selector: Selector;
  /** Infinity = until resumed. */
  readonly until: number;
}

/** Does the selection `outer` hold all that `inner` holds? */
function covers(outer: Selector, inner: Selector): boolean {
  const isTenantCovered = outer.tenant === undefined || outer.tenant === inner.tenant;
  return isTenantCovered && (outer.site === undefined || outer.site === inner.site);
}

export class Registry {
  readonly sites = new Map<string, SiteState>();
  readonly tenants = new Map<string, TenantState>();
  /** The earliest end of a suspension. */
  suspendedUntil = Number.POSITIVE_INFINITY;
  #lanes: (LaneState | undefined)[] = [];
  #freeIds: number[] = [];
  #suspensions: Suspension[] = [];
  readonly #emptyLanes = new Broom<LaneState>();
  readonly #unusedSites = new Broom<SiteState>();

  laneById(id: number): LaneState | undefined {
    return this.#lanes[id];
  }

  siteOf(id: string): SiteState {
    let site = this.sites.get(id);
    if (site === undefined) {
      site = new SiteState(id);
      this.sites.set(id, site);
    }
    return site;
  }

  laneOf(lane: Lane): LaneState {
    const site = this.siteOf(lane.site);
    const known = site.lanes[lane.class].get(lane.tenant);
    if (known !== undefined) return known;
    const tenant = this.#tenantOf(lane.tenant);
    const id = this.#freeIds.pop() ?? this.#lanes.length;
    const own = { site: lane.site, tenant: lane.tenant, class: lane.class };
    const state = new LaneState({ id, lane: own, site, tenant });
    state.parked = this.#mustPark(state);
    this.#lanes[id] = state;
    site.lanes[lane.class].set(lane.tenant, state);
    tenant.lanes.add(state);
    return state;
  }

  /** Lanes within a selection, by the shortest way there. */
  *lanesOf(selector: Selector): Iterable<LaneState> {
    if (selector.site !== undefined) {
      const site = this.sites.get(selector.site);
      if (site === undefined) return;
      for (const lanes of [site.lanes.transactional, site.lanes.bulk]) {
        if (selector.tenant === undefined) yield* lanes.values();
        else {
          const lane = lanes.get(selector.tenant);
          if (lane !== undefined) yield lane;
        }
      }
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

  /** Forgets one lane and one site at rest; answers the lane. Called once a step: as fast as lanes come to be. */
  sweep(now: number): LaneState | undefined {
    const site = this.#unusedSites.take(now);
    if (site !== undefined && site.laneCount === 0) {
      if (site.isAtRest(now)) this.sites.delete(site.id);
      else this.noteUnused(site, now);
    }
    const lane = this.#emptyLanes.take(now);
    if (lane === undefined || lane.entries > 0) return undefined;
    lane.site.lanes[lane.lane.class].delete(lane.lane.tenant);
    this.noteUnused(lane.site, now);
    lane.tenant.lanes.delete(lane);
    if (lane.tenant.lanes.size === 0 && !lane.tenant.isConfigured) this.tenants.delete(lane.tenant.id);
    this.#lanes[lane.id] = undefined;
    this.#freeIds.push(lane.id);
    return lane;
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
