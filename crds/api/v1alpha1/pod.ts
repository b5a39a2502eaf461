/** SendingPool's `pod`: what of the pods' template is the user's. Not a whole PodSpec: that alone would be 500 KiB of schema. */
import { z } from "zod";
import { compiledDefaults } from "./defaults.ts";
import { described, keyedList, objectName, orderedList, quantity, textMap } from "./fields.ts";

const amounts = z.strictObject({
  cpu: described("Processors.", quantity).optional(),
  memory: described("Memory.", quantity).optional(),
});

const text = (max: number): z.ZodString => z.string().max(max);

const toleration = z.strictObject({
  key: described("Key of the taint; all of them unless set.", text(317)).optional(),
  operator: described("How the value is compared.", z.enum(["Exists", "Equal"])).optional(),
  value: described("Value of the taint.", text(63)).optional(),
  effect: described(
    "Effect of the taint; all of them unless set.",
    z.enum(["NoSchedule", "PreferNoSchedule", "NoExecute"]),
  ).optional(),
  tolerationSeconds: described(
    "How long a pod stays after a NoExecute.",
    z.int().min(0).max(Number.MAX_SAFE_INTEGER),
  ).optional(),
});

const spread = z.strictObject({
  topologyKey: described("Label of the nodes, such as topology.kubernetes.io/zone.", text(317).min(1)),
  maxSkew: described("Largest difference in pods; 1 unless set.", z.int().min(1).max(1000)).optional(),
  whenUnsatisfiable: described(
    "What happens to a pod that would be above it; ScheduleAnyway unless set.",
    z.enum(["DoNotSchedule", "ScheduleAnyway"]),
  ).optional(),
});

const variable = z.strictObject({
  name: described(
    "Name of the variable; POD_NAME, POD_NAMESPACE and POD_IP are ours.",
    text(128).regex(/^[A-Za-z_][A-Za-z0-9_]*$/, {
      error: "the name of a variable: letters, digits, underscores",
    }),
  ),
  value: described("Its value: no secret, as everybody who can read the pool reads it.", text(4096)),
});

export const pod = z.strictObject({
  resources: described(
    `Processors and memory; requests of ${compiledDefaults.podCpu} and ${compiledDefaults.podMemory} unless set.`,
    z.strictObject({
      requests: described("What is set aside for a pod.", amounts).optional(),
      limits: described("What a pod may use at most.", amounts).optional(),
    }),
  ).optional(),
  nodeSelector: described("Labels of the nodes that pods may run on.", textMap(32, 63)).optional(),
  tolerations: described("Taints of nodes that pods put up with.", orderedList(toleration, 32)).optional(),
  affinity: described(
    "Affinity of pods, as in a PodSpec.",
    z.looseObject({}).meta({ "x-kubernetes-preserve-unknown-fields": true }),
  ).optional(),
  topologySpread: described(
    "How pods are spread; over zones and nodes, as far as possible, unless set.",
    keyedList(spread, "topologyKey", 8),
  ).optional(),
  priorityClassName: described("PriorityClass of the pods.", objectName).optional(),
  serviceAccountName: described(
    "A ServiceAccount that exists, in place of one of the pool's own. Its token is not mounted.",
    objectName,
  ).optional(),
  labels: described("More labels of the pods; ours cannot be changed.", textMap(32, 63)).optional(),
  annotations: described("Annotations of the pods.", textMap(32, 4096)).optional(),
  imagePullSecrets: described(
    "Secrets of the pool's namespace to pull the image with.",
    keyedList(z.strictObject({ name: described("Name of the Secret.", objectName) }), "name", 8),
  ).optional(),
  env: described("More environment variables.", keyedList(variable, "name", 64)).optional(),
});
