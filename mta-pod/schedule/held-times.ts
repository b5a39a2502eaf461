/** How long sites with ready mail were held back, and by what, since last asked: for a metric. Bounded; never fails. */
import { tuning } from "./tuning.ts";
import type { Binding, HeldTime } from "./types.ts";

export class HeldTimes {
  #times = new Map<string, Map<Binding, number>>();

  add(site: string, binding: Binding, ms: number): void {
    const isNew = !this.#times.has(site);
    const key = isNew && this.#times.size >= tuning.heldSites ? "other" : site;
    const times = this.#times.get(key) ?? new Map<Binding, number>();
    times.set(binding, (times.get(binding) ?? 0) + ms);
    this.#times.set(key, times);
  }

  take(): HeldTime[] {
    const taken: HeldTime[] = [];
    for (const [site, times] of this.#times)
      for (const [binding, ms] of times) taken.push({ site, binding, ms });
    this.#times = new Map();
    return taken;
  }
}
