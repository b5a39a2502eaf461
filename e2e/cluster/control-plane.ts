/** etcd, API server, controller manager and scheduler as processes. Throws with the log of whichever does not come up. */
import { mkdir, writeFile } from "node:fs/promises";
import { Agent, request } from "node:https";
import { join } from "node:path";
import { until } from "#test/kit/until.ts";
import { auditPolicy, auditFiles } from "./audit.ts";
import { type Authority, createAuthority, type KeyPair, kubeconfig } from "./authority.ts";
import type { Binaries } from "./binaries.ts";
import type { Place } from "./place.ts";
import { assertRuns, startProgram } from "./processes.ts";

export interface ControlPlaneOptions {
  readonly place: Place;
  readonly binaries: Binaries;
  readonly ports: ControlPlanePorts;
  /** Absent: on the machine's own loopback. */
  readonly namespace?: string | undefined;
  /** Where the API server can be asked from here: HOST:PORT, once it runs. */
  readonly reach: () => Promise<string>;
}

interface ControlPlanePorts {
  readonly api: number;
  readonly etcd: number;
  readonly etcdPeers: number;
}

export interface ControlPlane {
  readonly authority: Authority;
  /** May do everything. */
  readonly admin: KeyPair;
  /** A kubeconfig for use where the control plane runs. */
  kubeconfigFor(pair: KeyPair): string;
  /** Starts one that was stopped or killed, with the same arguments. */
  start(name: ControlPlaneProgram): Promise<void>;
  /** Until the API server says that it is ready. */
  ready(): Promise<void>;
}

export type ControlPlaneProgram = "etcd" | "kube-apiserver" | "kube-controller-manager" | "kube-scheduler";

const readyMs = 60_000;
const frontProxy = "front-proxy-client";

export async function startControlPlane(options: ControlPlaneOptions): Promise<ControlPlane> {
  const { place, binaries, namespace, ports } = options;
  const pki = join(place.folder, "pki");
  await mkdir(pki, { recursive: true });
  const authority = await createAuthority(pki);
  const server = `https://127.0.0.1:${ports.api}`;
  const kubeconfigFor = (pair: KeyPair): string => kubeconfig(server, authority.ca, pair);
  const services = [
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
  ];
  await authority.issue({
    name: "apiserver",
    commonName: "kube-apiserver",
    names: ["localhost", "127.0.0.1", place.nodeIp, place.apiServiceIp, ...services],
  });
  // What the API server shows to those that it passes requests on to (aggregation).
  await authority.issue({ name: "front-proxy", commonName: frontProxy });
  await writeFile(auditFiles(place).policy, JSON.stringify(auditPolicy));
  const admin = await authority.issue({ name: "admin", commonName: "admin", organization: "system:masters" });
  for (const name of ["kube-controller-manager", "kube-scheduler"]) {
    const pair = await authority.issue({ name, commonName: `system:${name}` });
    await writeFile(join(place.folder, `${name}.kubeconfig`), kubeconfigFor(pair));
  }
  await writeFile(join(place.folder, "admin.kubeconfig"), kubeconfigFor(admin));
  const start = async (name: ControlPlaneProgram): Promise<void> => {
    const command = [binaries.path(name), ...argumentsOf(name, options, pki)] as const;
    await startProgram(place.folder, { name, command, namespace });
  };
  let address = "";
  const isReady = async (): Promise<boolean> => {
    for (const name of ["etcd", "kube-apiserver"]) await assertRuns(place.folder, name);
    if (address === "") address = await options.reach();
    return isApiReady(address, authority.ca, admin);
  };
  // The API server waits for etcd, and the controllers for the API server, by themselves.
  for (const name of ["etcd", "kube-apiserver"] as const) await start(name);
  await until("the API server to be ready", isReady, readyMs);
  for (const name of ["kube-controller-manager", "kube-scheduler"] as const) await start(name);
  return {
    authority,
    admin,
    kubeconfigFor,
    start,
    ready: async () => void (await until("the API server to be ready", isReady, readyMs)),
  };
}

