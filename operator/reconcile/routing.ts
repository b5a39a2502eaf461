/** Which change sets what going: a change in the API server, a report of the pods. Decides; the queues carry it out. */
import { canonicalJson } from "#crds/pod-config/encode.ts";
import type { KubeObject } from "#operator/kube/types.ts";
import type { Kind } from "./configuration.ts";
import type { Context } from "./context.ts";
import { kinds, marks } from "./kinds.ts";
import { childNames } from "#operator/resources/object.ts";
import { fieldOf, isReady, wantedBy } from "./pods.ts";
import { type Change, type Name, poolOfLabel } from "./stores.ts";
import type { Witness } from "./witness.ts";

export interface Routing {
  onChange(name: Name, change: Change): void;
  onReport(pool: string): void;
  /** Many tenants wait for their finalizer, or their Secrets to be read. */
  isFilling(): boolean;
}

export interface RoutingOptions {
  readonly context: Context;
  enqueue(kind: Kind, key: string, isInitial?: boolean): void;
  readonly witness: Witness;
}

/** What was last made of a pool's reports. */
interface Seen {
  readonly said: string;
  readonly trouble: string | undefined;
  /** Of the pods that answered. */
  readonly oldestGeneration: number;
}

/** Of tenants: no single edit, so that edits go first. */
const many = 50;
const kindOf = { pools: "SendingPool", tenants: "Tenant", shapes: "TrafficShape" } as const;

export function createRouting({ context, enqueue, witness }: RoutingOptions): Routing {
  const { stores, secrets, configuration, children, reports, autoscaling, events } = context;
  const seen = new Map<string, Seen>();

  /** Tenants that have none yet; what the compiler takes has one. */
  let waiting = 0;
  const isWaiting = (tenant: KubeObject | undefined): number =>
    tenant === undefined || tenant.metadata.finalizers?.includes(marks.finalizer) === true ? 0 : 1;

  const onResource = (name: keyof typeof kindOf, { key, before, after, isInitial }: Change): void => {
    if (before !== undefined && after !== undefined && !isOther(before, after)) return;
    if (name === "tenants") waiting += isWaiting(after) - isWaiting(before);
    const isNew = name === "tenants" && (before === undefined || isWaiting(before) === 1);
    configuration.touch(isNew ? "arrival" : "edit");
    enqueue(kindOf[name], key, isInitial);
    if (after === undefined && name === "pools") seen.delete(key);
  };

  const onPod = ({ before, after }: Change): void => {
    const pod = after ?? before;
    const pool = pod === undefined ? undefined : poolOfLabel(pod);
    if (pool === undefined) return;
    witness.saw(pool, before, after);
    const [was, is] = [before, after].map((one) => one !== undefined && isReady(one));
    if (was !== is) reports.hurry(pool);
    enqueue("SendingPool", pool);
  };

  const onChild = (name: Name, change: Change): void => {
    const object = change.after ?? change.before;
    const pool = object === undefined ? undefined : poolOfLabel(object);
    const changedByOthers = children.note(kinds[name].kind, change);
    if (changedByOthers !== undefined) enqueue("SendingPool", changedByOthers);
    else if (name === "deployments" && pool !== undefined) enqueue("SendingPool", pool);
    const wantedBy = name === "secrets" ? secrets.wantedBy(change.key) : undefined;
    if (wantedBy !== undefined) configuration.touch(wantedBy);
  };

  const onNamespace = ({ before, after }: Change): void => {
    if (canonicalJson(before?.metadata.labels ?? {}) !== canonicalJson(after?.metadata.labels ?? {}))
      configuration.touch();
  };

  /** Tenants of whom the pods that answer say something else than before. */
  const tellTenants = (pool: string, before: Seen | undefined, after: Seen): void => {
    const isFirst = before === undefined;
    const from = Math.min(before?.oldestGeneration ?? 0, after.oldestGeneration);
    const to = Math.max(before?.oldestGeneration ?? 0, after.oldestGeneration);
    const isOtherTrouble = before?.trouble !== after.trouble;
    const moved: string[] = [];
    for (const tenant of configuration.pool(pool)?.compiled.tenants.keys() ?? []) {
      const since = configuration.tenant(tenant)?.since ?? 0;
      const hasMoved = since > from && since <= to;
      if (isFirst || hasMoved || (isOtherTrouble && since > after.oldestGeneration)) moved.push(tenant);
    }
    for (const tenant of moved) enqueue("Tenant", tenant, moved.length > many);
  };

  const scale = (pool: string): void => {
    const object = stores.get("pools", pool);
    const spec = configuration.poolSpec(pool)?.spec;
    if (object === undefined || spec === undefined) return;
    const [namespace, name = ""] = pool.split("/");
    const current = wantedBy(stores.get("deployments", `${namespace}/${childNames.main(name)}`));
    const scaled = autoscaling.decide(pool, spec, { current, told: reports.of(pool).told });
    if (scaled === undefined) return;
    if (scaled.reason !== fieldOf(fieldOf(object["status"], "autoscaling"), "reason"))
      enqueue("SendingPool", pool);
    if (!scaled.hasChanged) return;
    const note = `${scaled.replicas} pods: ${scaled.reason}`;
    events.record(object, { type: "Normal", reason: "Scaled", note });
    enqueue("SendingPool", pool);
  };

  return {
    isFilling: () => waiting > many || secrets.backlog() > many,
    onChange(name, change) {
      if (name === "pools" || name === "tenants" || name === "shapes") onResource(name, change);
      else if (name === "pods") onPod(change);
      else if (name === "namespaces") onNamespace(change);
      else onChild(name, change);
    },
    onReport(pool) {
      const { told, waiting, trouble } = reports.of(pool);
      const all = [...told].map(([pod, { report }]) => ({ pod, ...report, busy: 0, tenants: {} }));
      const generations = all.map(({ generation }) => generation);
      const before = seen.get(pool);
      const after: Seen = {
        said: JSON.stringify([all, [...waiting].map(([name, { why }]) => [name, why])]),
        trouble,
        oldestGeneration:
          generations.length === 0 ? (before?.oldestGeneration ?? 0) : Math.min(...generations),
      };
      seen.set(pool, after);
      scale(pool);
      if (before?.said !== after.said || before.trouble !== after.trouble) enqueue("SendingPool", pool);
      tellTenants(pool, before, after);
    },
  };
}

/** Whether anything but the status is another: our own writes of that come back as changes. */
function isOther(before: KubeObject, after: KubeObject): boolean {
  const [a, b] = [before.metadata, after.metadata];
  if (a.uid !== b.uid || a.generation !== b.generation || a.deletionTimestamp !== b.deletionTimestamp)
    return true;
  const more = ({ finalizers = [], annotations = {} }: KubeObject["metadata"]): string =>
    canonicalJson([finalizers, annotations]);
  return more(a) !== more(b);
}
