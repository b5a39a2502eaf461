/** The pretend mailbox provider as a pod, with a Service; its objects, and what it got. */
import { ourImage } from "./images/images.ts";

interface ProviderOptions {
  readonly namespace: string;
  readonly name: string;
  /** As the rules file of `mailboat provider`. */
  readonly rules?: unknown;
}

const providerPorts = { smtp: 2525, http: 2600 };

/** The restricted profile, which namespaces of pools may ask for. */
export const restrictedPod = { runAsNonRoot: true, seccompProfile: { type: "RuntimeDefault" } };
export const restrictedContainer = {
  allowPrivilegeEscalation: false,
  readOnlyRootFilesystem: true,
  capabilities: { drop: ["ALL"] },
};

/** Ready when its control port answers. Runs under the restricted profile. */
export function providerObjects({ namespace, name, rules = { rules: [] } }: ProviderOptions): object[] {
  const labels = { app: name };
  const args = ["provider", "--bind", "0.0.0.0", "--port", String(providerPorts.smtp)].concat([
    "--http-port",
    String(providerPorts.http),
    "--id-header",
    "X-Test-Id",
    "-f",
    "/rules/rules.json",
  ]);
  return [
    {
      apiVersion: "v1",
      kind: "ConfigMap",
      metadata: { namespace, name },
      data: { "rules.json": JSON.stringify(rules) },
    },
    {
      apiVersion: "v1",
      kind: "Service",
      metadata: { namespace, name },
      spec: {
        selector: labels,
        ports: [
          { name: "smtp", port: 25, targetPort: providerPorts.smtp },
          { name: "http", port: 80, targetPort: providerPorts.http },
        ],
      },
    },
    {
      apiVersion: "apps/v1",
      kind: "Deployment",
      metadata: { namespace, name },
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
                name: "provider",
                image: ourImage("operator"),
                imagePullPolicy: "Never",
                args,
                readinessProbe: {
                  httpGet: { path: "/v1/stats", port: providerPorts.http },
                  periodSeconds: 1,
                },
                securityContext: restrictedContainer,
                volumeMounts: [{ name: "rules", mountPath: "/rules" }],
              },
            ],
            volumes: [{ name: "rules", configMap: { name } }],
          },
        },
      },
    },
  ];
}
