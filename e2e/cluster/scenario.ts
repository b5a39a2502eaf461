/** Tests that need a cluster: run where the machine can have one, skipped with the reason where it cannot, failed for it in CI. */
import { test, type TestContext } from "node:test";
import { type Cluster, startCluster } from "./cluster.ts";
import { tierHere } from "./tier.ts";

export interface ScenarioOptions {
  /** "control-plane": an API server and controllers are enough. */
  readonly needs: "full" | "control-plane";
}

/** A test with a cluster of its own, which is gone when it ends. */
export function clusterTest(
  name: string,
  { needs }: ScenarioOptions,
  run: (t: TestContext, cluster: Cluster) => Promise<void>,
): void {
  test(name, async (t) => {
    const { tier, why, isFailure } = await tierHere();
    if (isFailure) throw new Error(`Cannot run in CI: expected a full cluster, got tier ${tier}: ${why}`);
    if (tier === "none" || (needs === "full" && tier !== "full")) {
      t.skip(`tier ${tier}: ${why}`);
      return;
    }
    await using cluster = await startCluster({ tier: needs, say: (line) => t.diagnostic(line) });
    t.diagnostic(`Kubernetes in tier ${needs} up after ${Math.round(cluster.startedInMs)} ms`);
    await run(t, cluster);
  });
}
