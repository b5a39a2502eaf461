/** A real cluster of nats-servers on loopback, each behind a proxy that can cut a pod off; killed with the test. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { findNatsServer } from "#operator/local/nats-binary.ts";
import { type NatsServer, startNatsServer } from "#operator/local/nats-server.ts";
import { freePorts } from "#operator/local/ports.ts";
import { type NatsProxy, startNatsProxy } from "./nats-proxy.ts";
import { until } from "./until.ts";

export interface NatsCluster extends AsyncDisposable {
  /** Of the proxies, with commas between them, as `--nats` takes them. */
  readonly urls: string;
  readonly nodes: readonly NatsNode[];
  /** No packet passes between this pod and any node. */
  cutPod(pod: string): void;
  mendPod(pod: string): void;
  /** The node that leads the stream; undefined = none does at the moment. Asks a node that answers. */
  leaderOf(stream: string): Promise<NatsNode | undefined>;
  /** The node that says that it leads the meta group, which knows who keeps which stream; undefined = none does at the moment. */
  metaLeader(): Promise<NatsNode | undefined>;
  /** Of each stream that has a leader: how many of its copies have all that is acknowledged, the leader's own among them. */
  currentCopies(): Promise<ReadonlyMap<string, number>>;
  /** Waits until each stream has a leader and all its replicas have caught up. */
  healthy(boundMs?: number): Promise<void>;
}

export interface NatsNode {
  readonly name: string;
  isRunning(): boolean;
  isFrozen(): boolean;
  /** kill -9. */
  kill(): Promise<void>;
  /** As an upgrade does it: lame duck mode, which sends clients and leaders away, then the end; then `start()`. */
  leave(): Promise<void>;
  /** SIGTERM, as Kubernetes ends a pod: it hands its leaders over and ends at once; then `start()`. */
  stop(): Promise<void>;
  /** On its former port and store; `binary` = with this program from now on. */
  start(binary?: string): Promise<void>;
  /** Of the program that runs; undefined = it does not answer. */
  version(): Promise<string | undefined>;
  /** SIGSTOP: as a disk that answers nothing for a while. */
  freeze(): void;
  thaw(): void;
}

interface StreamDetail {
  readonly name: string;
  readonly cluster?: {
    readonly leader?: string;
    readonly replicas?: readonly {
      readonly current?: boolean;
      readonly offline?: boolean;
      readonly lag?: number;
    }[];
  };
}

const askMs = 1000;
/** Entries of the log: under a load a replica is always a few behind. */
const maxLag = 100;

export interface ClusterOptions {
  /** Default 3. */
  readonly nodes?: number;
  readonly maxStoreBytes?: number;
  /** Path of the program; default: what `findNatsServer` finds. */
  readonly binary?: string;
}

/** @example await using cluster = await startNatsCluster(); startLocal({ args: ["--nats", cluster.urls] }) */
export async function startNatsCluster(options: ClusterOptions = {}): Promise<NatsCluster> {
  const first = options.binary ?? (await findNatsServer({ env: process.env })).path;
  const folder = await mkdtemp(join(tmpdir(), "mailboat-test-cluster-"));
  const count = options.nodes ?? 3;
  const ports = await freePorts(count * 3);
  const routes = ports.slice(0, count).map((port) => `nats://127.0.0.1:${port}`);
  const nodes: Node[] = [];
  for (let index = 0; index < count; index++) {
    const port = ports[count + index] ?? 0;
    const monitor = ports[2 * count + index] ?? 0;
    const proxy = await startNatsProxy(port);
    const moreConfig = [
      `server_name: node${index}`,
      `http: "127.0.0.1:${monitor}"`,
      "lame_duck_duration: 30s",
      "lame_duck_grace_period: 2s",
      // Clients know only the proxies.
      `cluster { name: test, listen: "127.0.0.1:${ports[index]}", no_advertise: true, routes: [${routes.join(", ")}] }`,
    ];
    const storeDir = join(folder, `node${index}`);
    const { maxStoreBytes } = options;
    const start = (binary: string): Promise<NatsServer> =>
      startNatsServer({
        binary,
        storeDir,
        port,
        host: "127.0.0.1",
        moreConfig,
        ...(maxStoreBytes === undefined ? {} : { maxStoreBytes }),
      });
    nodes.push(new Node({ name: `node${index}`, monitor, proxy, binary: first, start }));
  }
  // A test that crashes its process must not leave the servers behind.
  const killAll = (): void => nodes.forEach((node) => node.signal("SIGKILL"));
  process.once("exit", killAll);
  const cluster: NatsCluster = {
    urls: nodes.map(({ proxy }) => `nats://127.0.0.1:${proxy.port}`).join(","),
    nodes,
    cutPod: (pod) => nodes.forEach(({ proxy }) => proxy.cut(` ${pod}`)),
    mendPod: (pod) => nodes.forEach(({ proxy }) => proxy.mend(` ${pod}`)),
    async leaderOf(stream) {
      const leader = (await streamsOf(nodes)).find(({ name }) => name === stream)?.cluster?.leader;
      return nodes.find(({ name }) => name === leader);
    },
    async metaLeader() {
      const leaders = (await Promise.all(nodes.map((node) => node.ask("/jsz")))).map(metaLeaderIn);
      return nodes.find(({ name }, index) => leaders[index] === name);
    },
    async currentCopies() {
      const streams = await streamsOf(nodes);
      return new Map(
        streams.map(({ name, cluster: { replicas = [] } = {} }) => [
          name,
          1 + replicas.filter(({ current, offline }) => current === true && offline !== true).length,
        ]),
      );
    },
    healthy: (boundMs = 60_000) => until("a healthy cluster", () => isHealthy(nodes), boundMs).then(() => {}),
    async [Symbol.asyncDispose]() {
      process.off("exit", killAll);
      await Promise.all(nodes.map((node) => node.kill()));
      await Promise.all(nodes.map(({ proxy }) => proxy[Symbol.asyncDispose]()));
      await rm(folder, { recursive: true, force: true, maxRetries: 5 });
    },
  };
  try {
    await Promise.all(nodes.map((node) => node.start()));
    await until("a leader of the cluster", () => isHealthy(nodes), 30_000);
  } catch (error) {
    await cluster[Symbol.asyncDispose]();
    throw error;
  }
  return cluster;
}

