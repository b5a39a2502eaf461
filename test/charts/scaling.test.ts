/** The scalers of others that charts/README.md shows: they point at what there is. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { parse } from "yaml";
import { storedDefaults } from "#crds/api/v1alpha1/defaults.ts";
import { kinds } from "#crds/api/v1alpha1/kinds.ts";
import { apiVersion } from "#crds/api/v1alpha1/metadata.ts";
import { createMetrics } from "#mta-pod/telemetry/metrics.ts";
import { quietSources } from "#test/kit/metrics.ts";
import { textOf } from "#test/rules/repository.ts";

interface Scaler {
  readonly kind: string;
  readonly spec: {
    readonly scaleTargetRef: { readonly apiVersion: string; readonly kind: string };
    readonly maxReplicas?: number;
    readonly maxReplicaCount?: number;
  };
}

test("charts/README.md: scalers of a kind that can be scaled, by a metric that pods have, within the default shards", () => {
  const section = /## Scaled by [^]*?\n## /.exec(textOf("charts/README.md"))?.[0] ?? "";
  const blocks = [...section.matchAll(/```yaml\n([^]*?)```/g)].map(([, text = ""]) => text);
  const scalers = blocks.filter((text) => text.includes("scaleTargetRef"));
  assert.deepEqual(
    scalers.map((text) => (parse(text) as Scaler).kind),
    ["ScaledObject", "HorizontalPodAutoscaler"],
  );
  const scalable = kinds.filter((kind) => "scale" in kind).map(({ kind }) => `${apiVersion} ${kind}`);
  for (const text of scalers) {
    const { spec } = parse(text) as Scaler;
    assert.ok(scalable.includes(`${spec.scaleTargetRef.apiVersion} ${spec.scaleTargetRef.kind}`));
    const most = spec.maxReplicas ?? spec.maxReplicaCount ?? Number.POSITIVE_INFINITY;
    assert.ok(most <= storedDefaults.queueShards, `${most} pods`);
  }
  assert.ok("externalRules" in (parse(blocks.at(-1) ?? "") as object));
  const { registry } = createMetrics(quietSources);
  const names = blocks.flatMap((text) => text.match(/mailboat_[a-z_]+/g) ?? []);
  assert.ok(names.length >= 3);
  for (const name of names) assert.ok(registry.getSingleMetric(name) !== undefined, name);
});
