/**
 * A whole Kubernetes for one test: in tier "full" in a network namespace of its own with a node that runs pods, in tier
 * "control-plane" on free ports of loopback without one. Throws an Error that says what did not come up; what was started is
 * taken down then.
 */
import { mkdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { freePorts } from "#operator/local/ports.ts";
import { until } from "#test/kit/until.ts";
import { installPackages } from "./apt.ts";
import { kubeconfig } from "./authority.ts";
import { type Binaries, findBinaries } from "./binaries.ts";
import { type ControlPlane, type ControlPlaneProgram, startControlPlane } from "./control-plane.ts";
import { type Forward, forward, type TlsOptions } from "./gate.ts";
import { type ImageSource, importLayout, packImages } from "./images/images.ts";
import { writeLayout } from "./images/oci.ts";
import { takeDown } from "./leftovers.ts";
import { createNetwork } from "./network.ts";
import { containerdSocket, nodeName, startNode, writeZone } from "./node.ts";
import { claimPlace, freePlace, handOver, hasNeighbours, type Place } from "./place.ts";
import { assertRuns, output, recorded, recordedNames, startProgram, stopProgram } from "./processes.ts";
import { keepSettings, restoreSettings } from "./settings.ts";

export interface ClusterOptions {
  readonly tier: "full" | "control-plane";
  /** Hears of what takes long. */
  readonly say?: (line: string) => void;
}

export interface Cluster extends AsyncDisposable {
  readonly place: Place;
  readonly binaries: Binaries;
  readonly controlPlane: ControlPlane;
  /** https://HOST:PORT of the API server, from this machine. */
  readonly server: string;
  /** A file that works from this machine. */
  readonly kubeconfig: string;
  /** Standard output. @throws Error with what kubectl said */
  kubectl(args: readonly string[], input?: string): Promise<string>;
  /** `kubectl get ARGS -o json`. */
  get(args: readonly string[]): Promise<Record<string, unknown>>;
  /** `kubectl apply -f -`. */
  apply(objects: string | readonly unknown[]): Promise<string>;
  helm(args: readonly string[]): Promise<string>;
  /** A port of this machine that leads to HOST:PORT in the cluster, once something listens there. */
  forward(to: string, tls?: TlsOptions): Promise<Forward>;
  /** Records of zone `test`, as in a zone file. */
  setZone(records: readonly string[]): Promise<void>;
  /** Packs our images, those of more sources, and what they need, and hands them to the node. Only in tier "full". */
  loadImages(more?: readonly ImageSource[]): Promise<void>;
  /** Ends this process's part in it: it goes on by itself, and ends by `takeDown`. Returns a kubeconfig that stays valid. */
  leave(): Promise<string>;
  /** kill -9, and the same again. */
  restart(name: ControlPlaneProgram): Promise<void>;
  /** From the first step until everything was ready. */
  readonly startedInMs: number;
}

const nodeReadyMs = 90_000;
const listensMs = 30_000;
const apiPort = 6443;

/** @example await using cluster = await startCluster({ tier: "full" }); await cluster.kubectl(["get", "nodes"]) */
export async function startCluster({ tier, say = () => {} }: ClusterOptions): Promise<Cluster> {
  const binaries = await findBinaries(process.env, say);
  if (tier === "full") await installPackages(process.env, say);
  const startedAt = performance.now();
  const place = await claimPlace(takeDown);
  const opened: Forward[] = [];
  const stop = async (): Promise<void> => {
    for (const one of opened) await one[Symbol.asyncDispose]();
    await stopCluster(place);
  };
  try {
    const open = async (to: string, tls?: TlsOptions): Promise<Forward> => {
      if (tier !== "full") return { address: to, [Symbol.asyncDispose]: async () => {} };
      const one = await forward({ gate: gateSocket(place), to, tls });
      opened.push(one);
      return one;
    };
    const plane =
      tier === "full" ? await startFull({ place, binaries, open }) : await startPlane({ place, binaries });
    const file = join(place.folder, "kubeconfig");
    const server = `https://${plane.address}`;
    const { controlPlane } = plane;
    await writeFile(file, kubeconfig(server, controlPlane.authority.ca, controlPlane.admin));
    const cluster = clusterOf({ place, binaries, file, open, stop, tier, server, controlPlane, startedAt });
    await cluster.kubectl(["wait", "--for=create", "serviceaccount/default", "--timeout=60s"]);
    if (tier === "full") {
      const isReady = "--for=condition=Ready";
      await cluster.kubectl(["wait", "--for=create", `node/${nodeName}`, `--timeout=${nodeReadyMs}ms`]);
      await cluster.kubectl(["wait", isReady, `node/${nodeName}`, `--timeout=${nodeReadyMs}ms`]);
      for (const name of await recordedNames(place.folder)) await assertRuns(place.folder, name);
    }
    return { ...cluster, startedInMs: performance.now() - startedAt };
  } catch (error) {
    if (process.env["MAILBOAT_KEEP_CLUSTER"] === undefined) await stop();
    throw error;
  }
}

/** Everything of it, and the settings of the machine when it was the last one. */
export async function stopCluster(place: Place): Promise<void> {
  await takeDown(place);
  if (!(await hasNeighbours(place))) await restoreSettings();
  await freePlace(place);
}

interface Started {
  readonly controlPlane: ControlPlane;
  /** Of the API server, from this machine. */
  readonly address: string;
}

function gateSocket({ folder }: Place): string {
  return join(folder, "gate.sock");
}

interface StartOptions {
  readonly place: Place;
  readonly binaries: Binaries;
}

async function startFull({
  place,
  binaries,
  open,
}: StartOptions & { open: (to: string) => Promise<Forward> }): Promise<Started> {
  await keepSettings();
  await createNetwork(place);
  const gate = join(import.meta.dirname, "gate.ts");
  await startProgram(place.folder, {
    name: "gate",
    namespace: place.name,
    command: [process.execPath, gate, "inner", gateSocket(place)],
  });
  const api = await open(`127.0.0.1:${apiPort}`);
  const controlPlane = await startControlPlane({
    place,
    binaries,
    namespace: place.name,
    ports: { api: apiPort, etcd: 2379, etcdPeers: 2380 },
    reach: async () => api.address,
  });
  await startNode({ place, binaries, controlPlane });
  return { controlPlane, address: api.address };
}

async function startPlane({ place, binaries }: StartOptions): Promise<Started> {
  const [api = 0, etcd = 0, etcdPeers = 0] = await freePorts(3);
  const address = `127.0.0.1:${api}`;
  const ports = { api, etcd, etcdPeers };
  await mkdir(place.folder, { recursive: true });
  return {
    address,
    controlPlane: await startControlPlane({ place, binaries, ports, reach: async () => address }),
  };
}

interface Parts extends StartOptions {
  readonly file: string;
  readonly controlPlane: ControlPlane;
  readonly open: (to: string, tls?: TlsOptions) => Promise<Forward>;
  readonly stop: () => Promise<void>;
  readonly startedAt: number;
  readonly tier: ClusterOptions["tier"];
  readonly server: string;
}

function clusterOf(parts: Parts): Cluster {
  const { place, binaries, file, controlPlane, open, stop, startedAt } = parts;
  const kubectl = (args: readonly string[], input?: string): Promise<string> =>
    output([binaries.path("kubectl"), "--kubeconfig", file, ...args], input === undefined ? {} : { input });
  return {
    place,
    binaries,
    controlPlane,
    server: parts.server,
    kubeconfig: file,
    kubectl,
    get: async (args) => JSON.parse(await kubectl(["get", ...args, "-o", "json"])) as Record<string, unknown>,
    apply: (objects) =>
      kubectl(["apply", "-f", "-"], typeof objects === "string" ? objects : listOf(objects)),
    helm: (args) => output([binaries.path("helm"), "--kubeconfig", file, ...args], { timeoutMs: 300_000 }),
    async forward(to, tls) {
      // A Service's address refuses until kube-proxy, too, has heard of the pod that is ready.
      if (parts.tier === "full") await until(`a listener at ${to}`, () => listens(place, to), listensMs);
      return open(to, tls);
    },
    setZone: (records) => writeZone(place, records),
    async loadImages(more) {
      const folder = join(place.folder, "images");
      await writeLayout(join(folder, "layout"), await packImages(folder, more));
      await importLayout(join(folder, "layout"), containerdSocket(place));
      await rm(folder, { recursive: true });
    },
    leave: () => leave(parts),
    async restart(name) {
      await stopProgram(place.folder, name);
      await controlPlane.start(name);
      if (name === "etcd" || name === "kube-apiserver") await controlPlane.ready();
    },
    startedInMs: performance.now() - startedAt,
    [Symbol.asyncDispose]: stop,
  };
}

async function listens(place: Place, to: string): Promise<boolean> {
  const way = `/dev/tcp/${to.replace(":", "/")}`;
  const command = ["timeout", "2", "bash", "-c", `exec 3<>${way}`] as const;
  return output(command, { namespace: place.name }).then(
    () => true,
    () => false,
  );
}

/** A process of its own takes over this one's way in, and owns the place from now on. */
async function leave({ place, tier, file, controlPlane }: Parts): Promise<string> {
  if (tier === "control-plane") {
    await handOver(place, (await recorded(place.folder, "kube-apiserver"))?.pid ?? 0);
    return file;
  }
  const [port = 0] = await freePorts(1);
  const gate = join(import.meta.dirname, "gate.ts");
  const args = ["outer", gateSocket(place), `127.0.0.1:${apiPort}`, String(port)];
  const { pid } = await startProgram(place.folder, {
    name: "outer",
    command: [process.execPath, gate, ...args],
  });
  await handOver(place, pid);
  const { authority, admin } = controlPlane;
  const { folder } = place;
  await writeFile(join(folder, "kubeconfig"), kubeconfig(`https://127.0.0.1:${port}`, authority.ca, admin));
  return join(folder, "kubeconfig");
}

function listOf(items: readonly unknown[]): string {
  return JSON.stringify({ apiVersion: "v1", kind: "List", items });
}