interface NodeParts {
  readonly name: string;
  readonly monitor: number;
  readonly proxy: NatsProxy;
  readonly binary: string;
  start(binary: string): Promise<NatsServer>;
}

class Node implements NatsNode {
  readonly name: string;
  readonly proxy: NatsProxy;
  readonly #parts: NodeParts;
  #binary: string;
  #server: NatsServer | undefined;
  #frozen = false;

  constructor(parts: NodeParts) {
    this.name = parts.name;
    this.proxy = parts.proxy;
    this.#parts = parts;
    this.#binary = parts.binary;
  }

  isRunning(): boolean {
    return this.#server !== undefined;
  }

  isFrozen(): boolean {
    return this.#frozen;
  }

  signal(name: NodeJS.Signals): void {
    try {
      if (this.#server !== undefined) process.kill(this.#server.pid, name);
    } catch {
      // Gone already.
    }
  }

  async kill(): Promise<void> {
    this.signal("SIGKILL");
    await this.#server?.exited;
    this.#server = undefined;
    this.#frozen = false;
  }

  async leave(): Promise<void> {
    this.signal("SIGUSR2");
    await this.#server?.exited;
    this.#server = undefined;
  }

  async stop(): Promise<void> {
    this.signal("SIGTERM");
    await this.#server?.exited;
    this.#server = undefined;
  }

  async start(binary = this.#binary): Promise<void> {
    this.#binary = binary;
    if (this.#server === undefined) this.#server = await this.#parts.start(binary);
  }

  async version(): Promise<string | undefined> {
    const version = (await this.ask("/varz"))?.["version"];
    return typeof version === "string" ? version : undefined;
  }

  freeze(): void {
    this.signal("SIGSTOP");
    this.#frozen = this.#server !== undefined;
  }

  thaw(): void {
    this.signal("SIGCONT");
    this.#frozen = false;
  }

  async ask(path: string): Promise<Record<string, unknown> | undefined> {
    if (this.#server === undefined || this.#frozen) return undefined;
    try {
      const answer = await fetch(`http://127.0.0.1:${this.#parts.monitor}${path}`, {
        signal: AbortSignal.timeout(askMs),
      });
      return (await answer.json()) as Record<string, unknown>;
    } catch {
      return undefined;
    }
  }
}

/** In an answer to /jsz: the name of the node that leads the meta group. */
function metaLeaderIn(answer: Record<string, unknown> | undefined): string | undefined {
  const leader = (answer?.["meta_cluster"] as { leader?: unknown } | undefined)?.leader;
  return typeof leader === "string" ? leader : undefined;
}

/** Of each stream what its leader says of it, when it has one that answers: others do not know how far the copies are. */
async function streamsOf(nodes: readonly Node[]): Promise<StreamDetail[]> {
  const answers = await Promise.all(
    nodes.map(async (node) => ({ name: node.name, answer: await node.ask("/jsz?streams=1") })),
  );
  return answers.flatMap(({ name, answer }) => {
    const accounts = (answer?.["account_details"] ?? []) as { stream_detail?: StreamDetail[] }[];
    return accounts.flatMap(({ stream_detail: streams = [] }) =>
      streams.filter(({ cluster }) => cluster?.leader === name),
    );
  });
}

async function isHealthy(nodes: readonly Node[]): Promise<boolean> {
  const answers = await Promise.all(nodes.map((node) => node.ask("/healthz")));
  if (!answers.every((answer) => answer?.["status"] === "ok")) return false;
  const meta = await Promise.all(nodes.map((node) => node.ask("/jsz")));
  if (meta.every((answer) => metaLeaderIn(answer) === undefined)) return false;
  const streams = await streamsOf(nodes);
  return streams.every(({ cluster }) =>
    (cluster?.replicas ?? []).every(({ offline, lag = 0 }) => offline !== true && lag <= maxLag),
  );
}
