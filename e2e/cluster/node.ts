/** The one node: containerd, kubelet, kube-proxy, and CoreDNS as the cluster's DNS service, all in the cluster's network namespace. */
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { until } from "#test/kit/until.ts";
import type { Binaries } from "./binaries.ts";
import type { ControlPlane } from "./control-plane.ts";
import { createCgroup } from "./cgroup.ts";
import { bridge } from "./network.ts";
import type { Place } from "./place.ts";
import { logTail, output, startProgram } from "./processes.ts";

export const nodeName = "node";
const readyMs = 60_000;

export interface NodeOptions {
  readonly place: Place;
  readonly binaries: Binaries;
  readonly controlPlane: ControlPlane;
}

export function containerdSocket({ folder }: Place): string {
  return join(folder, "containerd.sock");
}

/** Starts them all; the node is not Ready yet. */
export async function startNode(options: NodeOptions): Promise<void> {
  await Promise.all([startContainerd(options.place), startDns(options)]);
  await startKubelet(options);
  await startProxy(options);
}

async function startContainerd(place: Place): Promise<void> {
  const { folder, name, podCidr } = place;
  const socket = containerdSocket(place);
  await mkdir(join(folder, "cni"), { recursive: true });
  await writeFile(
    join(folder, "cni", "10-pods.conflist"),
    JSON.stringify({
      cniVersion: "1.0.0",
      name,
      plugins: [
        {
          type: "bridge",
          bridge,
          isGateway: true,
          ipMasq: false,
          hairpinMode: true,
          ipam: {
            type: "host-local",
            dataDir: join(folder, "ipam"),
            ranges: [[{ subnet: podCidr }]],
            routes: [{ dst: "0.0.0.0/0" }],
          },
        },
      ],
    }),
  );
  const cri = `plugins."io.containerd.grpc.v1.cri"`;
  await writeFile(
    join(folder, "containerd.toml"),
    `version = 2
root = "${join(folder, "containerd-root")}"
state = "${join(folder, "containerd-state")}"
disabled_plugins = ["io.containerd.internal.v1.opt"]
[grpc]
  address = "${socket}"
[ttrpc]
  address = "${socket}.ttrpc"
[${cri}]
  sandbox_image = "localhost/pause:1"
  # Lowering a score below one's own takes CAP_SYS_RESOURCE, which not every root has.
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [${cri}.containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [${cri}.containerd.runtimes.runc.options]
      SystemdCgroup = false
  [${cri}.cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "${join(folder, "cni")}"
`,
  );
  const command = ["containerd", "-c", join(folder, "containerd.toml")] as const;
  await startProgram(folder, { name: "containerd", command, namespace: name });
  await until(
    "containerd to answer",
    () =>
      output(["ctr", "-a", socket, "version"]).then(
        () => true,
        () => false,
      ),
    readyMs,
  ).catch(async (error: unknown) => {
    throw new Error(`${String(error)}\n${await logTail(folder, "containerd")}`, { cause: error });
  });
}

