/** What the operator's account may do is what its README promises, all of it is needed, nothing more works; the pods' accounts may do nothing. */
import assert from "node:assert/strict";
import type { TestContext } from "node:test";
import { until } from "#test/kit/until.ts";
import { type Api, openApi } from "./cluster/api.ts";
import { type Asked, askedBy } from "./cluster/audit.ts";
import type { Cluster } from "./cluster/cluster.ts";
import {
  chartArguments,
  installChart,
  liveConfiguration,
  namespace,
  pool,
  shapeObject,
  startMailScene,
  system,
  tenantObjects,
} from "./cluster/mail-scene.ts";
import { podMonitorKind } from "./cluster/monitoring-kinds.ts";
import { type Call, calls, unusedRights } from "./cluster/rights-cases.ts";
import { promised, type Right, rightsOf, rulesOf, servedKinds } from "./cluster/rights.ts";
import { clusterTest } from "./cluster/scenario.ts";

const operator = `system:serviceaccount:${system}:mailboat-operator`;

clusterTest("rights on a real API server", { needs: "full" }, async (t, cluster) => {
  await cluster.loadImages();
  await cluster.apply([podMonitorKind]);
  await cluster.kubectl([
    "wait",
    "--for=condition=Established",
    "crd/podmonitors.monitoring.coreos.com",
    "--timeout=30s",
  ]);
  await installChart(cluster);
  await startMailScene(cluster, { pool: everything });
  await cluster.apply([{ apiVersion: "v1", kind: "Namespace", metadata: { name: "other" } }]);
  using admin = openApi(cluster);
  const kinds = await servedKinds(admin);
  using nobody = openApi(cluster, await tokenOf(cluster, "other", "default"));
  const common = await rightsOf(nobody, { kinds, namespace: "" });
  const ask = async (api: Api, where: string): Promise<Right[]> => {
    const rights = await rightsOf(api, { kinds, namespace: where });
    return [...rights].filter((right) => !common.has(right)).toSorted();
  };
  const ruled = async (api: Api, where: string): Promise<Right[]> => {
    const ofAll = await rulesOf(nobody, where);
    return [...(await rulesOf(api, where))].filter((right) => !ofAll.has(right)).toSorted();
  };

  await t.test("who has no role may ask about itself, and that is all", () => {
    const self = ["accessreviews", "reviews", "rulesreviews"].map((one) => `selfsubject${one}`);
    assert.deepEqual(
      [...common].map((right) => right.replace(/\w+\.k8s\.io/, "GROUP")).toSorted(),
      self.map((resource) => `create GROUP/${resource}`).toSorted(),
    );
  });
  await t.test("what the operator does in a pool's life is what it has rights for", async (t) => {
    await live(cluster);
    needed(t, await askedBy(cluster.place, operator));
  });
  await t.test("in the whole cluster: the rights of the table, no verb on any kind more", async () => {
    using api = openApi(cluster, await tokenOf(cluster, system, "mailboat-operator"));
    const wide = [...promised("watched"), ...promised("cluster")].toSorted();
    assert.deepEqual(await ask(api, ""), wide);
    assert.deepEqual(await ruled(api, system), [...wide, ...leaseRights].toSorted());
    for (const call of calls({ isWide: true })) await assertCall(api, call);
  });
  await t.test("the pods' account may do nothing, and no pod but the operator's has a token", async () => {
    using api = openApi(cluster, await tokenOf(cluster, namespace, `mailboat-${pool}`));
    for (const where of [namespace, system, "other"]) assert.deepEqual(await ruled(api, where), []);
    await noToken(cluster);
  });
  await t.test("with namespaces of its own: the same there, and nothing elsewhere", async () => {
    await cluster.helm(["upgrade", ...chartArguments, "--set", `watchNamespaces={${namespace}}`]);
    using api = openApi(cluster, await tokenOf(cluster, system, "mailboat-operator"));
    assert.deepEqual(await ask(api, namespace), [...promised("watched")].toSorted());
    assert.deepEqual(await ruled(api, system), leaseRights);
    for (const where of ["other", "kube-system"]) assert.deepEqual(await ruled(api, where), []);
    for (const call of calls({ isWide: false })) await assertCall(api, call);
    const before = await liveConfiguration(cluster);
    await cluster.apply([shapeObject(7)]);
    await until(
      "an edit to be live all the same",
      async () => (await liveConfiguration(cluster)) > before,
      30_000,
    );
  });
});

