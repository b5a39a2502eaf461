/** The operator's engine on a fake API server, with pods that answer over a real NATS; and the resources that tests begin with. */
import { generateKeyPairSync } from "node:crypto";
import { createClient } from "#operator/kube/client.ts";
import { systemClock } from "#operator/kube/clock.ts";
import type { Clock, KubeObject, Log, ResourceType } from "#operator/kube/types.ts";
import { createEngine, type Engine } from "#operator/reconcile/engine.ts";
import { kinds } from "#operator/reconcile/kinds.ts";
import { storedIn } from "#operator/reconcile/conditions.ts";
import { type FakeApiServer, startFakeApiServer } from "#test/kit/fake-api-server.ts";
import { startTestNats, type TestNats } from "#test/kit/nats-server.ts";
import { type Fleet, startFleet } from "./fleet.ts";

export interface World extends AsyncDisposable {
  readonly api: FakeApiServer;
  readonly nats: TestNats;
  readonly fleet: Fleet;
  readonly engine: Engine;
  /** Lines of the operator's log. */
  readonly lines: string[];
  /** Ends the operator as a kill does, and starts the next one after `meanwhile`. */
  restartOperator(meanwhile?: () => void): Promise<void>;
  conditions(name: "tenants" | "pools" | "shapes", object: string): Record<string, string>;
  /** The object's message of a condition. */
  message(name: "tenants" | "pools" | "shapes", object: string, type: string): string;
  get(name: keyof typeof kinds, object: string): KubeObject | undefined;
}

export interface WorldOptions {
  readonly namespaces?: readonly string[];
  readonly podImage?: string;
  /** Of the operator. */
  readonly clock?: Clock;
  readonly podMonitorLabels?: Readonly<Record<string, string>>;
  /** What the API server serves; may be changed while it runs. */
  readonly types?: ResourceType[];
}

const namespace = "mail";

/** @example await using world = await startWorld(); */
export async function startWorld(options: WorldOptions = {}): Promise<World> {
  const nats = await startTestNats();
  const api = await startFakeApiServer({ types: options.types ?? Object.values(kinds) });
  api.state.create(kinds.namespaces, object("v1 Namespace", "mail", {}, { namespace: undefined }));
  const fleet = startFleet({ api, nats: nats.url });
  const lines: string[] = [];
  const start = async (): Promise<Engine> => {
    const { clock = systemClock } = options;
    const client = createClient({ kubeconfig: api.kubeconfig, clock });
    const engine = createEngine({
      client,
      clock,
      log: logInto(lines),
      podImage: options.podImage ?? "mailboat-pod:test",
      identity: "operator-0",
      hasPodMonitors: false,
      podMonitorLabels: options.podMonitorLabels,
      podMonitorMs: options.types === undefined ? 60_000 : 100,
      namespaces: options.namespaces,
    });
    await engine.stores.whenSynced();
    engine.lead();
    return engine;
  };
  let engine = await start();
  const get = (name: keyof typeof kinds, key: string) => api.state.get(kinds[name], namespace, key);
  return {
    api,
    nats,
    fleet,
    get engine() {
      return engine;
    },
    lines,
    async restartOperator(meanwhile) {
      await engine.stop();
      meanwhile?.();
      engine = await start();
    },
    get,
    conditions: (name, key) =>
      Object.fromEntries(
        storedIn(get(name, key)?.["status"]).map(({ type, status, reason }) => [type, `${status} ${reason}`]),
      ),
    message: (name, key, type) =>
      storedIn(get(name, key)?.["status"]).find((one) => one.type === type)?.message ?? "",
    async [Symbol.asyncDispose]() {
      await engine.stop();
      await fleet[Symbol.asyncDispose]();
      await api[Symbol.asyncDispose]();
      await nats[Symbol.asyncDispose]();
    },
  };
}

function logInto(lines: string[]): Log {
  const at = (level: string) => (verb: string, fields?: object) =>
    void lines.push(`${level} ${verb} ${JSON.stringify(fields ?? {})}`);
  return { debug: at("debug"), info: at("info"), warn: at("warn"), error: at("error") };
}

/** `type` is `apiVersion kind`. */
export function object(type: string, name: string, rest: object, metadata: object = {}): KubeObject {
  const [apiVersion = "", kind = ""] = type.split(" ");
  return { apiVersion, kind, metadata: { name, namespace, ...metadata }, ...rest };
}

const version = "mailboat.dev/v1alpha1";

export function pool(natsUrl: string, spec: object = {}, metadata: object = {}): KubeObject {
  const queue = { servers: [natsUrl], replicas: 1, shards: 2 };
  const whole = { replicas: 2, hostname: "out.example.net", queue, ...spec };
  return object(`${version} SendingPool`, "shared", { spec: whole }, metadata);
}

export function shape(rules: readonly object[] = [rule("any")]): KubeObject {
  return object(`${version} TrafficShape`, "providers", { spec: { rules } });
}

export function rule(name: string, connections = 2): object {
  return { name, match: { domains: ["*"] }, limits: { connections } };
}

export function tenant(name: string, spec: object = {}, metadata: object = {}): KubeObject {
  const whole = {
    poolRef: { name: "shared" },
    state: "Active",
    weight: 1,
    deletionPolicy: "Drain",
    domains: [{ name: `${name}.example` }],
    ...spec,
  };
  return object(`${version} Tenant`, name, { spec: whole }, metadata);
}

const { privateKey } = generateKeyPairSync("ed25519");
export const dkimKey = privateKey.export({ type: "pkcs8", format: "pem" }).toString();

export function secret(name: string, data: Readonly<Record<string, string>>): KubeObject {
  const encoded = Object.fromEntries(
    Object.entries(data).map(([key, value]) => [key, Buffer.from(value).toString("base64")]),
  );
  return object("v1 Secret", name, { type: "Opaque", data: encoded });
}
