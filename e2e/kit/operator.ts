/** The real `mailboat operator` on the fake API server, with a pool whose pods answer it over a real NATS: something to look at. */
import { kinds } from "#operator/reconcile/kinds.ts";
import { startFakeApiServer } from "#test/kit/fake-api-server.ts";
import { startTestNats } from "#test/kit/nats-server.ts";
import { startFleet } from "#test/operator/reconcile/fleet.ts";
import { pool, rule, shape, tenant } from "#test/operator/reconcile/world.ts";
import { startOperator } from "./operator-process.ts";

export interface BusyOperator extends AsyncDisposable {
  /** HOST:PORT of its metrics. */
  readonly metrics: string;
  /** Edits the pool's shape: one more configuration for the pods. */
  edit(): void;
}

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
  const operator = opened.use(await startOperator({ kubeconfig: api.kubeconfig }));
  const closing = opened.move();
  let connections = 2;
  return {
    metrics: operator.metrics,
    edit() {
      connections = connections === 2 ? 3 : 2;
      const live = api.state.get(kinds.shapes, "mail", "providers");
      if (live !== undefined)
        api.state.replace(kinds.shapes, { ...live, spec: { rules: [rule("any", connections)] } });
    },
    [Symbol.asyncDispose]: () => closing.disposeAsync(),
  };
}
