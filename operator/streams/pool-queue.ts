/**
 * One pool as NATS knows it: what its pods report, what its spool streams hold of a tenant, and who held what. Never throws:
 * "away" means that nothing is known now, not that nothing is there.
 */
import type { NatsConnection } from "@nats-io/transport-node";
import {
  type PodReport,
  parsePodReport,
  parsePodWaiting,
  reportQuestion,
  witnessQuestion,
} from "#crds/wire/pod-report.ts";
import { poolNames } from "#crds/wire/subject.ts";
import { hashToken } from "#crds/values/hash.ts";
import { askPods, callJetStream, isRecord } from "./ask.ts";
import type { NatsLink } from "./connection.ts";

type Reports =
  | {
      readonly kind: "answers";
      readonly reports: ReadonlyMap<string, PodReport>;
      /** Why pods cannot begin, by pod. */
      readonly waiting: ReadonlyMap<string, string>;
    }
  | { readonly kind: "away"; readonly text: string };

export interface Unsuitable {
  readonly expected: string;
  readonly got: string;
}

export interface PoolQueue {
  /** Asks every pod; ends when those of `pods` have answered, or after `timeoutMs`. */
  report(query: ReportWanted): Promise<Reports>;
  /** Tells a living pod that another is dead for sure. False = none of them has taken it in. */
  witness(dead: { readonly pod: string; readonly incarnation: string }): Promise<boolean>;
  /** Who the pod's member key is of; undefined = unknown. `startedAt` is ms since 1970 by the pod's own clock. */
  incarnationOf(
    pod: string,
  ): Promise<{ incarnation: string; startedAt: number; isGone: boolean } | undefined>;
  /** Entries stored for the tenant, in flight and parents included: what JetStream holds, whoever lives. undefined = not known. */
  stored(tenant: string): Promise<number | undefined>;
  /** Begins to settle what is queued of the tenant without telling anybody, in the pods; false = no pod has begun. */
  discard(tenant: string): Promise<boolean>;
  /** Deletes what is stored for the tenant; only for a pool without pods, whose index would miss it. */
  purge(tenant: string): Promise<boolean>;
  /** What about the server does not suit the pool; undefined = nothing, or it cannot be reached. */
  unsuitable(replicas: number): Unsuitable | undefined;
}

interface ReportWanted {
  readonly pods: ReadonlySet<string>;
  readonly tenants: readonly string[];
  readonly timeoutMs: number;
}

export interface PoolQueueOptions {
  /** `namespace/name`. */
  readonly pool: string;
  readonly shards: number;
  readonly link: NatsLink;
  /** A name for acts: asked again under the same one, an act is begun once. */
  newJob(): string;
  after(ms: number, run: () => void): () => void;
}

const actMs = 5000;
const streamNotFound = 10059;
const minimumServer = [2, 14] as const;

