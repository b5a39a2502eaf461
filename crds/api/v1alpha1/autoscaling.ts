/** SendingPool's `autoscaling`: the bounds and aims of the built-in autoscaler. Schema; pure. */
import { z } from "zod";
import { compiledDefaults } from "./defaults.ts";
import { described, duration, withRules } from "./fields.ts";

const podCount = z.int().min(1).max(1000);

export const autoscaling = withRules(
  z.strictObject({
    minReplicas: described(`Fewest pods; ${compiledDefaults.minReplicas} unless set.`, podCount).optional(),
    maxReplicas: described("Most pods; never more than there are shards.", podCount),
    targetBacklogPerReplica: described(
      `Messages that could be sent at once and wait for a pod, for each pod; ${compiledDefaults.targetBacklogPerReplica} unless set. What limits hold back does not count.`,
      z.int().min(1).max(1_000_000),
    ).optional(),
    maxBacklogAge: described(
      `Longest wait of such a message; ${compiledDefaults.maxBacklogAge} unless set.`,
      duration("5s", "1h"),
    ).optional(),
    scaleDown: described(
      "How pods are taken away.",
      z.strictObject({
        stabilization: described(
          `So long fewer pods have to be enough first; ${compiledDefaults.scaleDownStabilization} unless set.`,
          duration("60s", "1h"),
        ).optional(),
        maxStepPercent: described(
          `Most that one step takes away, one step a minute, at least one pod; ${compiledDefaults.scaleDownStepPercent} unless set.`,
          z.int().min(1).max(50),
        ).optional(),
      }),
    ).optional(),
  }),
  [
    {
      rule: "!has(self.minReplicas) || self.minReplicas <= self.maxReplicas",
      expected: "minReplicas of at most maxReplicas",
      fault: ({ minReplicas = compiledDefaults.minReplicas, maxReplicas }) =>
        minReplicas <= maxReplicas ? undefined : `${minReplicas} and ${maxReplicas}`,
    },
  ],
);
