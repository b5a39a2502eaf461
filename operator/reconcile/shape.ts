/** CORRIDOR: one TrafficShape: its status, which is all that it has of its own. Rejects when the API server does. */
import { condition, summed } from "./conditions.ts";
import type { Context, Outcome } from "./context.ts";

export function createShapeReconciler(
  context: Pick<Context, "stores" | "configuration" | "statuses" | "wrote">,
) {
  const { stores, configuration, statuses } = context;
  return {
    async reconcile(key: string): Promise<Outcome> {
      const object = stores.get("shapes", key);
      const verdict = configuration.verdict("TrafficShape", key);
      if (object === undefined || verdict === undefined) return {};
      const { conditions, observedGeneration, ...fields } = verdict;
      const written = await statuses.write("shapes", object, {
        generation: observedGeneration,
        conditions: summed(conditions, condition("Ready", "True", { reason: "Ready" })),
        fields,
      });
      if (written !== undefined) context.wrote("shapes", key, written);
      return {};
    },
  };
}
