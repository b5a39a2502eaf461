/** Local mode in front of an auditing sink, with one site for each of the sink's ports; and what a load left behind, audited. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type LocalMode, startLocal } from "#test/kit/local.ts";
import { testPassword, testResources } from "#test/kit/local-resources.ts";
import { until } from "#test/kit/until.ts";
import { missingOf, type Sent } from "./audit.ts";
import { type Load, type LoadOptions, startLoad } from "./load.ts";
import { podLogs } from "./pod-logs.ts";
import { type PodStatus, podStatus, podStatuses } from "./pod-status.ts";
import { type Sink, startSink } from "./sink.ts";

export interface SceneOptions {
  readonly pods?: number;
  /** Default 12: enough that every pod owns some of them. */
  readonly sites?: number;
  /** To each site; default 8. */
  readonly connections?: number;
  readonly shards?: number;
  /** Of each rule. */
  readonly retry?: Readonly<Record<string, unknown>>;
  /** See the sink's. */
  defers?(recipient: string): boolean;
  /** More fields of the pool's `queue`. */
  readonly queue?: Readonly<Record<string, unknown>>;
  /** A NATS cluster's addresses: streams have 3 copies then. Default: local mode's own server. */
  readonly nats?: string;
}

export interface Scene extends AsyncDisposable {
  readonly sink: Sink;
  readonly local: LocalMode;
  readonly domains: readonly string[];
  /** What can be open at once (decisions.md 14): of each connection its transaction, and the one before whose delete is under way. */
  readonly mostOpen: number;
  /** Undefined while the pod does not answer. */
  status(pod: number): Promise<PodStatus | undefined>;
  statuses(): Promise<PodStatus[]>;
  load(options: Partial<LoadOptions> & Pick<LoadOptions, "messages">): Load;
  /** Waits until all of `loads` has arrived and nothing is queued. @throws Error that counts what is missing */
  drained(loads: readonly Sent[], boundMs?: number): Promise<void>;
  /** Waits until each pod owns its part of the shards. */
  shared(): Promise<void>;
  /** Another number of pods, by an edit of the pool's replicas. */
  scale(pods: number): Promise<void>;
  /** Lines that the pods have logged. */
  logs(): Promise<string[]>;
  /** Starts local mode again on the same state, after `local.killAll()` or `local.stop()`. */
  restart(): Promise<void>;
}

export const shardCount = 8;

/** @example await using scene = await startScene({ pods: 2 }); */
export async function startScene(options: SceneOptions = {}): Promise<Scene> {
  const { pods = 2, sites = 12, connections = 8, shards = shardCount, queue = {} } = options;
  const sink = await startSink({ ports: sites, defers: (recipient) => options.defers?.(recipient) === true });
  const folder = await mkdtemp(join(tmpdir(), "mailboat-e2e-"));
  const domains = sink.ports.map((_, index) => `site${index}.test`);
  const { nats } = options;
  let wanted = pods;
  const resources = (): string =>
    testResources({
      replicas: wanted,
      queue: { ...(nats === undefined ? {} : { replicas: 3 }), ...queue },
      shards,
      rules: sink.ports.map((port, index) => ({
        name: `site${index}`,
        match: { domains: [`site${index}.test`] },
        ...(options.retry === undefined ? {} : { retry: options.retry }),
        limits: { connections, messagesPerConnection: 1000 },
        routes: [{ host: "127.0.0.1", port }],
      })),
    });
  const args = nats === undefined ? [] : ["--nats", nats];
  const start = (): Promise<LocalMode> => startLocal({ resources: resources(), state: folder, args });
  let local = await start().catch(async (error: unknown) => {
    await sink[Symbol.asyncDispose]();
    throw error;
  });
  const status = (pod: number): Promise<PodStatus | undefined> =>
    podStatus(local.endpoints.metrics[pod] ?? "");
  const statuses = (): Promise<PodStatus[]> => podStatuses(local);
  const shared = async (): Promise<void> => {
    const isShared = async (): Promise<boolean> => {
      const owned = (await statuses()).map((one) => one.shards.length);
      return owned.length === wanted && owned.every((count) => count === shards / wanted);
    };
    await until("every pod to own its part of the shards", isShared, 60_000);
  };
  await shared();
  return {
    sink,
    get local() {
      return local;
    },
    domains,
    mostOpen: 2 * sites * connections,
    status,
    statuses,
    load: (options) =>
      startLoad({
        address: () => local.endpoints.smtp,
        connections: 16,
        bytes: 10_000,
        domains,
        user: "acme",
        password: testPassword,
        from: "news@acme.example",
        ...options,
      }),
    async drained(loads, boundMs = 60_000) {
      const missing = (): string[] => loads.flatMap((load) => missingOf(load, sink));
      const queued = async (): Promise<number> =>
        (await statuses()).reduce((sum, one) => sum + one.queued + one.inFlight, 0);
      try {
        await until(
          "the queue to be empty",
          async () => missing().length === 0 && (await queued()) === 0,
          boundMs,
        );
      } catch (error) {
        const lost = missing();
        const names = lost.slice(0, 5).map((id) => loads.map((load) => load.queuedAs?.(id)).find(Boolean));
        const known = names.map((name) => local.admin(`/v1/messages/${name ?? ""}`).catch(String));
        const told = [...(await statuses()), ...(await Promise.all(known))].map((one) => JSON.stringify(one));
        throw new Error(
          [
            `${lost.length} accepted messages have not arrived: ${lost.slice(0, 5).join(", ")}; of the pods and of these is known`,
            ...told,
            ...(await warningsIn(folder)),
          ].join("\n"),
          { cause: error },
        );
      }
    },
    shared,
    async scale(count) {
      wanted = count;
      await local.edit(resources());
    },
    logs: async () => (await podLogs(folder)).flat(),
    async restart() {
      local = await start();
      await shared();
    },
    async [Symbol.asyncDispose]() {
      await local[Symbol.asyncDispose]();
      await sink[Symbol.asyncDispose]();
      await rm(folder, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}

/** The last lines of each pod's log that are above "info". */
async function warningsIn(folder: string): Promise<string[]> {
  const logs = await podLogs(folder);
  return logs.flatMap((lines) => lines.filter((line) => /"level":[456]0/.test(line)).slice(-20));
}
