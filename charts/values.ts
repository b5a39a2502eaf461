/** The chart's values: schema, defaults and prose. values.yaml, values.schema.json and the chart's README are made from it. Pure. */
import { z } from "zod";
import { natsValues } from "./values-nats.ts";
import {
  affinity,
  allOrLess,
  anyObject,
  imageValues,
  nodeSelector,
  resources,
  stringMap,
  text,
  toggle,
  tolerations,
} from "./values-fields.ts";

const operator = z
  .strictObject({
    image: imageValues("mailboat-operator"),
    replicas: z
      .int()
      .min(0)
      .max(10)
      .default(1)
      .describe("Operators; one leads, the others wait with warm caches. Mail flows without any."),
    logLevel: z
      .enum(["debug", "info", "warn", "error"])
      .default("info")
      .describe("JSON lines on standard error."),
    extraArgs: z.array(z.string()).default([]).describe("More arguments of `mailboat operator`."),
    extraEnv: z
      .array(anyObject)
      .default([])
      .describe("More environment variables, as a container takes them."),
    resources: resources({
      requests: { cpu: "100m", memory: "192Mi" },
      limits: { memory: "512Mi" },
    }).describe("1,000 tenants were seen to take 180 MiB, 10,000 280 MiB."),
    serviceAccount: z
      .strictObject({
        create: z.boolean().default(true).describe("Make one; false: it exists."),
        name: text("Its name, else the Deployment's."),
        annotations: stringMap("Annotations of it."),
      })
      .prefault({})
      .describe("The operator's ServiceAccount."),
    podAnnotations: stringMap("Annotations of the operator's pods."),
    podLabels: stringMap("More labels of the operator's pods."),
    nodeSelector,
    tolerations,
    affinity: affinity.describe("Else replicas keep apart from each other, where they can."),
    priorityClassName: text("PriorityClass of the operator's pods."),
    podDisruptionBudget: toggle(true, "A budget of one unavailable; only with two replicas or more."),
    networkPolicy: toggle(false, "Lets in only what asks for metrics and health."),
  })
  .prefault({})
  .describe("The controller.");

const pods = z
  .strictObject({ image: imageValues("mailboat-pod") })
  .prefault({})
  .describe("The MTA pods that the operator runs for a SendingPool.");

const rbac = z
  .strictObject({
    create: z
      .boolean()
      .default(true)
      .describe("Make the operator's roles: one ClusterRole, or a Role in each of `watchNamespaces`."),
    aggregateToUserRoles: z
      .boolean()
      .default(true)
      .describe("Let the cluster's view, edit and admin roles see and change our kinds."),
  })
  .prefault({})
  .describe("Rights.");

const monitor = (what: string) =>
  z
    .strictObject({
      enabled: z.boolean().default(false).describe("Needs the Prometheus operator's kinds."),
      interval: z.string().default("30s").describe("Between two scrapes."),
      labels: stringMap("Labels that your Prometheus selects by."),
    })
    .prefault({})
    .describe(what);

const metrics = z
  .strictObject({
    service: z
      .strictObject({
        enabled: z
          .boolean()
          .default(true)
          .describe("A Service for the operator's metrics (8080) and health (8081)."),
        annotations: stringMap("Annotations of it."),
      })
      .prefault({})
      .describe("Service of the operator's metrics."),
    serviceMonitor: monitor("ServiceMonitor of the operator."),
    podMonitor: monitor("PodMonitor of the operator, in place of the ServiceMonitor."),
    poolPodMonitors: z
      .strictObject({
        labels: stringMap(
          "Labels that your Prometheus selects by; kube-prometheus-stack's takes what has its release's: `release: NAME`.",
        ),
      })
      .prefault({})
      .describe("PodMonitors that the operator makes for pools, wherever that kind exists."),
    prometheusRule: z
      .strictObject({
        enabled: z.boolean().default(false).describe("Needs the Prometheus operator's kinds."),
        labels: stringMap("Labels that your Prometheus selects by."),
        runbookUrl: text(
          "Where you keep `charts/runbooks`: alerts get `runbook_url: URL/ALERT.md`, else the file's name.",
        ),
      })
      .prefault({})
      .describe("The alerts of `files/alerts.yaml`."),
    dashboards: z
      .strictObject({
        enabled: z.boolean().default(false).describe("A ConfigMap for each Grafana dashboard."),
        namespace: text("Where they go, else the release's namespace."),
        labels: z
          .record(z.string(), z.string())
          .default({ grafana_dashboard: "1" })
          .describe("What Grafana's sidecar looks for."),
        annotations: stringMap("Annotations, such as the folder for the sidecar."),
      })
      .prefault({})
      .describe("Grafana dashboards of `files/dashboards`."),
  })
  .prefault({})
  .describe("What people look at.");

export const valuesSchema = z.strictObject({
  nameOverride: text("In place of the chart's name in names of objects."),
  fullnameOverride: text("In place of release and chart name in names of objects."),
  image: z
    .strictObject({
      registry: text("Registry and folder of both images, such as registry.example.net/mailboat."),
      tag: text("Tag of both, else the chart's appVersion."),
      pullPolicy: z.enum(["Always", "IfNotPresent", "Never"]).default("IfNotPresent").describe("Of both."),
    })
    .prefault({})
    .describe("What both images have in common."),
  imagePullSecrets: z
    .array(anyObject)
    .default([])
    .describe("Of the operator, NATS and the test; `[{name: ...}]`."),
  watchNamespaces: z
    .array(z.string().min(1))
    .default([])
    .describe("Namespaces with our resources; [] is all of them, with a ClusterRole. They must exist."),
  crds: z
    .strictObject({
      install: z.boolean().default(true).describe("Make the CustomResourceDefinitions, and upgrade them."),
      keep: z
        .boolean()
        .default(true)
        .describe("Leave them, hence your resources, when the release is uninstalled."),
    })
    .prefault({})
    .describe("CustomResourceDefinitions; one release in a cluster may own them."),
  operator,
  pods,
  rbac,
  metrics,
  nats: natsValues,
  uninstall: z
    .strictObject({
      releaseTenants: z
        .boolean()
        .default(true)
        .describe(
          "A Job ends the operator and takes the finalizer off all tenants, so that they can be deleted without one. Mail goes on. Not with `operator.replicas: 0`.",
        ),
    })
    .prefault({})
    .describe("What happens before an uninstall."),
  test: z
    .strictObject({
      patienceSeconds: z
        .int()
        .min(1)
        .max(3600)
        .default(60)
        .describe("How long `helm test` asks each question again before it fails."),
    })
    .prefault({})
    .describe("What `helm test` runs."),
  extraObjects: allOrLess.describe("More objects, each a map or a text that is a template."),
  global: z
    .record(z.string(), z.unknown())
    .default({})
    .describe("For charts that have this one inside; not used."),
});