function argumentsOf(name: ControlPlaneProgram, options: ControlPlaneOptions, pki: string): string[] {
  const { place, ports, namespace } = options;
  const config = `--kubeconfig=${join(place.folder, `${name}.kubeconfig`)}`;
  // The defaults (20 and 30 requests/s) make a new namespace wait seconds for its ServiceAccount.
  const client = [
    config,
    "--kube-api-qps=300",
    "--kube-api-burst=400",
    "--leader-elect=false",
    "--secure-port=0",
  ];
  switch (name) {
    case "etcd":
      return [
        "--name=test",
        `--data-dir=${join(place.folder, "etcd")}`,
        `--listen-client-urls=http://127.0.0.1:${ports.etcd}`,
        `--advertise-client-urls=http://127.0.0.1:${ports.etcd}`,
        `--listen-peer-urls=http://127.0.0.1:${ports.etcdPeers}`,
        "--unsafe-no-fsync=true",
        "--log-level=warn",
      ];
    case "kube-apiserver":
      return [
        `--etcd-servers=http://127.0.0.1:${ports.etcd}`,
        `--bind-address=${namespace === undefined ? "127.0.0.1" : "0.0.0.0"}`,
        `--secure-port=${ports.api}`,
        `--cert-dir=${pki}`,
        ...(namespace === undefined
          ? ["--endpoint-reconciler-type=none"]
          : [`--advertise-address=${place.nodeIp}`, "--endpoint-reconciler-type=lease"]),
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        `--client-ca-file=${join(pki, "ca.crt")}`,
        `--tls-cert-file=${join(pki, "apiserver.crt")}`,
        `--tls-private-key-file=${join(pki, "apiserver.key")}`,
        "--service-account-issuer=https://kubernetes.default.svc",
        "--api-audiences=https://kubernetes.default.svc",
        `--service-account-key-file=${join(pki, "sa.pub")}`,
        `--service-account-signing-key-file=${join(pki, "sa.key")}`,
        `--service-cluster-ip-range=${place.serviceCidr}`,
        "--allow-privileged=true",
        // The aggregation layer, for metrics of others. One authority for all: its name alone tells the front proxy from clients.
        `--requestheader-client-ca-file=${join(pki, "ca.crt")}`,
        `--requestheader-allowed-names=${frontProxy}`,
        "--requestheader-username-headers=X-Remote-User",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        `--proxy-client-cert-file=${join(pki, "front-proxy.crt")}`,
        `--proxy-client-key-file=${join(pki, "front-proxy.key")}`,
        `--audit-policy-file=${auditFiles(place).policy}`,
        `--audit-log-path=${auditFiles(place).log}`,
        "--profiling=false",
        // Without these `kubectl logs` and `exec` cannot reach the node.
        "--kubelet-preferred-address-types=InternalIP",
        `--kubelet-client-certificate=${join(pki, "admin.crt")}`,
        `--kubelet-client-key=${join(pki, "admin.key")}`,
        `--kubelet-certificate-authority=${join(pki, "ca.crt")}`,
      ];
    case "kube-controller-manager":
      return [
        ...client,
        "--use-service-account-credentials=true",
        `--root-ca-file=${join(pki, "ca.crt")}`,
        `--service-account-private-key-file=${join(pki, "sa.key")}`,
        `--cluster-signing-cert-file=${join(pki, "ca.crt")}`,
        `--cluster-signing-key-file=${join(pki, "ca.key")}`,
        "--controllers=*",
        // There is one; it need not wait for what a killed one held.
        "--leader-elect=false",
        "--horizontal-pod-autoscaler-sync-period=2s",
        "--profiling=false",
      ];
    case "kube-scheduler":
      return client;
    default:
      return name satisfies never;
  }
}

async function isApiReady(address: string, ca: string, { cert, key }: KeyPair): Promise<boolean> {
  const [host = "", port = ""] = address.split(":");
  const agent = new Agent({ ca, cert, key });
  return new Promise((resolve) => {
    const asked = request({ host, port, path: "/readyz", agent, timeout: 2000 }, (response) => {
      response.resume();
      resolve(response.statusCode === 200);
    });
    asked.on("timeout", () => asked.destroy());
    asked.on("error", () => resolve(false));
    asked.end();
  }).then((isReady) => {
    agent.destroy();
    return isReady === true;
  });
}
