import assert from "node:assert/strict";
import { mkdtemp, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import type { Resource, Snapshot } from "#crds/api/v1alpha1/snapshot.ts";
import { poolOf, type TenantSpec } from "#crds/api/v1alpha1/tenant.ts";
import { gatherResources } from "#operator/gather/resources.ts";
import {
  drainingAfter,
  type LocalDraining,
  readFormer,
  withDraining,
  writeTenants,
} from "#operator/local/draining.ts";
import { openStateDir } from "#operator/local/state-dir.ts";

const day = 24 * 3_600_000;
const now = Date.parse("2026-01-01T00:00:00Z");
const nobody: LocalDraining = { tenants: [], secrets: [], namespaces: new Map() };

function snapshotOf(names: readonly string[], state = "Active", pool = "shared"): Snapshot {
  const documents = names.flatMap((name) => [
    {
      apiVersion: "mailboat.dev/v1alpha1",
      kind: "Tenant",
      metadata: { name, namespace: "mail" },
      spec: {
        poolRef: { name: pool },
        state,
        domains: [
          { name: `${name}.example`, dkim: [{ selector: "s1", secretRef: { name: `${name}-dkim` } }] },
        ],
        credentials: [{ name: "app", secretRef: { name: `${name}-smtp` } }],
      },
    },
    {
      apiVersion: "v1",
      kind: "Secret",
      metadata: { name: `${name}-dkim`, namespace: "mail" },
      stringData: { "tls.key": name },
    },
    {
      apiVersion: "v1",
      kind: "Secret",
      metadata: { name: `${name}-smtp`, namespace: "mail" },
      stringData: { username: name, password: "p" },
    },
  ]);
  const { snapshot, issues } = gatherResources(documents.map((value) => ({ source: "files", value })));
  assert.deepEqual(issues, []);
  return snapshot;
}

function bare(tenant: Resource<TenantSpec>) {
  const { metadata, spec } = tenant;
  return { name: metadata.name, pool: poolOf(tenant), state: spec.state, credentials: spec.credentials };
}

test("a tenant that an edit removed refuses new mail, has no login, keeps its keys, and is the youngest", () => {
  const after = snapshotOf(["acme"]);
  const draining = drainingAfter(nobody, { before: snapshotOf(["acme", "leaver"]), after, now });
  const [leaver] = draining.tenants;
  assert.equal(draining.tenants.length, 1);
  assert.equal(leaver?.metadata.name, "leaver");
  assert.equal(leaver?.spec.state, "Reject");
  assert.equal(leaver?.spec.credentials, undefined);
  assert.equal(leaver?.metadata.creationTimestamp, "2026-01-01T00:00:00.000Z");
  assert.deepEqual(
    draining.secrets.map(({ metadata }) => metadata.name),
    ["leaver-dkim"],
  );
});

test("what was on hold stays on hold", () => {
  const { tenants } = drainingAfter(nobody, {
    before: snapshotOf(["a"], "Hold"),
    after: snapshotOf([]),
    now,
  });
  assert.equal(tenants[0]?.spec.state, "Hold");
});

test("a tenant that an edit moved to another pool drains in the one that it left, until it comes back", () => {
  const [here, there] = [snapshotOf(["a"]), snapshotOf(["a"], "Active", "other")];
  const moved = drainingAfter(nobody, { before: here, after: there, now });
  assert.deepEqual(moved.tenants.map(bare), [
    { name: "a", pool: "mail/shared", state: "Reject", credentials: undefined },
  ]);
  const gone = drainingAfter(moved, { before: there, after: snapshotOf([]), now: now + day });
  assert.deepEqual(
    gone.tenants.map((one) => bare(one).pool),
    ["mail/shared", "mail/other"],
    "removed after that, it drains in both",
  );
  const back = drainingAfter(moved, { before: there, after: here, now: now + day });
  assert.deepEqual(
    back.tenants.map((one) => bare(one).pool),
    ["mail/other"],
  );
});

test("a tenant that comes back is itself again, and one that went nine days ago is forgotten", () => {
  const gone = drainingAfter(nobody, { before: snapshotOf(["a"]), after: snapshotOf([]), now });
  const before = { ...snapshotOf([]), draining: gone };
  const still = drainingAfter(gone, { before, after: snapshotOf([]), now: now + 8 * day });
  assert.deepEqual(still.tenants, gone.tenants);
  assert.deepEqual(drainingAfter(still, { before, after: snapshotOf(["a"]), now }), nobody);
  assert.deepEqual(drainingAfter(still, { before, after: snapshotOf([]), now: now + 10 * day }), nobody);
});

test("labels of its namespace are remembered while a tenant drains, after a restart too", async () => {
  const folder = await mkdtemp(join(tmpdir(), "mailboat-test-draining-"));
  try {
    const state = await openStateDir(folder);
    const labels = { mail: "yes" };
    const before = { ...snapshotOf(["a"]), namespaces: new Map([["mail", labels]]) };
    const draining = drainingAfter(nobody, { before, after: snapshotOf([]), now });
    assert.deepEqual([...draining.namespaces], [["mail", labels]]);
    await writeTenants(state, withDraining(snapshotOf([]), draining));
    const former = await readFormer(state);
    const whole = withDraining(
      snapshotOf([]),
      drainingAfter(former.draining, { before, after: before, now }),
    );
    assert.equal(whole.namespaces?.get("mail")?.["mail"], undefined, "nobody drains any more");
    const still = drainingAfter(former.draining, { before: former.snapshot, after: snapshotOf([]), now });
    assert.equal(still.namespaces.get("mail")?.["mail"], "yes");
    const edited = { ...snapshotOf([]), namespaces: new Map([["mail", { mail: "no" }]]) };
    assert.equal(withDraining(edited, still).namespaces?.get("mail")?.["mail"], "no", "the files come first");
    await state.release();
  } finally {
    await rm(folder, { recursive: true });
  }
});

test("what was in force is known after a restart, private, and a broken file is nothing", async () => {
  const folder = await mkdtemp(join(tmpdir(), "mailboat-test-draining-"));
  try {
    const state = await openStateDir(folder);
    const empty = await readFormer(state);
    assert.deepEqual([empty.snapshot.tenants, empty.draining.tenants], [[], []]);
    const after = snapshotOf(["acme"]);
    const moved = drainingAfter(nobody, { before: snapshotOf(["acme"], "Active", "old"), after, now });
    const draining = drainingAfter(moved, { before: snapshotOf(["leaver"]), after, now });
    await writeTenants(state, { ...snapshotOf(["acme"]), draining });
    assert.equal((await stat(state.file("tenants.json"))).mode & 0o077, 0);
    const former = await readFormer(state);
    assert.deepEqual(
      former.snapshot.tenants.map(({ metadata }) => metadata.name),
      ["acme"],
    );
    assert.deepEqual(former.draining.tenants.map(bare), draining.tenants.map(bare));
    // Passwords are not among what is written down.
    assert.deepEqual(
      former.snapshot.secrets.map(({ metadata }) => metadata.name).toSorted((a, b) => (a < b ? -1 : 1)),
      ["acme-dkim", "leaver-dkim"],
    );
    const next = drainingAfter(former.draining, { before: former.snapshot, after: snapshotOf([]), now });
    assert.deepEqual(
      next.tenants.map(({ metadata }) => metadata.name),
      ["acme", "leaver", "acme"],
    );
    await writeFile(state.file("tenants.json"), "{ no");
    assert.deepEqual((await readFormer(state)).snapshot.tenants, []);
    await state.release();
  } finally {
    await rm(folder, { recursive: true });
  }
});
