import assert from "node:assert/strict";
import { createPrivateKey, generateKeyPairSync } from "node:crypto";
import { test } from "node:test";
import { gunzipSync } from "node:zlib";
import fc from "fast-check";
import type { Snapshot } from "#crds/api/v1alpha1/snapshot.ts";
import { canonicalJson, digestOfText } from "#crds/pod-config/encode.ts";
import { defaultTimeouts } from "#crds/pod-config/default-timeouts.ts";
import { maxFileBytes, tenantSlotOf } from "#crds/pod-config/slots.ts";
import { compile } from "#operator/compile/compile.ts";
import { poolFiles } from "#operator/compile/files.ts";
import { readKeyMaterial } from "#operator/compile/key-material.ts";
import { compileShape } from "#operator/compile/rules.ts";
import { documentsOf } from "#operator/gather/documents.ts";
import { drained } from "#operator/gather/drained.ts";
import { gatherResources } from "#operator/gather/resources.ts";

const pool = `apiVersion: mailboat.dev/v1alpha1
kind: SendingPool
metadata: {name: shared, namespace: mail}
spec: {hostname: out.example.net, queue: {servers: ["nats://nats:4222"]}}
`;

function tenant(name: string, rest = ""): string {
  return `apiVersion: mailboat.dev/v1alpha1
kind: Tenant
metadata: {name: ${name}, namespace: mail}
spec: {poolRef: {name: shared}, domains: [{name: ${name}.example}]${rest}}
`;
}

function snapshotOf(...documents: string[]): Snapshot {
  const read = documentsOf("in.yaml", documents.join("---\n"));
  const gathered = gatherResources(read.documents);
  assert.deepEqual([...read.issues, ...gathered.issues], []);
  return gathered.snapshot;
}

function frozen<Value>(value: Value): Value {
  if (typeof value === "object" && value !== null && !ArrayBuffer.isView(value)) {
    Object.freeze(value);
    Object.values(value).forEach(frozen);
  }
  return value;
}

function manifestOf(snapshot: Snapshot, generation = 1) {
  const [compiled] = compile(snapshot, { generation }).pools;
  assert.ok(compiled !== undefined);
  return compiled.manifest;
}

test("compile() never writes into its input", () => {
  const snapshot = frozen(snapshotOf(pool, tenant("b"), tenant("a")));
  assert.equal(compile(snapshot, { generation: 1 }).issues.length, 0);
});

test("compile() gives the same digests for the same resources in any order and generation", () => {
  const documents = [pool, tenant("a"), tenant("b"), tenant("c", ", weight: 3"), tenant("d")];
  const expected = manifestOf(snapshotOf(...documents)).digest;
  fc.assert(
    fc.property(fc.shuffledSubarray(documents, { minLength: 5 }), fc.nat(), (order, generation) => {
      const manifest = manifestOf(snapshotOf(...order), generation);
      assert.equal(manifest.digest, expected);
      assert.equal(manifest.generation, generation);
    }),
    { numRuns: 20 },
  );
});

test("an edit of one tenant changes one slot, and the digest of the manifest", () => {
  const names = Array.from({ length: 200 }, (_, index) => `t${index}`);
  const before = manifestOf(snapshotOf(pool, ...names.map((name) => tenant(name))));
  const after = manifestOf(
    snapshotOf(pool, ...names.map((name) => tenant(name, name === "t7" ? ", weight: 9" : ""))),
  );
  const changed = Object.keys(after.slots).filter((slot) => after.slots[slot] !== before.slots[slot]);
  assert.deepEqual(changed, [tenantSlotOf("mail/t7")]);
  assert.notEqual(after.digest, before.digest);
});

test("poolFiles() holds canonical bytes: each slot's text has the digest in the manifest", () => {
  const [compiled] = compile(snapshotOf(pool, tenant("a"), tenant("b")), { generation: 4 }).pools;
  assert.ok(compiled !== undefined);
  const { config, keys } = poolFiles(compiled);
  assert.equal(keys.size, 0);
  assert.equal(config.get("pool.json")?.toString(), canonicalJson(compiled.manifest));
  for (const [slot, digest] of Object.entries(compiled.manifest.slots)) {
    const file = config.get(`${slot}.json.gz`);
    assert.ok(file !== undefined);
    assert.equal(digestOfText(gunzipSync(file)), digest);
  }
  assert.deepEqual(poolFiles(compiled).config, config);
});

