/** The real `mailboat operator` on the fake API server, with a pool whose pods answer it over a real NATS: something to look at. */
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { kinds } from "#operator/reconcile/kinds.ts";
import { startFakeApiServer } from "#test/kit/fake-api-server.ts";
import { startTestNats } from "#test/kit/nats-server.ts";
import { until } from "#test/kit/until.ts";
import { startFleet } from "#test/operator/reconcile/fleet.ts";
import { pool, rule, shape, tenant } from "#test/operator/reconcile/world.ts";

export interface BusyOperator extends AsyncDisposable {
  /** HOST:PORT of its metrics. */
  readonly metrics: string;
  /** Edits the pool's shape: one more configuration for the pods. */
  edit(): void;
}

/** Not the launcher, which has a process of its own: what is killed here must be the operator. */
const main = fileURLToPath(new URL("../../operator/cli/main.ts", import.meta.url));
const leases = {
  group: "coordination.k8s.io",
  version: "v1",
  plural: "leases",
  kind: "Lease",
  namespaced: true,
} as const;

export async function startBusyOperator(): Promise<BusyOperator> {
  await using opened = new AsyncDisposableStack();
  const nats = opened.use(await startTestNats());
  const api = opened.use(await startFakeApiServer({ types: [...Object.values(kinds), leases] }));
  opened.use(startFleet({ api, nats: nats.url }));
  const spec = { trafficShapeRefs: [{ name: "providers" }], autoscaling: { minReplicas: 2, maxReplicas: 4 } };
  api.state.create(kinds.shapes, shape());
  api.state.create(kinds.tenants, tenant("acme"));
  api.state.create(kinds.pools, pool(nats.url, spec));
  const ports = ["--bind", "127.0.0.1", "--metrics-port", "0", "--health-port", "0"];
  const args = [
    "operator",
    "--kubeconfig",
    api.kubeconfig,
    "--namespace",
    "mail",
    "--identity",
    "operator-0",
  ];
  const child = spawn(process.execPath, [main, ...args, "--pod-image", "mailboat-pod:test", ...ports], {
    stdio: ["ignore", "ignore", "pipe"],
  });
  const exited = new Promise<void>((resolve) => child.once("close", () => resolve()));
  opened.defer(async () => {
    child.kill("SIGKILL");
    await exited;
  });
  let port: number | undefined;
  const said: string[] = [];
  createInterface({ input: child.stderr }).on("line", (line) => {
    said.push(line);
    port ??= listeningOn(line);
  });
  const metrics = await until("the operator to listen", () => port, 30_000).catch((error: unknown) => {
    throw new Error(`${String(error)}\n${said.join("\n")}`, { cause: error });
  });
  const closing = opened.move();
  let connections = 2;
  return {
    metrics: `127.0.0.1:${metrics}`,
    edit() {
      connections = connections === 2 ? 3 : 2;
      const live = api.state.get(kinds.shapes, "mail", "providers");
      if (live !== undefined)
        api.state.replace(kinds.shapes, { ...live, spec: { rules: [rule("any", connections)] } });
    },
    [Symbol.asyncDispose]: () => closing.disposeAsync(),
  };
}

function listeningOn(line: string): number | undefined {
  if (!line.startsWith("{")) return undefined;
  const { event, metrics } = JSON.parse(line) as { event?: string; metrics?: number };
  return event === "listening" ? metrics : undefined;
}