export function createPoolQueue({ pool, shards, link, newJob, after }: PoolQueueOptions): PoolQueue {
  const names = poolNames(pool);
  const allShards = Array.from({ length: shards }, (_, shard) => shard);
  const ask = (nc: NatsConnection, kind: string, { query, timeoutMs, expected }: Question) =>
    askPods(nc, { subject: names.peerSubject(), kind, query, timeoutMs, expected, after });

  return {
    async report({ pods, tenants, timeoutMs }) {
      await link.whenTried();
      const nc = link.connection();
      if (nc === undefined) return { kind: "away", text: link.trouble() };
      const answers = await ask(nc, reportQuestion, { query: { tenants }, timeoutMs, expected: pods });
      const reports = new Map<string, PodReport>();
      const waiting = new Map<string, string>();
      for (const [pod, answer] of answers) {
        const parsed = parsePodReport(answer);
        const waits = parsePodWaiting(answer);
        if (parsed.ok) reports.set(pod, parsed.value);
        else if (waits.ok) waiting.set(pod, waits.value.waitsFor);
      }
      return { kind: "answers", reports, waiting };
    },
    async witness(dead) {
      const nc = link.connection();
      if (nc === undefined) return false;
      const answers = await ask(nc, witnessQuestion, { query: dead, timeoutMs: 2000, expected: new Set() });
      return [...answers.values()].some((said) => isRecord(said) && said["isComplete"] === true);
    },
    async incarnationOf(pod) {
      const nc = link.connection();
      if (nc === undefined) return undefined;
      const subject = `$KV.${names.bucket}.pod.${hashToken(pod)}`;
      const read = await callJetStream(nc, `STREAM.MSG.GET.KV_${names.bucket}`, { last_by_subj: subject });
      if (read.kind !== "ok" || !isRecord(read.value["message"])) return undefined;
      return memberIn(read.value["message"]["data"], pod);
    },
    async stored(tenant) {
      const nc = link.connection();
      if (nc === undefined) return undefined;
      const counts = await Promise.all(
        allShards.map((shard) => entriesIn(nc, names.shardStream(shard), names.entryFilter(shard, tenant))),
      );
      return counts.reduce<number | undefined>(
        (sum, count) => (sum === undefined || count === undefined ? undefined : sum + count),
        0,
      );
    },
    async discard(tenant) {
      const nc = link.connection();
      if (nc === undefined) return false;
      const query = { job: newJob(), action: "discard", selection: { tenant } };
      const answers = await ask(nc, "act", { query, timeoutMs: actMs, expected: new Set() });
      return answers.size > 0;
    },
    async purge(tenant) {
      const nc = link.connection();
      if (nc === undefined) return false;
      const purged = await Promise.all(
        allShards.map((shard) =>
          callJetStream(nc, `STREAM.PURGE.${names.shardStream(shard)}`, {
            filter: names.entryFilter(shard, tenant),
          }),
        ),
      );
      return purged.every(
        (one) => one.kind === "ok" || (one.kind === "refused" && one.code === streamNotFound),
      );
    },
    unsuitable(replicas) {
      const info = link.connection()?.info;
      if (info === undefined) return undefined;
      const [major = 0, minor = 0] = info.version.split(".").map(Number);
      if (major < minimumServer[0] || (major === minimumServer[0] && minor < minimumServer[1]))
        return { expected: `a NATS server of ${minimumServer.join(".")} or later`, got: info.version };
      if (info.jetstream !== true) return { expected: "a NATS server with JetStream", got: "one without" };
      const isCluster = "cluster" in info && info["cluster"] !== "";
      if (replicas === 1 || isCluster) return undefined;
      return { expected: `a NATS cluster for ${replicas} copies of each stream`, got: "a single server" };
    },
  };
}

interface Question {
  readonly query: unknown;
  readonly timeoutMs: number;
  readonly expected: ReadonlySet<string>;
}

/** Messages of a stream that fit the filter; 0 for a stream that was never made, undefined = not known. */
async function entriesIn(nc: NatsConnection, stream: string, filter: string): Promise<number | undefined> {
  const info = await callJetStream(nc, `STREAM.INFO.${stream}`, { subjects_filter: filter });
  if (info.kind === "refused" && info.code === streamNotFound) return 0;
  if (info.kind !== "ok" || !isRecord(info.value["state"])) return undefined;
  const subjects = info.value["state"]["subjects"];
  if (!isRecord(subjects)) return 0;
  return Object.values(subjects).reduce<number>(
    (sum, count) => sum + (typeof count === "number" ? count : 0),
    0,
  );
}

function memberIn(data: unknown, pod: string) {
  if (typeof data !== "string") return undefined;
  try {
    const record: unknown = JSON.parse(Buffer.from(data, "base64").toString("utf8"));
    if (!isRecord(record) || record["pod"] !== pod) return undefined;
    const { incarnation, startedAt, state } = record;
    if (typeof incarnation !== "string" || typeof startedAt !== "number") return undefined;
    return { incarnation, startedAt, isGone: state === "gone" };
  } catch {
    return undefined;
  }
}