/** Digits that do not compress well, so that a slot fills with few tenants. */
function incompressible(seed: number): string {
  let state = seed + 1;
  return Array.from({ length: 61 }, () => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    return "abcdefghijklmnopqrstuvwxyz0123456789"[(state >>> 16) % 36] ?? "a";
  }).join("");
}

test("a slot that is full refuses its newest tenants with ConfigTooLarge and keeps the others", () => {
  const [one] = snapshotOf(tenant("a")).tenants;
  const [sendingPool] = snapshotOf(pool).pools;
  assert.ok(one !== undefined && sendingPool !== undefined);
  const inSlot: string[] = [];
  for (let index = 0; inSlot.length < 500; index++)
    if (tenantSlotOf(`mail/t${index}`) === "00") inSlot.push(`t${index}`);
  const tenants = inSlot.map((name, at) => {
    const domains = Array.from({ length: 64 }, (_, index) => ({
      name: `${incompressible(at * 64 + index)}.example`,
    }));
    const creationTimestamp = new Date(1_000_000 + at * 1000).toISOString();
    return { ...one, metadata: { ...one.metadata, name, creationTimestamp }, spec: { ...one.spec, domains } };
  });
  const snapshot: Snapshot = { pools: [sendingPool], shapes: [], tenants, secrets: [] };
  const compiled = compile(snapshot, { generation: 1 });
  const refused = compiled.issues.filter(({ reason }) => reason === "ConfigTooLarge").length;
  const [first] = compiled.pools;
  assert.ok(first !== undefined && refused > 0 && refused < 500, `${refused} refused`);
  const kept = first.tenantSlots.get("00")?.tenants.map(({ id }) => id) ?? [];
  assert.equal(kept.length, 500 - refused);
  assert.deepEqual(
    kept.toSorted(),
    inSlot
      .slice(0, kept.length)
      .map((name) => `mail/${name}`)
      .toSorted(),
  );
  const bytes = poolFiles(first).config.get("00.json.gz")?.length ?? 0;
  assert.ok(bytes <= maxFileBytes && bytes > maxFileBytes * 0.9, `${bytes} bytes`);
});

test("a pool whose rules are too large is not compiled and says ConfigTooLarge", () => {
  const domains = Array.from(
    { length: 256 },
    (_, index) => `${incompressible(index)}.${incompressible(-index)}.example`,
  );
  const rules = Array.from(
    { length: 60 },
    (_, index) => `{name: r${index}, match: {domains: [${domains.join(",")}]}}`,
  );
  const shape = `apiVersion: mailboat.dev/v1alpha1
kind: TrafficShape
metadata: {name: big, namespace: mail}
spec: {rules: [${rules.join(",")}]}
`;
  const withShape = pool.replace("spec: {", "spec: {trafficShapeRefs: [{name: big}], ");
  const compiled = compile(snapshotOf(withShape, shape, tenant("a")), { generation: 1 });
  assert.equal(compiled.pools.length, 0);
  assert.deepEqual(
    compiled.issues.map(({ reason }) => reason),
    ["ConfigTooLarge", "PoolNotFound"],
  );
});

test("no condition and no issue holds a username, a password or a key", () => {
  const secret = `apiVersion: v1
kind: Secret
metadata: {name: s, namespace: mail}
stringData: {username: hunter2, password: hunter2, "tls.key": hunter2}
`;
  const credentials = ", credentials: [{name: x, secretRef: {name: s}}]";
  const dkim = tenant("c").replace(
    "{name: c.example}",
    "{name: c.example, dkim: [{selector: s, secretRef: {name: s}}]}",
  );
  const compiled = compile(
    snapshotOf(pool, tenant("a", credentials), tenant("b", credentials), dkim, secret),
    {
      generation: 1,
    },
  );
  assert.equal(compiled.issues.length, 2);
  assert.doesNotMatch(JSON.stringify([compiled.issues, compiled.statuses]), /hunter2/);
});