async function startKubelet({ place, binaries, controlPlane }: NodeOptions): Promise<void> {
  const { folder, nodeIp, name } = place;
  const pki = join(folder, "pki");
  const pair = await controlPlane.authority.issue({
    name: "kubelet",
    commonName: `system:node:${nodeName}`,
    organization: "system:nodes",
    names: [nodeName, "127.0.0.1", nodeIp],
  });
  await writeFile(join(folder, "kubelet.kubeconfig"), controlPlane.kubeconfigFor(pair));
  await writeFile(join(folder, "resolv.conf"), `nameserver ${nodeIp}\n`);
  await createCgroup(name);
  await writeFile(
    join(folder, "kubelet.json"),
    JSON.stringify({
      apiVersion: "kubelet.config.k8s.io/v1beta1",
      kind: "KubeletConfiguration",
      containerRuntimeEndpoint: `unix://${containerdSocket(place)}`,
      failCgroupV1: false,
      cgroupDriver: "cgroupfs",
      // Each kubelet removes pods' cgroups that it does not know: one root for each cluster.
      cgroupRoot: `/${name}`,
      failSwapOn: false,
      enforceNodeAllocatable: [],
      address: nodeIp,
      readOnlyPort: 0,
      healthzPort: 0,
      tlsCertFile: join(pki, "kubelet.crt"),
      tlsPrivateKeyFile: join(pki, "kubelet.key"),
      authentication: {
        anonymous: { enabled: false },
        x509: { clientCAFile: join(pki, "ca.crt") },
        webhook: { enabled: true },
      },
      authorization: { mode: "Webhook" },
      makeIPTablesUtilChains: false,
      resolvConf: join(folder, "resolv.conf"),
      clusterDomain: "cluster.local",
      clusterDNS: [nodeIp],
      evictionHard: { "memory.available": "100Mi", "nodefs.available": "1Gi", "imagefs.available": "1Gi" },
      imageGCHighThresholdPercent: 100,
      imageGCLowThresholdPercent: 99,
      podLogsDir: join(folder, "pod-logs"),
      serializeImagePulls: false,
      registryPullQPS: 0,
      kubeAPIQPS: 200,
      kubeAPIBurst: 400,
    }),
  );
  await startProgram(folder, {
    name: "kubelet",
    namespace: name,
    command: [
      binaries.path("kubelet"),
      `--kubeconfig=${join(folder, "kubelet.kubeconfig")}`,
      `--config=${join(folder, "kubelet.json")}`,
      `--root-dir=${join(folder, "kubelet")}`,
      `--cert-dir=${join(folder, "kubelet-pki")}`,
      `--hostname-override=${nodeName}`,
      `--node-ip=${nodeIp}`,
    ],
  });
}

async function startProxy({ place, binaries, controlPlane }: NodeOptions): Promise<void> {
  const { folder, podCidr, name } = place;
  const pair = await controlPlane.authority.issue({ name: "kube-proxy", commonName: "system:kube-proxy" });
  await writeFile(join(folder, "kube-proxy.kubeconfig"), controlPlane.kubeconfigFor(pair));
  await startProgram(folder, {
    name: "kube-proxy",
    namespace: name,
    command: [
      // Debian keeps nft where only root's PATH looks.
      "env",
      `PATH=/usr/sbin:/sbin:${process.env["PATH"] ?? ""}`,
      binaries.path("kube-proxy"),
      `--kubeconfig=${join(folder, "kube-proxy.kubeconfig")}`,
      "--proxy-mode=nftables",
      `--hostname-override=${nodeName}`,
      `--cluster-cidr=${podCidr}`,
      // What belongs to the machine is not changed.
      "--conntrack-max-per-core=0",
      "--conntrack-tcp-timeout-established=0",
      "--conntrack-tcp-timeout-close-wait=0",
      "--healthz-bind-address=",
      "--metrics-bind-address=127.0.0.1:10249",
    ],
  });
}

/** Names of Services, and a zone `test` for mail hosts; everything else does not exist. */
async function startDns({ place, binaries }: NodeOptions): Promise<void> {
  const { folder, nodeIp, name } = place;
  await writeZone(place, []);
  await writeFile(
    join(folder, "Corefile"),
    `.:53 {
  bind ${nodeIp}
  errors
  kubernetes cluster.local in-addr.arpa {
    kubeconfig ${join(folder, "admin.kubeconfig")}
    ttl 1
  }
  file ${join(folder, "test.zone")} test {
    reload 1s
  }
}
`,
  );
  const command = [binaries.path("coredns"), "-conf", join(folder, "Corefile")] as const;
  await startProgram(folder, { name: "coredns", command, namespace: name });
}

let serial = 0;

/** Records below `test.`, as in a zone file: `fast 1 IN MX 10 sink.mail.svc.cluster.local.`; in force within about a second. */
export async function writeZone({ folder }: Place, records: readonly string[]): Promise<void> {
  const soa = `test. 1 IN SOA ns.test. root.test. ${++serial} 1 1 1 1`;
  await writeFile(join(folder, "test.zone"), `${[soa, "test. 1 IN NS ns.test.", ...records].join("\n")}\n`);
}
