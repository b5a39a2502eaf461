/** What chaos plays with: a NATS cluster, pods, an auditing sink with sites of every kind, and loads of several tenants. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Load, startLoad } from "#e2e/kit/load.ts";
import { namedPods } from "#e2e/kit/named-pods.ts";
import { podLogs } from "#e2e/kit/pod-logs.ts";
import { type PodStatus, podStatuses } from "#e2e/kit/pod-status.ts";
import { type Sink, startSink } from "#e2e/kit/sink.ts";
import { type LocalMode, startLocal } from "#test/kit/local.ts";
import { testPassword, testResources } from "#test/kit/local-resources.ts";
import { type NatsCluster, startNatsCluster } from "#test/kit/nats-cluster.ts";
import { until } from "#test/kit/until.ts";
import { createLimitWatch, type LimitWatch, type SiteLimit } from "./limit-watch.ts";

export interface Arena extends AsyncDisposable {
  readonly cluster: NatsCluster;
  readonly local: LocalMode;
  readonly sink: Sink;
  readonly limits: LimitWatch;
  readonly loads: readonly Load[];
  readonly pods: number;
  /** Of the pods that answer. */
  statuses(): Promise<PodStatus[]>;
  /** The pools's number of pods, by an edit of the resources. */
  scale(pods: number): Promise<void>;
  /** A load of large mail to the site `full`, until stopped. */
  fill(): Load;
  /** The place of the site `full` among the sink's ports. */
  readonly fullPlace: number;
  /** Lines of the pods' logs that are errors. */
  errors(): Promise<string[]>;
}

const shards = 8;
/** Of a shard, bodies: small, so that a held site fills one within seconds. */
const shardBytes = 16 * 1024 * 1024;

const tenants = ["acme", "globex", "initech"] as const;
const plain: readonly SiteLimit[] = Array.from({ length: 6 }, (_, index) => ({
  name: `site${index}`,
  connections: 8,
}));
const sites: readonly SiteLimit[] = [
  ...plain,
  { name: "rated", connections: 2, perSecond: 20 },
  { name: "narrow", connections: 3 },
  { name: "refusing", connections: 4 },
  { name: "full", connections: 4 },
  { name: "returns", connections: 4 },
];
interface Beside extends SiteLimit {
  readonly at: string;
  /** Of a smart host that is asked first, where nobody listens. */
  readonly firstPort?: number;
}

/** Other rules to the hosts of two of these, which take no more for it; to some only when hosts of their own are away. */
const beside: readonly Beside[] = [
  { name: "rated-vip", at: "rated", connections: 1, perSecond: 10 },
  { name: "rated-backup", at: "rated", connections: 2, perSecond: 20, firstPort: 1 },
  { name: "narrow-vip", at: "narrow", connections: 3 },
  { name: "narrow-backup", at: "narrow", connections: 2, firstPort: 2 },
];
const placeOf = (wanted: string): number => sites.findIndex(({ name }) => name === wanted);
const fullPlace = placeOf("full");

const domainOf = ({ name }: SiteLimit): string => `${name}.test`;
const numberIn = (recipient: string): number => Number(/\d+/.exec(recipient)?.[0] ?? 0);
/** Told 451 the first time. */
const isDeferred = (recipient: string): boolean =>
  recipient.startsWith("small") && numberIn(recipient) % 7 === 0;
const isRefused = (recipient: string): boolean => recipient.startsWith("refused");

export interface ArenaOptions {
  readonly pods: number;
  log(line: string): void;
}