test("readKeyMaterial() reads an ed25519 seed as 32 raw bytes too, and refuses rsa-pss and what is no key", () => {
  const seed = readKeyMaterial(Buffer.alloc(32, 7));
  assert.ok(seed.ok && seed.algorithm === "ed25519");
  const pss = generateKeyPairSync("rsa-pss", { modulusLength: 1024 }).privateKey;
  const refusedPss = readKeyMaterial(Buffer.from(pss.export({ type: "pkcs8", format: "pem" })));
  assert.deepEqual(refusedPss, { ok: false, got: "a key of type rsa-pss" });
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
      const isSeed = bytes.length === 32;
      assert.equal(readKeyMaterial(bytes).ok, isSeed);
    }),
  );
});

test("readKeyMaterial() takes an ed25519 key in each of its forms for the one that OpenSSL takes it for", () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 32, maxLength: 32 }), (seed) => {
      const raw = readKeyMaterial(seed);
      assert.ok(raw.ok);
      const key = createPrivateKey({ key: Buffer.from(raw.der, "base64"), format: "der", type: "pkcs8" });
      const pem = key.export({ type: "pkcs8", format: "pem" });
      const forms = [
        key.export({ type: "pkcs8", format: "der" }),
        Buffer.from(pem),
        Buffer.from(`\n${pem.toString().replaceAll("\n", "\r\n")}\n`),
        Buffer.from(`${Buffer.from(seed).toString("base64")}\n`),
      ];
      for (const form of forms) assert.deepEqual(readKeyMaterial(form), raw);
    }),
    { numRuns: 50 },
  );
});

test("a rule without time-outs waits as a site without a rule does, and as RFC 5321 4.5.3.2 asks", () => {
  const rule = { name: "all", match: { domains: ["*"] } };
  const compiled = compileShape({
    source: "in.yaml",
    metadata: { namespace: "mail", name: "s" },
    spec: { rules: [rule] },
  });
  const minute = 60_000;
  assert.deepEqual(compiled[0]?.timeouts, {
    connectMs: minute,
    bannerMs: 5 * minute,
    commandMs: 5 * minute,
    dataMs: 3 * minute,
    finalMs: 10 * minute,
  });
  assert.deepEqual(compiled[0]?.timeouts, defaultTimeouts);
});

test("a Secret that is gone is there for tenants that are going, and for nobody else", () => {
  const key = "MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTI=";
  const signed = (name: string) =>
    tenant(name).replace(
      `{name: ${name}.example}`,
      `{name: ${name}.example, dkim: [{selector: s1, secretRef: {name: keys}}]}`,
    );
  const snapshot = snapshotOf(pool, signed("stays"), signed("goes"));
  const secrets = [
    {
      source: "Secret mail/keys",
      metadata: { name: "keys", namespace: "mail" },
      data: new Map([["tls.key", Buffer.from(key)]]),
    },
  ];
  const tenants = snapshot.tenants.map((one) =>
    one.metadata.name === "goes" ? drained(one, "2026-01-01T00:00:00Z") : one,
  );
  const { pools, issues } = compile(
    { ...snapshot, tenants, draining: { tenants: [], secrets } },
    { generation: 1 },
  );
  const signers = [...(pools[0]?.keySlots.values() ?? [])].flatMap(({ dkim }) =>
    dkim.map((one) => one.tenant),
  );
  assert.deepEqual(signers, ["mail/goes"]);
  assert.deepEqual(
    issues.map(({ source, reason }) => `${source} ${reason}`),
    ["in.yaml[doc 2] Tenant mail/stays SecretNotFound"],
  );
});

