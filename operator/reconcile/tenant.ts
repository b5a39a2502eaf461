/**
 * CORRIDOR: one Tenant: its finalizer before anything else, its status, and once it is deleted its drain. Rejects when the API
 * server does.
 */
import type { KubeObject } from "#operator/kube/types.ts";
import type { Context, Outcome } from "./context.ts";
import { createDrain } from "./drain.ts";
import { createEmptying } from "./emptying.ts";
import { createMoves } from "./moves.ts";
import { isScaledToZero } from "./pods.ts";
import { setFinalizer } from "./finalizer.ts";
import { marks } from "./kinds.ts";
import { isPaused } from "./pool.ts";
import { tenantConditions, type TenantFacts } from "./tenant-status.ts";
import { keyOf } from "./stores.ts";
import { childNames } from "#operator/resources/object.ts";

export interface TenantReconciler {
  reconcile(key: string): Promise<Outcome>;
}

/** What goes on with a tenant besides what its spec says. */
type UnderWay = Pick<TenantFacts, "deleting" | "moving">;

export function createTenantReconciler(context: Context): TenantReconciler {
  const { stores, client, configuration } = context;
  const emptying = createEmptying(context);
  const drain = createDrain(context, emptying);
  const moves = createMoves(context, emptying);

  const forget = (key: string): void => {
    for (const one of [emptying, drain, moves, context.formerPools]) one.forget(key);
  };

  /** @returns ms after which it is worth another look, when nothing was written */
  const write = async (object: KubeObject, under: UnderWay): Promise<number | undefined> => {
    const { deleting } = under;
    const key = keyOf(object);
    const verdict = configuration.verdict("Tenant", key);
    if (verdict === undefined) return undefined;
    const facts = factsOf(context, key, { verdict: verdict.conditions, ...under });
    if (facts === undefined) return undefined;
    const waitMs = deleting === undefined ? onItsWayMs(context, key, facts) : 0;
    if (waitMs > 0) return waitMs;
    const { conditions: _conditions, observedGeneration, ...fields } = verdict;
    const programmed =
      facts.pods === undefined ? {} : { programmed: `${facts.pods.current}/${facts.pods.ready}` };
    const conditions = tenantConditions(facts);
    const written = await context.statuses.write("tenants", object, {
      generation: observedGeneration,
      conditions,
      fields: { ...fields, ...lastOf(object, programmed, conditions) },
    });
    if (written !== undefined) context.wrote("tenants", key, written);
    return undefined;
  };

  return {
    async reconcile(key) {
      const object = stores.get("tenants", key);
      if (object === undefined) {
        forget(key);
        return {};
      }
      const { deletionTimestamp, finalizers = [] } = object.metadata;
      const hasOurs = finalizers.includes(marks.finalizer);
      if (deletionTimestamp === undefined) {
        if (!hasOurs && isReadable(object)) {
          await setFinalizer(client, object, true);
          return {};
        }
        const move = await moves.look(key);
        const againMs = await write(object, { deleting: undefined, moving: move?.message });
        const all = [againMs, move?.againMs].filter((ms) => ms !== undefined);
        return all.length === 0 ? {} : { requeueAfterMs: Math.min(...all) };
      }
      if (!hasOurs) return {};
      const step = await drain.step(object);
      if (step.kind === "over") {
        await setFinalizer(client, object, false);
        forget(key);
        return {};
      }
      await write(object, { deleting: step.deletion, moving: undefined });
      return { requeueAfterMs: step.againMs };
    },
  };

  /** What the schema of this release does not take is not compiled, so there is nothing to drain. */
  function isReadable(object: KubeObject): boolean {
    return configuration.isReadable(object);
  }
}

/** How much longer to wait for pods that are about to run the tenant as it is now, or to start. */
function onItsWayMs({ configuration, clock }: Context, key: string, facts: TenantFacts): number {
  const place = configuration.tenant(key);
  const config = place === undefined ? undefined : configuration.pool(place.pool);
  const { pods, verdict } = facts;
  if (place === undefined || config === undefined || pods === undefined) return 0;
  if (facts.isPoolIdle || facts.isPoolPaused || (pods.current === pods.ready && pods.ready > 0)) return 0;
  const isFine = verdict.every(({ status }) => status === "True");
  const ageMs = clock.monotonic() - config.at;
  return isFine && place.since === config.generation ? Math.max(0, configuration.patienceMs() - ageMs) : 0;
}

/** undefined: its pool's pods were not asked yet, so there would be two writes within a second. */
function factsOf(
  { stores, configuration, reports }: Context,
  key: string,
  known: Pick<TenantFacts, "verdict" | "deleting" | "moving">,
): TenantFacts | undefined {
  const place = configuration.tenant(key);
  if (place === undefined)
    return {
      ...known,
      isCompiled: false,
      pods: undefined,
      natsTrouble: undefined,
      isPoolPaused: false,
      isPoolIdle: false,
    };
  const { told, trouble, wasAsked } = reports.of(place.pool);
  const [namespace, name = ""] = place.pool.split("/");
  const isPoolIdle = isScaledToZero(stores.get("deployments", `${namespace}/${childNames.main(name)}`));
  const pool = stores.get("pools", place.pool);
  const isPoolPaused = pool !== undefined && isPaused(pool);
  if (!wasAsked && !isPoolIdle && !isPoolPaused) return undefined;
  const current = [...told.values()].filter(({ report }) => report.generation >= place.since).length;
  const pods = told.size === 0 && trouble !== undefined ? undefined : { ready: told.size, current };
  return { ...known, isCompiled: true, pods, natsTrouble: trouble, isPoolPaused, isPoolIdle };
}

/**
 * `programmed` is as of the last time that Programmed changed: rewriting it in 10,000 tenants whenever a pod comes or goes would
 * say nothing about any of them.
 */
function lastOf(
  object: KubeObject,
  programmed: { readonly programmed?: string },
  conditions: readonly { type: string; status: string }[],
): { programmed?: string } {
  const status: unknown = object["status"];
  const before: unknown =
    typeof status === "object" && status !== null ? Reflect.get(status, "programmed") : undefined;
  const isTrue = conditions.some((one) => one.type === "Programmed" && one.status === "True");
  const [current, of] = typeof before === "string" ? before.split("/") : [];
  const wasWhole = current !== undefined && current === of && current !== "0";
  return isTrue && wasWhole && typeof before === "string" ? { programmed: before } : programmed;
}