/** All that a pool can have; what it is made of goes again in `live`. */
const everything = {
  networkPolicy: { enabled: true },
  egress: {
    mode: "Proxy",
    allowDestinations: ["10.0.0.0/8"],
    sources: [{ name: "p0", proxy: { ordinal: 0 } }],
  },
};

const leaseRights: readonly Right[] = [
  "create coordination.k8s.io/leases",
  "get coordination.k8s.io/leases mailboat-operator",
  "update coordination.k8s.io/leases mailboat-operator",
];

async function tokenOf(cluster: Cluster, where: string, account: string): Promise<string> {
  return (await cluster.kubectl(["create", "token", "-n", where, account])).trim();
}

/** Each kind of work once: a tenant comes, changes its login and goes; a child is lost; what a pool has besides is switched off. */
async function live(cluster: Cluster): Promise<void> {
  const wait = ["wait", "-n", namespace, "--timeout=60s"];
  await cluster.apply(tenantObjects("leaving"));
  await cluster.kubectl([...wait, "--for=condition=Ready", "tenant/leaving"]);
  const login = { stringData: { username: "leaving", password: "another one" } };
  await cluster.kubectl(["patch", "-n", namespace, "secret/leaving-smtp", "--patch", JSON.stringify(login)]);
  await cluster.kubectl(["delete", "-n", namespace, `service/mailboat-${pool}-admin`]);
  await cluster.kubectl([...wait, "--for=create", `service/mailboat-${pool}-admin`]);
  await cluster.kubectl(["delete", "-n", namespace, "tenant/leaving", "--timeout=90s"]);
  const plain = { networkPolicy: { enabled: false }, egress: { mode: "PodNetwork", sources: null } };
  const patch = JSON.stringify({ spec: plain });
  await cluster.kubectl(["patch", "-n", namespace, `mpool/${pool}`, "--type=merge", "--patch", patch]);
  for (const kind of ["statefulset", "poddisruptionbudget", "networkpolicy", "service", "secret"])
    await cluster.kubectl([...wait, "--for=delete", `${kind}/mailboat-${pool}-egress`]);
  await cluster.kubectl([...wait, "--for=condition=Ready", `mpool/${pool}`]);
}

/** Nothing was refused; and of the rights, all that nobody used are known and have their reason. */
function needed(t: TestContext, asked: readonly Asked[]): void {
  assert.deepEqual(
    asked.filter(({ code }) => code === 403 || code === 401),
    [],
  );
  const used = new Set(
    asked.flatMap(({ verb, group, resource, code }) => {
      const what = `${group}/${resource}`;
      // An apply that made the object needed both.
      return verb === "patch" && code === 201 ? [`patch ${what}`, `create ${what}`] : [`${verb} ${what}`];
    }),
  );
  const granted = [...promised("watched"), ...promised("cluster"), ...promised("own")];
  const unused = granted.filter((right) => !used.has(right));
  t.diagnostic(`${asked.length} requests, ${granted.length} rights, ${unused.length} of them not used`);
  assert.deepEqual(unused.toSorted(), [...unusedRights.keys()].toSorted());
}

async function assertCall(api: Api, { method, path, body, isAllowed }: Call): Promise<void> {
  const answer = await api.ask(method, path, body);
  const at = `${method} ${path}: ${answer.status} ${String(answer.body["message"])}`;
  if (isAllowed) assert.ok(answer.status < 300, at);
  else assert.equal(answer.status, 403, at);
}

async function noToken(cluster: Cluster): Promise<void> {
  const { items } = (await cluster.get(["pods", "--all-namespaces"])) as {
    items: { metadata: { name: string }; spec: { volumes?: { projected?: { sources: object[] } }[] } }[];
  };
  const withToken = items.filter(({ spec }) =>
    spec.volumes?.some(({ projected }) =>
      projected?.sources.some((one) => Object.hasOwn(one, "serviceAccountToken")),
    ),
  );
  assert.ok(items.length >= 4, "operator, NATS, provider, a pool's pod");
  assert.deepEqual(
    withToken.map(({ metadata }) => metadata.name.replace(/-\w+-\w+$/, "")),
    ["mailboat-operator"],
  );
  const look = `import { existsSync } from "node:fs"; console.log(existsSync("/var/run/secrets/kubernetes.io"));`;
  const exec = [
    "exec",
    "-n",
    namespace,
    `deployment/mailboat-${pool}`,
    "--",
    "node",
    "--input-type=module",
    "--eval",
    look,
  ];
  assert.equal((await cluster.kubectl(exec)).trim(), "false");
}
