/**
 * What a cluster does with a pool, for the fake API server: the Deployment's controller, kubelets that project ConfigMaps and
 * Secrets when a pod is made and when its annotation changes, and pods that load what is mounted with the real loader and answer
 * the operator over a real NATS.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { PodConfig } from "#crds/pod-config/schema.ts";
import type { PodReport } from "#crds/wire/pod-report.ts";
import { createPeers } from "#mta-pod/spool/peers.ts";
import type { KubeObject } from "#operator/kube/types.ts";
import { kinds, marks } from "#operator/reconcile/kinds.ts";
import type { FakeApiServer } from "#test/kit/fake-api-server.ts";
import { startTestSpool, type TestSpool } from "#test/kit/spool.ts";
import { idleReport, loadMounted } from "./fake-pod.ts";

export interface Fleet extends AsyncDisposable {
  /** The configuration that a pod runs, by pod. */
  running(): ReadonlyMap<string, PodConfig>;
  /** Questions other than reports that pods were asked. */
  readonly asked: { readonly pod: string; readonly kind: string; readonly query: unknown }[];
  /** Part of every report. */
  report: Partial<PodReport>;
  /** Unless empty, what pods say in place of a report. */
  waitsFor: string;
  /** While true no pod becomes ready. */
  isBroken: boolean;
  /** While true no Deployment gets through with what is new. */
  isStuck: boolean;
  /** While false, annotations do nothing: pods keep what they have. */
  syncs: boolean;
}

interface Pod {
  readonly name: string;
  readonly spool: TestSpool;
  readonly close: () => void;
  annotation: string | undefined;
  config: PodConfig | undefined;
}

export interface FleetOptions {
  readonly api: FakeApiServer;
  readonly nats: string;
  /** How often the controllers look. */
  readonly everyMs?: number;
}

