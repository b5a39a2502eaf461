/**
 * CORRIDOR: one SendingPool: follow its pods → build its children → apply → make the kubelets look → say what became of it.
 * Rejects when the API server does; what was done stays done.
 */
import { randomBytes } from "node:crypto";
import type { SendingPoolSpec } from "#crds/api/v1alpha1/sending-pool.ts";
import type { Resource } from "#crds/api/v1alpha1/snapshot.ts";
import { editionText, poolFiles } from "#operator/compile/files.ts";
import { KubeError } from "#operator/kube/errors.ts";
import type { KubeObject } from "#operator/kube/types.ts";
import { adminTokenOf } from "#operator/resources/admin-token.ts";
import { childNames, type KubeObject as Built } from "#operator/resources/object.ts";
import { buildPool } from "#operator/resources/pool.ts";
import { createBumps } from "./bump.ts";
import { NameTakenError } from "./children.ts";
import type { Context, Outcome } from "./context.ts";
import { kinds, marks } from "./kinds.ts";
import { natsSettings } from "./nats-settings.ts";
import { type PoolConfig, textOf } from "./numbering.ts";
import { keptIn, type PoolFacts } from "./pool-status.ts";
import { createPoolStatus } from "./pool-report.ts";
import { isReady, wantedBy } from "./pods.ts";
import { createRollOuts } from "./roll-outs.ts";
import { keyOf } from "./stores.ts";

export interface PoolReconciler {
  reconcile(key: string, signal: AbortSignal): Promise<Outcome>;
}

interface Memory {
  /** As it was seen last. */
  object?: KubeObject;
  /** What the objects were built from, and they. */
  built?: { readonly of: readonly unknown[]; readonly objects: Built[] };
  token?: { readonly version: string | undefined; readonly token: string };
  reconcileAt?: string | undefined;
  /** Generation that the pods were last hurried for. */
  hurried?: number;
}

/** A roll-out that waits for its turn, and an object whose name is taken, are looked at again. */
const waitMs = 5000;
const takenMs = 60_000;

