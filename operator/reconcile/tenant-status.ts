/** What is known of a tenant → its conditions. Pure. */
import type { Condition, Reason } from "#crds/api/v1alpha1/conditions.ts";
import { condition, summed } from "./conditions.ts";

export interface TenantFacts {
  /** Accepted and ResolvedRefs, by the compiler. */
  readonly verdict: readonly Condition[];
  readonly isCompiled: boolean;
  /** The pods of its pool that run the tenant as it is now; undefined: its pool was never asked. */
  readonly pods: { readonly ready: number; readonly current: number } | undefined;
  readonly natsTrouble: string | undefined;
  readonly isPoolPaused: boolean;
  /** No pods are wanted. */
  readonly isPoolIdle: boolean;
  readonly deleting: Deletion | undefined;
  /** What it has left in another pool, and where. */
  readonly moving: string | undefined;
}

/** What keeps a deleted tenant. */
export interface Deletion {
  readonly reason: Extract<Reason, "Draining" | "Discarding" | "DrainTimedOut">;
  readonly message: string;
}

export function tenantConditions(facts: TenantFacts): Condition[] {
  const ready = condition("Ready", "True", { reason: "Ready" });
  const { deleting, moving } = facts;
  const conditions = summed([...facts.verdict, programmedOf(facts)], ready);
  if (facts.isPoolPaused)
    conditions.push(condition("Paused", "True", { reason: "Paused", message: "its pool is paused" }));
  if (moving !== undefined)
    conditions.push(condition("Moving", "True", { reason: "LeftBehind", message: moving }));
  if (deleting !== undefined) conditions.push(condition("Deleting", "True", deleting));
  return conditions;
}

function programmedOf({ isCompiled, pods, natsTrouble, isPoolPaused, isPoolIdle }: TenantFacts): Condition {
  if (!isCompiled) return condition("Programmed", "False", { reason: "NotAccepted" });
  if (isPoolIdle) return condition("Programmed", "True", { reason: "ScaledToZero" });
  const of = pods === undefined ? "" : `${pods.current} of ${pods.ready} ready pods`;
  // Asked or not: once all of them run it, no trouble of the way to them undoes that.
  if (pods !== undefined && pods.ready > 0 && pods.current === pods.ready)
    return condition("Programmed", "True", { reason: "Programmed" });
  if (natsTrouble !== undefined)
    return condition("Programmed", "Unknown", { reason: "QueueUnreachable", message: natsTrouble });
  if (pods === undefined) return condition("Programmed", "Unknown", { reason: "PodsUnknown" });
  if (pods.ready === 0) return condition("Programmed", "False", { reason: "NoPods" });
  return condition("Programmed", "False", { reason: isPoolPaused ? "Paused" : "PodsBehind", message: of });
}