export function startFleet({ api, nats, everyMs = 15 }: FleetOptions): Fleet {
  const pods = new Map<string, Pod>();
  const folder = mkdtempSync(join(tmpdir(), "mailboat-fleet-"));
  let made = 0;
  let isWorking = false;
  let working: Promise<void> = Promise.resolve();
  const fleet: Fleet = {
    running: () =>
      new Map(
        [...pods.values()].flatMap(({ name, config }) => (config === undefined ? [] : [[name, config]])),
      ),
    asked: [],
    report: {},
    waitsFor: "",
    isBroken: false,
    isStuck: false,
    syncs: true,
    async [Symbol.asyncDispose]() {
      clearInterval(timer);
      await working;
      for (const pod of pods.values()) await end(pod);
      rmSync(folder, { recursive: true, force: true });
    },
  };

  const end = async (pod: Pod): Promise<void> => {
    pods.delete(pod.name);
    pod.close();
    await pod.spool.close();
  };

  const answer = (pod: Pod, kind: string, query: unknown): object => {
    if (kind !== "report") {
      fleet.asked.push({ pod: pod.name, kind, query });
      return { isComplete: true };
    }
    const { config } = pod;
    if (fleet.waitsFor !== "") return { waitsFor: fleet.waitsFor };
    if (config === undefined) throw new Error("no configuration yet");
    return { ...idleReport(config), ...fleet.report };
  };

  const startPod = async (deployment: KubeObject): Promise<void> => {
    const { namespace = "", name } = deployment.metadata;
    const pool = deployment.metadata.labels?.["mailboat.dev/pool"] ?? "";
    const podName = `${name}-${made++}`;
    const template = Reflect.get(deployment["spec"] as object, "template") as KubeObject;
    const spool = await startTestSpool(
      nats,
      { pool: `${namespace}/${pool}`, pod: podName },
      { makeStreams: false },
    );
    const peers = createPeers({ spool, members: () => [] });
    const pod: Pod = {
      name: podName,
      spool,
      close: () => peers.close(),
      annotation: undefined,
      config: undefined,
    };
    peers.serve(async (kind, query) => answer(pod, kind, query));
    pods.set(podName, pod);
    const { labels = {}, annotations = {} } = template.metadata;
    api.state.create(kinds.pods, {
      apiVersion: "v1",
      kind: "Pod",
      metadata: { name: podName, namespace, labels, annotations },
      spec: {},
      status: {},
    });
    mount(pod, namespace, pool);
  };

  /** As kubelet: everything that is there now. */
  const mount = (pod: Pod, namespace: string, pool: string): void => {
    const mounted = [
      { kind: "ConfigMap", type: kinds.configMaps, prefix: `mailboat-${pool}-config` },
      { kind: "Secret", type: kinds.secrets, prefix: `mailboat-${pool}-keys` },
    ] as const;
    const objects = mounted.flatMap(({ kind, type, prefix }) =>
      [...api.state.list(type)]
        .map(([, object]) => object)
        .filter(({ metadata }) => metadata.namespace === namespace && metadata.name.startsWith(prefix))
        .map(({ data, binaryData }) => ({ kind, data, binaryData })),
    );
    pod.config = loadMounted(join(folder, pod.name), objects) ?? pod.config;
  };

  /** Its template has another image than its pods. */
  const images = new Map<string, string>();
  const isNew = ({ metadata, spec }: KubeObject): boolean => {
    const image = /"image":"([^"]*)"/.exec(JSON.stringify(spec))?.[1] ?? "";
    const key = `${metadata.namespace}/${metadata.name}`;
    if (!fleet.isStuck || !images.has(key)) images.set(key, image);
    return images.get(key) !== image;
  };

  const control = async (deployment: KubeObject): Promise<void> => {
    const { namespace = "", labels = {}, generation } = deployment.metadata;
    const pool = labels["mailboat.dev/pool"] ?? "";
    isNew(deployment);
    const wanted = Number(Reflect.get(deployment["spec"] as object, "replicas"));
    const own = [...api.state.list(kinds.pods)]
      .map(([, pod]) => pod)
      .filter(
        ({ metadata }) => metadata.namespace === namespace && metadata.labels?.["mailboat.dev/pool"] === pool,
      );
    for (const gone of own.slice(wanted)) {
      api.state.remove(kinds.pods, namespace, gone.metadata.name);
      const pod = pods.get(gone.metadata.name);
      if (pod !== undefined) await end(pod);
    }
    for (let missing = own.length; missing < wanted; missing++) await startPod(deployment);
    let ready = 0;
    for (const object of own.slice(0, wanted)) {
      const pod = pods.get(object.metadata.name);
      if (pod === undefined) continue;
      const annotation = object.metadata.annotations?.[marks.config];
      if ((annotation !== pod.annotation && fleet.syncs) || pod.config === undefined)
        mount(pod, namespace, pool);
      pod.annotation = annotation;
      const isReady = pod.config !== undefined && !fleet.isBroken;
      if (isReady) ready++;
      const status = { conditions: [{ type: "Ready", status: isReady ? "True" : "False" }] };
      if (JSON.stringify(object["status"]) !== JSON.stringify(status))
        api.state.patch(kinds.pods, { namespace, name: pod.name }, { status }, { subresource: "status" });
    }
    const status = {
      observedGeneration: generation,
      replicas: wanted,
      updatedReplicas: fleet.isStuck && isNew(deployment) ? 0 : wanted,
      readyReplicas: ready,
      availableReplicas: ready,
    };
    if (JSON.stringify(deployment["status"]) !== JSON.stringify(status))
      api.state.patch(
        kinds.deployments,
        { namespace, name: deployment.metadata.name },
        { status },
        { subresource: "status" },
      );
  };

  const timer = setInterval(() => {
    if (isWorking) return;
    isWorking = true;
    working = (async () => {
      for (const [, deployment] of api.state.list(kinds.deployments)) await control(deployment);
    })().finally(() => {
      isWorking = false;
    });
  }, everyMs);
  return fleet;
}
