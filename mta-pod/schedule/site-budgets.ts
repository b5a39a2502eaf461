/** The budgets of one site's tenants and sender domains, where a shape asks for them, and which lane draws on which. Pure. */
import { Budget } from "./budget.ts";
import type { LaneState } from "./lane-state.ts";
import { Pace } from "./pace.ts";
import type { SiteState } from "./site-state.ts";
import type { Binding, BudgetKind, BudgetLimits, SiteLimits, SpentBudget } from "./types.ts";

export const budgetKinds: readonly BudgetKind[] = ["perTenant", "perSenderDomain"];

interface Kind {
  limits: BudgetLimits | undefined;
  readonly budgets: Map<string, Budget>;
}

export class SiteBudgets {
  readonly #site: SiteState;
  readonly #kinds: Record<BudgetKind, Kind> = {
    perTenant: { limits: undefined, budgets: new Map() },
    perSenderDomain: { limits: undefined, budgets: new Map() },
  };
  /** For the metric: since when, and by how many, lanes are held back. */
  readonly #holds = new Map<Binding, { count: number; since: number }>();

  constructor(site: SiteState) {
    this.#site = site;
  }

  get isActive(): boolean {
    return budgetKinds.some((kind) => this.#kinds[kind].limits !== undefined);
  }

  /**
   * Answers whether anything of it is new; what was spent stays known, also while there is no limit. Throws RangeError
   * for a rate that is not above 0.
   */
  setLimits(limits: SiteLimits): boolean {
    let isChanged = false;
    for (const name of budgetKinds) {
      const kind = this.#kinds[name];
      const next: BudgetLimits | undefined = limits[name];
      const { connections, messagesPerSecond } = kind.limits ?? {};
      const isSame = connections === next?.connections && messagesPerSecond === next?.messagesPerSecond;
      if (isSame && (kind.limits === undefined) === (next === undefined)) continue;
      isChanged = true;
      new Pace().setRate(next?.messagesPerSecond);
      kind.limits = next;
      if (next !== undefined) for (const budget of kind.budgets.values()) budget.setLimits(next);
    }
    return isChanged;
  }

  /** A sender domain's lane draws on that domain's; any other on its tenant's. null = no limit asks for it. */
  budgetOf({ lane, parent }: LaneState): Budget | null {
    const name: BudgetKind = parent === null ? "perTenant" : "perSenderDomain";
    if (this.#kinds[name].limits === undefined) return null;
    // Mail from nobody is told apart by its tenant, whose name is no domain's.
    return this.#budget(name, parent === null ? lane.tenant : lane.senderDomain || lane.tenant);
  }

  attach(lane: LaneState): void {
    const budget = this.budgetOf(lane);
    if (lane.budget === budget) return;
    this.detach(lane);
    lane.budget = budget;
    if (budget !== null) budget.users++;
  }

  detach(lane: LaneState): void {
    if (lane.budget !== null) lane.budget.users--;
    lane.budget = null;
  }

  forget({ kind, name }: Budget): void {
    this.#kinds[kind].budgets.delete(name);
  }

  *all(): Iterable<Budget> {
    for (const name of budgetKinds) yield* this.#kinds[name].budgets.values();
  }

  /** What the former owner says of one; taken only where it is stricter than what is known. */
  tell({ kind, name, busy, nextMessageAt }: SpentBudget, until: number): void {
    const budget = this.#budget(kind, name);
    budget.former = busy;
    budget.formerUntil = until;
    budget.messages.waitUntil(nextMessageAt);
  }

  /** What holds back mail now, if something does. */
  heldBy(): Binding | null {
    for (const { heldBy } of this.all()) if (heldBy !== null) return heldBy;
    return null;
  }

  beginHold(budget: Budget, now: number): void {
    if (budget.heldBy !== null) return;
    budget.heldBy = budget.binding;
    const hold = this.#holds.get(budget.heldBy);
    if (hold === undefined) this.#holds.set(budget.heldBy, { count: 1, since: now });
    else hold.count++;
  }

  /** Answers for how long mail was held back by this limit, when this was the last to be so; else 0. */
  endHold(budget: Budget, now: number): number {
    const { heldBy } = budget;
    budget.heldBy = null;
    const hold = heldBy === null ? undefined : this.#holds.get(heldBy);
    if (heldBy === null || hold === undefined || --hold.count > 0) return 0;
    this.#holds.delete(heldBy);
    return Math.max(0, now - hold.since);
  }

  isAtRest(now: number): boolean {
    for (const budget of this.all()) if (!budget.isAtRest(now)) return false;
    return budgetKinds.every((name) => {
      const { messagesPerSecond } = this.#kinds[name].limits ?? {};
      return messagesPerSecond === undefined || this.#site.othersSpentAt + 2000 / messagesPerSecond <= now;
    });
  }

  shift(byMs: number): void {
    for (const budget of this.all()) budget.shift(byMs);
    for (const hold of this.#holds.values()) hold.since += byMs;
  }

  #budget(name: BudgetKind, of: string): Budget {
    const kind = this.#kinds[name];
    const known = kind.budgets.get(of);
    if (known !== undefined) return known;
    const budget = new Budget(name, of, this.#site);
    if (kind.limits !== undefined) budget.setLimits(kind.limits);
    kind.budgets.set(of, budget);
    return budget;
  }
}
