/** What a new leader reads back of what was written, with as few reads as there are slots. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { gzipSync } from "node:zlib";
import { podConfigVersion } from "#crds/pod-config/schema.ts";
import { keySlotOf, slotFile, tenantSlotOf } from "#crds/pod-config/slots.ts";
import { poolOf } from "#crds/api/v1alpha1/tenant.ts";
import { createObjectGatherer } from "#operator/gather/objects.ts";
import { systemClock } from "#operator/kube/clock.ts";
import type { KubeObject, ObjectRef } from "#operator/kube/types.ts";
import { createFormerPools } from "#operator/reconcile/former-pools.ts";
import { createInheritance } from "#operator/reconcile/inheritance.ts";
import { marks } from "#operator/reconcile/kinds.ts";
import { childNames } from "#operator/resources/object.ts";
import { createSecretValues } from "#operator/reconcile/secrets.ts";
import { object, pool, tenant } from "./world.ts";

const log = { debug() {}, info() {}, warn() {}, error() {} };

/** A leader's memory, over tenants in the pool mail/shared whose keys were written and whose Secret is gone. */
function leaderOver(tenants: KubeObject[]) {
  const reads: string[] = [];
  const slots = new Map<string, object[]>();
  for (const { metadata } of tenants) {
    const id = `mail/${metadata.name}`;
    const key = { tenant: id, domain: `${metadata.name}.example`, selector: "s1", algorithm: "ed25519" };
    const der = Buffer.from(`key of ${metadata.name}`).toString("base64");
    slots.set(keySlotOf(id), [...(slots.get(keySlotOf(id)) ?? []), { ...key, der }]);
  }
  const secretOf = (slot: string): KubeObject => {
    const value = { version: podConfigVersion, credentials: [], dkim: slots.get(slot) ?? [] };
    const data = { [slotFile(slot)]: gzipSync(JSON.stringify(value)).toString("base64") };
    return object("v1 Secret", `mailboat-shared-keys-${Number(slot)}`, { data });
  };
  const client = {
    async get(_: unknown, { name }: ObjectRef) {
      reads.push(name);
      return secretOf(String(name.split("-").at(-1)).padStart(3, "0"));
    },
  };
  const stores = {
    get: () => undefined,
    values: (name: string) => (name === "pools" ? [pool("nats://nats.example")] : tenants),
    childrenOf: () =>
      new Map([[`ConfigMap/${childNames.configSlot("shared", 0)}`, object("v1 ConfigMap", "", {})]]),
  };
  const secrets = createSecretValues({ clock: systemClock, stores, client, log, onRead() {} });
  const formerPools = createFormerPools(() => 0);
  const gatherer = createObjectGatherer();
  const inheritance = createInheritance({ stores, gatherer, client, secrets, formerPools, log });
  return { reads, secrets, formerPools, gatherer, inheritance };
}

function going(name: string): KubeObject {
  const dkim = [{ selector: "s1", secretRef: { name: "keys", key: name } }];
  const metadata = {
    uid: name,
    deletionTimestamp: "2026-11-29T10:00:00Z",
    finalizers: [marks.finalizer],
  };
  return tenant(name, { domains: [{ name: `${name}.example`, dkim }] }, metadata);
}

test("going tenants that share a Secret each keep their key of it, and a slot is read once", async () => {
  const names = Array.from({ length: 600 }, (_, index) => `t${index}`);
  const leader = leaderOver(names.map(going));
  await leader.inheritance.takeMoves();
  await leader.inheritance.takeKeys();
  const [secret, ...others] = leader.secrets.former(new Set(["mail/keys"]));
  assert.equal(others.length, 0);
  const data = [...(secret?.data ?? [])].map(([key, value]) => `${key}: ${Buffer.from(value).toString()}`);
  assert.deepEqual(data.toSorted(), names.map((name) => `${name}: key of ${name}`).toSorted());
  assert.equal(leader.reads.length, new Set(leader.reads).size);
});

const finalizers = [marks.finalizer];

test("a move that is made while a new leader reads is one", async () => {
  const tenants = [tenant("acme", {}, { uid: "a", generation: 1, finalizers })];
  const leader = leaderOver(tenants);
  const taken = leader.inheritance.takeMoves();
  const moved = tenant("acme", { poolRef: { name: "other" } }, { uid: "a", generation: 2, finalizers });
  tenants.splice(0, 1, moved);
  await taken;
  const parsed = leader.gatherer.tenant(moved);
  const leavers = leader.formerPools.leavers(parsed === undefined ? [] : [parsed]);
  assert.deepEqual(leavers.map(poolOf), ["mail/shared"]);
});

test("who has left which pool is read once; keys also of who was deleted since", async () => {
  const inSlot = Array.from({ length: 200 }, (_, index) => `t${index}`).find(
    (name) => tenantSlotOf(`mail/${name}`) === "00",
  );
  assert.ok(inSlot !== undefined);
  const tenants = [tenant(inSlot, { poolRef: { name: "other" } }, { uid: "b", finalizers })];
  const leader = leaderOver(tenants);
  for (let again = 0; again < 3; again++) await leader.inheritance.takeMoves();
  assert.deepEqual(leader.reads, ["mailboat-shared-config-0"]);
  tenants.splice(0, 1, going(inSlot));
  await leader.inheritance.takeKeys();
  assert.deepEqual(
    leader.secrets.former(new Set(["mail/keys"])).map(({ data }) => [...data.keys()]),
    [[inSlot]],
  );
});