export function createPoolReconciler(context: Context): PoolReconciler {
  const { stores, client, clock, configuration, children, reports, streams, autoscaling } = context;
  const rollOuts = createRollOuts(stores, clock);
  const bumps = createBumps({ client, clock });
  const status = createPoolStatus(context);
  const memory = new Map<string, Memory>();

  const forget = (key: string): Outcome => {
    const last = memory.get(key)?.object;
    const messages = last === undefined ? 0 : status.queued(last);
    if (last !== undefined && messages > 0)
      context.events.record(last, { type: "Warning", reason: "QueueKept", note: keptIn(messages) });
    for (const one of [children, reports, streams, autoscaling, bumps, status]) one.forget(key);
    memory.delete(key);
    return {};
  };

  /** The admin port's token outlives operators: it is made once. */
  const tokenOf = async (key: string, known: Memory): Promise<string> => {
    const [namespace, name = ""] = key.split("/");
    const ref = { namespace, name: childNames.admin(name) };
    const version = stores.get("secrets", `${namespace}/${ref.name}`)?.metadata.resourceVersion;
    if (known.token !== undefined && (known.token.version === version || version === undefined))
      return known.token.token;
    const existing = await client.get(kinds.secrets, ref);
    const token = adminTokenOf(existing, () => randomBytes(24).toString("base64url"));
    known.token = { version: existing === undefined ? undefined : version, token };
    return token;
  };

  const follow = (key: string, spec: Resource<SendingPoolSpec>): void => {
    const { shards, replicas } = spec.spec.queue;
    const queue = streams.pool(key, { ...natsSettings(spec, context.secrets.get), shards });
    const ready = (): Set<string> => {
      const pods = [...stores.podsOf(key).values()].filter(isReady);
      return new Set(pods.map(({ metadata }) => metadata.name));
    };
    reports.follow(key, { queue, pods: ready, isSettled: () => status.isSettled(key) });
    status.knowQueue(key, () => queue.unsuitable(replicas));
  };

  const build = (spec: Resource<SendingPoolSpec>, config: PoolConfig | undefined, from: From): Built[] => {
    const { known, token, replicas } = from;
    const hasPodMonitors = stores.hasPodMonitors();
    const of = [spec, config, token, replicas, hasPodMonitors];
    if (known.built !== undefined && known.built.of.every((one, at) => one === of[at]))
      return known.built.objects;
    const objects = buildPool({
      pool: spec,
      files: config === undefined ? undefined : poolFiles(config.compiled),
      image: context.images.pod,
      imagePullPolicy: context.images.pullPolicy,
      replicas,
      adminToken: token,
      hasPodMonitors,
      podMonitorLabels: context.podMonitorLabels,
    }).map((object) =>
      object.kind === "Deployment" ? rollOuts.marked(object, spec.metadata.generation) : object,
    );
    known.built = { of, objects };
    return objects;
  };

  const apply = async (object: KubeObject, signal: AbortSignal): Promise<Applied> => {
    const key = keyOf(object);
    const spec = configuration.poolSpec(key);
    const known = memory.get(key) ?? {};
    memory.set(key, known);
    if (spec === undefined) return {};
    follow(key, spec);
    const deployment = stores.get(
      "deployments",
      `${object.metadata.namespace}/${childNames.main(object.metadata.name)}`,
    );
    const current = wantedBy(deployment);
    const replicas = autoscaling.replicas(key, spec.spec, current);
    const wanted = replicas ?? spec.spec.replicas;
    if (isPaused(object)) return { wanted };
    const config = configuration.pool(key);
    const token = await tokenOf(key, known);
    const objects = build(spec, config, { known, token, replicas });
    const main = objects.find(({ kind }) => kind === "Deployment");
    const isWaiting = main !== undefined && rollOuts.mustWait(key, main);
    const held = new Set(isWaiting ? [main] : []);
    const uid = object.metadata.uid ?? "";
    const edition =
      config === undefined
        ? undefined
        : { text: editionText(config.compiled.manifest), mark: textOf(config) };
    await children.sync({ key, uid, objects, held, edition }, signal);
    if (isWaiting && deployment !== undefined && current !== wanted)
      await client.patch(kinds.deployments, deployment.metadata, { spec: { replicas: wanted } });
    if (config !== undefined && known.hurried !== config.generation) {
      known.hurried = config.generation;
      reports.hurry(key);
    }
    // A new leader asks first: what pods run already is no news, and its status stands.
    const isUnheard = !reports.of(key).wasAsked && [...stores.podsOf(key).values()].some(isReady);
    if (isUnheard) return { wanted, isWaiting, isUnheard, ...(isWaiting ? { againMs: waitMs } : {}) };
    const againMs = config === undefined ? 0 : await bump(key, config);
    return { wanted, isWaiting, againMs: isWaiting ? waitMs : againMs };
  };

  const bump = (key: string, config: PoolConfig): Promise<number> => {
    const behind = [...stores.podsOf(key).values()].filter(
      (pod) => pod.metadata.deletionTimestamp === undefined && !status.isCurrent(key, pod, config),
    );
    return bumps.bump(key, { text: `${config.generation}.${config.digest.slice(0, 12)}`, pods: behind });
  };

  return {
    async reconcile(key, signal) {
      const object = stores.get("pools", key);
      if (object === undefined) return forget(key);
      if (!configuration.isKnown()) return {};
      const known = memory.get(key);
      memory.set(key, Object.assign(known ?? {}, { object }));
      // Its children go with it, by their owner.
      if (object.metadata.deletionTimestamp !== undefined) {
        await status.write(object, { writeTrouble: undefined, isPaused: isPaused(object) });
        return {};
      }
      const reconcileAt = object.metadata.annotations?.[marks.reconcileAt];
      if (known !== undefined && known.reconcileAt !== reconcileAt) {
        context.log.info("reconcile asked for", { pool: key });
        children.applyAgain(key);
        context.secrets.forget();
        configuration.touch();
      }
      let applied: Applied = {};
      let trouble: unknown;
      try {
        applied = await apply(object, signal);
      } catch (error) {
        trouble = error;
      }
      const after = memory.get(key);
      if (after !== undefined) after.reconcileAt = reconcileAt;
      const found = { ...applied, writeTrouble: troubleOf(trouble), isPaused: isPaused(object) };
      const dueMs = applied.isUnheard === true ? undefined : await status.write(object, found);
      if (trouble instanceof NameTakenError) return { requeueAfterMs: takenMs };
      if (trouble !== undefined) throw trouble;
      const again = [applied.againMs ?? 0, dueMs ?? 0].filter((ms) => ms > 0);
      return again.length === 0 ? {} : { requeueAfterMs: Math.min(...again) };
    },
  };
}

interface From {
  readonly known: Memory;
  readonly token: string;
  readonly replicas: number | undefined;
}

export interface Applied {
  /** Pods that should be there; undefined = not known. */
  readonly wanted?: number;
  readonly isWaiting?: boolean;
  /** Its pods were not asked yet. */
  readonly isUnheard?: boolean;
  readonly againMs?: number;
}

export function isPaused({ metadata }: KubeObject): boolean {
  return metadata.annotations?.[marks.paused] === "true";
}

/** What a person has to look at; an API server in trouble is not news about the pool. */
function troubleOf(error: unknown): PoolFacts["writeTrouble"] {
  if (error instanceof NameTakenError) return { reason: "NameTaken", message: error.message };
  if (!(error instanceof KubeError)) return undefined;
  const isRefusal = error.status >= 400 && error.status < 500 && error.status !== 429 && error.status !== 409;
  return isRefusal ? { reason: "WriteRefused", message: error.message } : undefined;
}
