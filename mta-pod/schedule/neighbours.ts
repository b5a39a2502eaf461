/** Which sites share hosts: those with a place in common, and whoever shares with one of those. Pure, never fails. */
import { sharedPlaces } from "#crds/wire/subject.ts";
import { SharedHosts } from "./shared-hosts.ts";
import type { SiteState } from "./site-state.ts";
import { tuning } from "./tuning.ts";

export class Neighbours {
  /** Of sites that share with others. */
  readonly shared = new Set<SharedHosts>();
  readonly #sitesAt = new Map<string, SiteState[]>();
  #regrouped = new Set<SiteState>();

  add(site: SiteState): void {
    for (const place of sharedPlaces(site.id)) {
      const sites = this.#sitesAt.get(place);
      if (sites === undefined) this.#sitesAt.set(place, [site]);
      else sites.push(site);
    }
    this.#joinAll(site);
  }

  /** The site is forgotten; those that shared through it alone share no longer. */
  remove(site: SiteState): void {
    const places = sharedPlaces(site.id);
    for (const place of places) {
      const sites = (this.#sitesAt.get(place) ?? []).filter((other) => other !== site);
      if (sites.length > 0) this.#sitesAt.set(place, sites);
      else this.#sitesAt.delete(place);
    }
    const { shared } = site;
    if (shared === null) return;
    shared.remove(site);
    const others = shared.sites;
    if (others.length > 0 && places.length === 1) return;
    this.shared.delete(shared);
    for (const other of others) this.#leave(other, shared);
    for (const other of others) this.#joinAll(other);
  }

  /** Sites that share with others than before: what they were held back by may not hold any more. Each is told once. */
  takeRegrouped(): Iterable<SiteState> {
    const regrouped = this.#regrouped;
    if (regrouped.size > 0) this.#regrouped = new Set();
    return regrouped;
  }

  /** The first at a place stands for all that share there. */
  #joinAll(site: SiteState): void {
    for (const place of sharedPlaces(site.id)) {
      const [first = site] = this.#sitesAt.get(place) ?? [];
      if (first !== site) this.#join(site, first);
    }
  }

  #join(site: SiteState, other: SiteState): void {
    if (site.shared !== null && site.shared === other.shared) return;
    const moving = site.shared?.sites ?? [site];
    // Each asks for all of them: a zone can name as many as it likes.
    if (moving.length + (other.shared?.size ?? 1) > tuning.sharedSites) return;
    let { shared } = other;
    if (shared === null) {
      shared = new SharedHosts();
      this.shared.add(shared);
      shared.add(other);
    }
    if (site.shared !== null) this.shared.delete(site.shared);
    for (const one of moving) {
      if (one.shared !== null) this.#leave(one, one.shared);
      shared.add(one);
    }
  }

  #leave(site: SiteState, shared: SharedHosts): void {
    shared.remove(site);
    this.#regrouped.add(site);
  }
}
