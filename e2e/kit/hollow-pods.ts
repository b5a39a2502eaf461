/**
 * Pods without a node, on an API server and controllers alone: what the Deployment's controllers made is said to be ready as soon as
 * it has loaded its ConfigMaps and Secrets with the real loader, and answers the operator over a real NATS.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { PodConfig } from "#crds/pod-config/schema.ts";
import { createPeers } from "#mta-pod/spool/peers.ts";
import { startTestSpool, type TestSpool } from "#test/kit/spool.ts";
import { idleReport, loadMounted, type Mounted } from "#test/operator/reconcile/fake-pod.ts";
import type { Api } from "../cluster/api.ts";
import { operatorNamespace } from "./operator-process.ts";

export interface HollowPods extends AsyncDisposable {
  /** What each pod runs. */
  running(): ReadonlyMap<string, PodConfig>;
}

interface Pod {
  readonly spool: TestSpool;
  readonly close: () => void;
  annotation: string | undefined;
  config: PodConfig | undefined;
  isReady: boolean;
}

interface PodObject {
  readonly metadata: {
    readonly name: string;
    readonly annotations?: Readonly<Record<string, string>>;
    readonly deletionTimestamp?: string;
  };
}

const lookMs = 200;

/** Of the pool `shared`. @example await using pods = startHollowPods({ api, nats: nats.url }) */
export function startHollowPods({ api, nats }: { readonly api: Api; readonly nats: string }): HollowPods {
  const folder = mkdtempSync(join(tmpdir(), "mailboat-hollow-"));
  const pods = new Map<string, Pod>();
  const inNamespace = `/api/v1/namespaces/${operatorNamespace}`;
  const label = encodeURIComponent("mailboat.dev/pool=shared");
  const over = new AbortController();

  const list = async <Item>(plural: string): Promise<Item[]> => {
    const { body } = await api.ask("GET", `${inNamespace}/${plural}?labelSelector=${label}`);
    return (body["items"] ?? []) as Item[];
  };

  const mount = async (name: string, pod: Pod): Promise<void> => {
    const objects: Mounted[] = [];
    for (const one of await list<Mounted>("configmaps")) objects.push({ ...one, kind: "ConfigMap" });
    for (const one of await list<Mounted & { type: string; metadata: { name: string } }>("secrets"))
      if (one.metadata.name.includes("-keys-")) objects.push({ ...one, kind: "Secret" });
    pod.config = loadMounted(join(folder, name), objects) ?? pod.config;
  };

  const start = async (name: string): Promise<Pod> => {
    const ids = { pool: `${operatorNamespace}/shared`, pod: name };
    const spool = await startTestSpool(nats, ids, { makeStreams: false });
    const peers = createPeers({ spool, members: () => [] });
    const pod: Pod = {
      spool,
      close: () => peers.close(),
      annotation: undefined,
      config: undefined,
      isReady: false,
    };
    peers.serve(async () => {
      if (pod.config === undefined) throw new Error("no configuration yet");
      return idleReport(pod.config);
    });
    pods.set(name, pod);
    return pod;
  };

  const end = async (name: string, pod: Pod): Promise<void> => {
    pods.delete(name);
    pod.close();
    await pod.spool.close();
  };

  const look = async (): Promise<void> => {
    const objects = await list<PodObject>("pods");
    for (const { metadata } of objects) {
      const { name, annotations } = metadata;
      const path = `${inNamespace}/pods/${name}`;
      if (metadata.deletionTimestamp !== undefined) {
        await api.ask("DELETE", `${path}?gracePeriodSeconds=0`);
        continue;
      }
      const pod = pods.get(name) ?? (await start(name));
      const annotation = annotations?.["mailboat.dev/config"];
      if (pod.config === undefined || annotation !== pod.annotation) await mount(name, pod);
      pod.annotation = annotation;
      if (pod.config === undefined || pod.isReady) continue;
      const conditions = ["Ready", "ContainersReady"].map((type) => ({ type, status: "True" }));
      await api.ask("PATCH", `${path}/status`, { status: { phase: "Running", conditions } });
      pod.isReady = true;
    }
    const names = new Set(objects.map(({ metadata }) => metadata.name));
    for (const [name, pod] of pods) if (!names.has(name)) await end(name, pod);
  };

  const working = (async () => {
    while (!over.signal.aborted) {
      // An API server that is away is what some tests are about.
      await look().catch(() => undefined);
      await delay(lookMs);
    }
  })();
  return {
    running: () =>
      new Map(
        [...pods].flatMap(([name, { config }]) => (config === undefined ? [] : [[name, config] as const])),
      ),
    async [Symbol.asyncDispose]() {
      over.abort();
      await working;
      for (const [name, pod] of pods) await end(name, pod);
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
