/** The metrics adapter as a pod, aggregated into the API server: objects, and how to wait for it. */
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { Cluster } from "./cluster.ts";
import { ourImage } from "./images/images.ts";
import { restrictedContainer, restrictedPod } from "./provider.ts";

const name = "metrics-adapter";
const apiService = "v1beta1.external.metrics.k8s.io";

interface MetricsOptions {
  readonly namespace: string;
  readonly pool: string;
}

/** Returns when the API server takes it for available. @throws Error with kubectl's words when it does not within a minute */
export async function serveExternalMetrics(
  cluster: Cluster,
  { namespace, pool }: MetricsOptions,
): Promise<void> {
  const { authority } = cluster.controlPlane;
  const { cert, key } = await authority.issue({
    name,
    commonName: name,
    names: [`${name}.${namespace}.svc`],
  });
  const tls = { "tls.crt": cert, "tls.key": key, "ca.crt": authority.ca };
  await cluster.apply([
    { apiVersion: "v1", kind: "Secret", metadata: { namespace, name }, stringData: tls },
    ...adapterObjects(namespace, pool),
    {
      apiVersion: "apiregistration.k8s.io/v1",
      kind: "APIService",
      metadata: { name: apiService },
      spec: {
        group: "external.metrics.k8s.io",
        version: "v1beta1",
        groupPriorityMinimum: 100,
        versionPriority: 100,
        service: { namespace, name },
        caBundle: Buffer.from(authority.ca).toString("base64"),
      },
    },
  ]);
  await cluster.kubectl(["rollout", "status", "-n", namespace, `deployment/${name}`, "--timeout=60s"]);
  await cluster.kubectl(["wait", "--for=condition=Available", `apiservice/${apiService}`, "--timeout=60s"]);
}

function adapterObjects(namespace: string, pool: string): object[] {
  const metadata = { namespace, name };
  const labels = { app: name };
  const pods = `${pool}-metrics`;
  const program = readFileSync(fileURLToPath(import.meta.resolve("./metrics-adapter.ts")), "utf8");
  return [
    // The program has no package.json beside it to say that it is a module: its name does.
    { apiVersion: "v1", kind: "ConfigMap", metadata, data: { "adapter.mts": program } },
    {
      apiVersion: "v1",
      kind: "Service",
      metadata,
      spec: { selector: labels, ports: [{ port: 443, targetPort: 6443 }] },
    },
    // Without an address of its own: its name in DNS is all ready pods.
    {
      apiVersion: "v1",
      kind: "Service",
      metadata: { namespace, name: pods },
      spec: {
        clusterIP: "None",
        selector: { "app.kubernetes.io/component": "pod", "mailboat.dev/pool": pool },
        ports: [{ port: 9464 }],
      },
    },
    {
      apiVersion: "apps/v1",
      kind: "Deployment",
      metadata,
      spec: {
        selector: { matchLabels: labels },
        template: {
          metadata: { labels },
          spec: {
            automountServiceAccountToken: false,
            terminationGracePeriodSeconds: 1,
            securityContext: restrictedPod,
            containers: [
              {
                name: "adapter",
                image: ourImage("operator"),
                imagePullPolicy: "Never",
                command: ["node", "/program/adapter.mts"],
                args: [`${pods}.${namespace}.svc.cluster.local`, "/tls"],
                securityContext: restrictedContainer,
                readinessProbe: { tcpSocket: { port: 6443 }, periodSeconds: 1 },
                volumeMounts: [
                  { name: "program", mountPath: "/program" },
                  { name: "tls", mountPath: "/tls" },
                ],
              },
            ],
            volumes: [
              { name: "program", configMap: { name } },
              { name: "tls", secret: { secretName: name } },
            ],
          },
        },
      },
    },
  ];
}
