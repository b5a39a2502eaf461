/** Which pool a tenant is in while it names one that cannot take it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { compile } from "#operator/compile/compile.ts";
import { documentsOf } from "#operator/gather/documents.ts";
import { gatherResources } from "#operator/gather/resources.ts";

const apiVersion = "mailboat.dev/v1alpha1";
const spec = 'hostname: out.example.net, queue: {servers: ["nats://nats:4222"]}';

function pool(identity: string, more = ""): string {
  const [namespace, name] = identity.split("/");
  return `{apiVersion: ${apiVersion}, kind: SendingPool, metadata: {name: ${name}, namespace: ${namespace}}, spec: {${spec}${more}}}`;
}

/** Where acme is when it names `named` and was in `home`, and what its conditions say of that. */
function placeOf(named: string, home: string | undefined, pools: readonly string[]) {
  const [namespace, name] = named.split("/");
  const acme = `{apiVersion: ${apiVersion}, kind: Tenant, metadata: {name: acme, namespace: shop},
    spec: {poolRef: {namespace: ${namespace}, name: ${name}}, domains: [{name: acme.example}]}}`;
  const { snapshot, issues } = gatherResources(
    documentsOf("in.yaml", [...pools, acme].join("\n---\n")).documents,
  );
  assert.deepEqual(issues, []);
  const homes = new Map(home === undefined ? [] : [["shop/acme", home]]);
  const compiled = compile({ ...snapshot, homes }, { generation: 1 });
  const status = compiled.statuses.find(({ kind }) => kind === "Tenant")?.status;
  const wrong = status?.conditions.filter((one) => one.status !== "True").map(({ reason }) => reason);
  return [compiled.pools.filter(({ tenants }) => tenants.has("shop/acme")).map((one) => one.pool), wrong];
}

const own = pool("shop/own");
const missing = ", trafficShapeRefs: [{name: nowhere}]";
const cases = [
  { named: "shop/own", home: undefined, pools: [own], place: "shop/own" },
  { named: "shop/other", home: "shop/own", pools: [own, pool("shop/other")], place: "shop/other" },
  { named: "shop/othre", home: "shop/own", pools: [own], place: "shop/own", reason: "PoolNotFound" },
  { named: "shop/othre", home: undefined, pools: [own], reason: "PoolNotFound" },
  {
    named: "mail/closed",
    home: "shop/own",
    pools: [own, pool("mail/closed")],
    place: "shop/own",
    reason: "RefNotPermitted",
  },
  { named: "mail/othre", home: "shop/own", pools: [own], place: "shop/own", reason: "RefNotPermitted" },
  {
    named: "shop/broken",
    home: "shop/own",
    pools: [own, pool("shop/broken", missing)],
    place: "shop/own",
    reason: "PoolNotFound",
  },
  // Its own does not let it in any more, is gone, or keeps what its pods run.
  { named: "shop/othre", home: "mail/closed", pools: [own, pool("mail/closed")], reason: "PoolNotFound" },
  { named: "shop/othre", home: "shop/gone", pools: [own], reason: "PoolNotFound" },
  {
    named: "shop/othre",
    home: "shop/broken",
    pools: [own, pool("shop/broken", missing)],
    reason: "PoolNotFound",
  },
];

for (const { named, home = "none", pools, place, reason } of cases)
  test(`compile() of a tenant in ${home} that names ${named} among ${pools.length} pools: ${place ?? "in none"}, ${reason ?? "fine"}`, () => {
    const expected = [place === undefined ? [] : [place], reason === undefined ? [] : [reason]];
    assert.deepEqual(placeOf(named, home === "none" ? undefined : home, pools), expected);
  });
