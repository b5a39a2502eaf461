/** The Deployment of a pool's pods. Its template changes only for what a running pod cannot take over. Pure. */
import { compiledDefaults } from "#crds/api/v1alpha1/defaults.ts";
import type { SendingPoolSpec } from "#crds/api/v1alpha1/sending-pool.ts";
import { digestOf } from "#crds/pod-config/encode.ts";
import { child, childLabels, childNames, selectorLabels } from "./object.ts";
import type { KubeObject, PoolIdentity } from "./object.ts";
import { podSpec } from "./pod-spec.ts";
import type { PodInput } from "./pod-spec.ts";

export interface DeploymentInput extends PodInput {
  readonly identity: PoolIdentity;
  readonly replicas?: number | undefined;
}

/** Annotation of the template: digest of what pods read once, at their start. */
const startAnnotation = "mailboat.dev/read-at-start";

/** Old ReplicaSets are good for a roll-back only, and the next apply would undo it. */
const keptRevisions = 2;

export function deployment(input: DeploymentInput): KubeObject {
  const { identity: pool } = input;
  const { spec } = input.pool;
  return child(
    { pool, apiVersion: "apps/v1", kind: "Deployment", name: childNames.main(pool.name) },
    {
      spec: {
        replicas: input.replicas ?? spec.replicas,
        revisionHistoryLimit: keptRevisions,
        selector: { matchLabels: selectorLabels(pool.name, "pod") },
        strategy: { type: "RollingUpdate", rollingUpdate: rollingUpdate(spec) },
        template: {
          metadata: {
            labels: { ...spec.pod?.labels, ...childLabels(pool.name) },
            annotations: { ...spec.pod?.annotations, [startAnnotation]: readAtStart(spec) },
          },
          spec: podSpec(input, pool),
        },
      },
    },
  );
}

/** On hosts a new pod waits for the ports of an old one. */
function rollingUpdate({ egress }: SendingPoolSpec): object {
  return egress?.mode === "HostNetwork"
    ? { maxSurge: 0, maxUnavailable: 1 }
    : { maxSurge: "25%", maxUnavailable: 0 };
}

/** The banner's name and the queue's place and form: everything else reaches running pods by their files. */
function readAtStart({ hostname, queue }: SendingPoolSpec): string {
  const { servers, replicas, shards, maxBytesPerShard = compiledDefaults.maxBytesPerShard } = queue;
  const streams = { servers: [...new Set(servers)].sort(), replicas, shards, maxBytesPerShard };
  return digestOf({ hostname, streams }).slice(0, 16);
}