export async function startArena(options: ArenaOptions): Promise<Arena> {
  const { pods } = options;
  const undo: (() => PromiseLike<unknown>)[] = [];
  const dispose = async (): Promise<void> => {
    for (const step of undo.reverse()) await step();
  };
  try {
    const limits = createLimitWatch(sites, (violation) => options.log(`LIMIT ${violation}`));
    undo.push(async () => limits.stop());
    const sink = await startSink({
      ports: sites.length,
      watch: limits,
      defers: isDeferred,
      refuses: isRefused,
    });
    undo.push(() => sink[Symbol.asyncDispose]());
    const cluster = await startNatsCluster();
    undo.push(() => cluster[Symbol.asyncDispose]());
    const folder = await mkdtemp(join(tmpdir(), "mailboat-chaos-"));
    undo.push(() => rm(folder, { recursive: true, force: true, maxRetries: 5 }));
    const resources = (replicas: number): string => resourcesFor(sink, replicas);
    const args = ["--nats", cluster.urls];
    const local = await startLocal({ resources: resources(pods), state: folder, args, env: namedPods });
    undo.push(() => local[Symbol.asyncDispose]());
    const statuses = (): Promise<PodStatus[]> => podStatuses(local);
    await until(
      "every pod to own its part",
      async () => {
        const owned = (await statuses()).map((one) => one.shards.length);
        return owned.length === pods && owned.reduce((sum, count) => sum + count, 0) === shards;
      },
      60_000,
    );
    const loads = loadsOn(local);
    undo.push(async () => loads.forEach((load) => load.stop()));
    return {
      cluster,
      local,
      sink,
      limits,
      loads,
      pods,
      fullPlace,
      statuses,
      scale: (count) => local.edit(resources(count)),
      fill: () =>
        begin(local, {
          prefix: `full${fills++}x`,
          tenant: "initech",
          to: ["full"],
          connections: 4,
          bytes: 200_000,
        }),
      errors: () => errorsIn(folder),
      [Symbol.asyncDispose]: dispose,
    };
  } catch (error) {
    await dispose();
    throw error;
  }
}

let fills = 0;

function resourcesFor(sink: Sink, replicas: number): string {
  const domainsOf = (site: SiteLimit): string[] =>
    site.name === "returns" ? tenants.map((tenant) => `${tenant}.example`) : [domainOf(site)];
  return testResources({
    replicas,
    shards,
    queue: { replicas: 3, maxBytesPerShard: shardBytes },
    tenants: tenants.map((name) => ({ name })),
    rules: [...sites.map((site): Beside => ({ ...site, at: site.name })), ...beside].map((site) => ({
      name: site.name,
      match: { domains: domainsOf(site) },
      retry: { first: "1s", max: "4s" },
      limits: {
        connections: site.connections,
        messagesPerConnection: 200,
        ...(site.perSecond === undefined ? {} : { messageRate: `${site.perSecond}/s` }),
      },
      routes: [
        ...(site.firstPort === undefined ? [] : [site.firstPort]),
        sink.ports[placeOf(site.at)] ?? 0,
      ].map((port) => ({ host: "127.0.0.1", port })),
    })),
  });
}

interface Stream {
  readonly prefix: string;
  readonly tenant: (typeof tenants)[number];
  readonly to: readonly string[];
  readonly connections: number;
  readonly perSecond?: number;
  readonly bytes?: number;
  readonly recipients?: number;
}

/** Small mail, some of it deferred; mail for several sites; to sites with a rate or few connections; large; refused for good. */
const streams: readonly Stream[] = [
  {
    prefix: "small",
    tenant: "acme",
    to: plain.slice(0, 4).map(({ name }) => name),
    connections: 12,
    perSecond: 30,
  },
  {
    prefix: "several",
    tenant: "globex",
    to: plain.map(({ name }) => name),
    connections: 6,
    perSecond: 4,
    recipients: 3,
  },
  {
    prefix: "rated",
    tenant: "initech",
    to: ["rated", "rated-vip", "rated-backup"],
    connections: 6,
    perSecond: 12,
  },
  {
    prefix: "narrow",
    tenant: "globex",
    to: ["narrow", "narrow-vip", "narrow-backup"],
    connections: 6,
    perSecond: 12,
  },
  { prefix: "refused", tenant: "acme", to: ["refusing"], connections: 2, perSecond: 2 },
  {
    prefix: "large",
    tenant: "globex",
    to: plain.slice(2).map(({ name }) => name),
    connections: 2,
    perSecond: 0.3,
    bytes: 1_200_000,
  },
];

function loadsOn(local: LocalMode): Load[] {
  return streams.map((stream) => begin(local, stream));
}

function begin(local: LocalMode, stream: Stream): Load {
  const { prefix, tenant, to, connections, perSecond, bytes = 3000, recipients = 1 } = stream;
  return startLoad({
    address: () => local.endpoints.smtp,
    connections,
    messages: Infinity,
    bytes,
    recipients,
    prefix,
    user: tenant,
    password: testPassword,
    from: `news@${tenant}.example`,
    domains: to.map((name) => `${name}.test`),
    ...(perSecond === undefined ? {} : { perSecond }),
  });
}

async function errorsIn(folder: string): Promise<string[]> {
  const logs = await podLogs(folder);
  return logs.flat().filter((line) => line.startsWith('{"level":50'));
}