test("a tenant that is going takes no domain from anybody, younger or older, and keeps its own to sign with", () => {
  const mine = (name: string, created: string) =>
    tenant(name)
      .replace(`{name: ${name}, `, `{name: ${name}, creationTimestamp: "${created}", `)
      .replace(`${name}.example`, "shared.example");
  const { tenants, ...rest } = snapshotOf(
    pool,
    mine("older", "2026-01-01T00:00:00Z"),
    mine("goes", "2025-01-01T00:00:00Z"),
  );
  const going = tenants.map((one) =>
    one.metadata.name === "goes" ? drained(one, "2026-02-01T00:00:00Z") : one,
  );
  const younger = snapshotOf(pool, mine("younger", "2026-03-01T00:00:00Z")).tenants;
  const domainsOf = (snapshot: Snapshot) =>
    [...(compile(snapshot, { generation: 1 }).pools[0]?.tenants.values() ?? [])]
      .map(({ config }) => `${config.id} ${config.domains.length}`)
      .toSorted();
  assert.deepEqual(domainsOf({ ...rest, tenants: going }), ["mail/goes 1", "mail/older 1"]);
  const goes = going.filter(({ metadata }) => metadata.name === "goes");
  assert.deepEqual(domainsOf({ ...rest, tenants: [...goes, ...younger] }), ["mail/goes 1", "mail/younger 1"]);
});

test("a tenant that drains in a pool is no tenant of it: nothing is said of it, nobody is trusted in its name", () => {
  const trusting = pool.replace(
    "spec: {",
    "spec: {listeners: [{name: smtp, trust: [{cidr: 10.0.0.0/8, tenantRef: {name: left}}]}], ",
  );
  const snapshot = snapshotOf(trusting, tenant("stays"));
  const [left] = snapshotOf(tenant("left")).tenants;
  assert.ok(left !== undefined);
  const draining = { tenants: [drained(left, "2026-02-01T00:00:00Z")], secrets: [] };
  const { pools, statuses, issues } = compile({ ...snapshot, draining }, { generation: 1 });
  const [compiled] = pools;
  assert.deepEqual([...(compiled?.tenants.keys() ?? [])], ["mail/stays"]);
  assert.deepEqual([...(compiled?.draining.keys() ?? [])], ["mail/left"]);
  const inSlots = [...(compiled?.tenantSlots.values() ?? [])].flatMap(({ tenants }) => tenants);
  assert.deepEqual(inSlots.map(({ id, state }) => `${id} ${state}`).toSorted(), [
    "mail/left Reject",
    "mail/stays Active",
  ]);
  assert.deepEqual(
    statuses.map(({ kind, name, status }) => `${kind} ${name} ${String(status["tenants"])}`),
    ["SendingPool shared 1", "Tenant stays undefined"],
  );
  assert.deepEqual(
    issues.map(({ reason }) => reason),
    ["TenantNotFound"],
  );
});

test("a tenant that is going is refused whatever becomes of its queue: one on Hold says so, and nobody is trusted in its name", () => {
  const trusting = pool.replace(
    "spec: {",
    "spec: {listeners: [{name: smtp, trust: [{cidr: 10.0.0.0/8, tenantRef: {name: held}}]}], ",
  );
  const states = ["Active", "Hold", "Reject"] as const;
  const named = { Active: "active", Hold: "held", Reject: "rejected" };
  const { tenants, ...rest } = snapshotOf(
    trusting,
    ...states.map((state) => tenant(named[state], `, state: ${state}`)),
  );
  const ofPool = (all: Snapshot["tenants"]) => {
    const { pools, issues } = compile({ ...rest, tenants: all }, { generation: 1 });
    const configs = [...(pools[0]?.tenants.values() ?? [])].map(({ config }) => config);
    return {
      tenants: configs.map(({ id, state, isGoing }) => `${id} ${state} ${String(isGoing)}`).toSorted(),
      trust: pools[0]?.manifest.trust.length,
      issues: issues.map(({ reason }) => reason),
    };
  };
  assert.deepEqual(ofPool(tenants), {
    tenants: ["mail/active Active undefined", "mail/held Hold undefined", "mail/rejected Reject undefined"],
    trust: 1,
    issues: [],
  });
  assert.deepEqual(ofPool(tenants.map((one) => drained(one, "2026-01-01T00:00:00Z"))), {
    tenants: ["mail/active Reject undefined", "mail/held Hold true", "mail/rejected Reject undefined"],
    trust: 0,
    issues: ["TenantNotFound"],
  });
});
