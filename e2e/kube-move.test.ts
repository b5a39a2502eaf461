/**
 * Tenants that are moved to another pool by an edit of `poolRef`, on a real cluster: what they have queued in the former pool leaves from there,
 * signed, once; also when the leading operator ends meanwhile, and when they are deleted as they move.
 */
import assert from "node:assert/strict";
import type { TestContext } from "node:test";
import { leaseName } from "#operator/reconcile/kinds.ts";
import { testCertificate } from "#test/kit/certificates.ts";
import { until } from "#test/kit/until.ts";
import { openApi } from "./cluster/api.ts";
import type { Cluster } from "./cluster/cluster.ts";
import { queuedIn } from "./cluster/commands.ts";
import {
  hostOf,
  installChart,
  liveConfiguration,
  type MailScene,
  namespace,
  natsUrl,
  poolObject,
  pool as former,
  serviceIp,
  settledConfiguration,
  startMailScene,
  system,
  tenantObjects,
  tlsObject,
} from "./cluster/mail-scene.ts";
import { clusterTest } from "./cluster/scenario.ts";
import { keyPair, signaturesOf } from "./kit/dkim.ts";
import type { Load } from "./kit/load.ts";

const next = "other";
const nextHost = "other.example.net";
/** Refuses all mail for now, until it is told not to. */
const later = "site6.test";
const refusing = { domains: [later], defer: { code: 451, text: "4.3.0 not now" } };
const open = ["site0.test", "site1.test", "site2.test"];
/** From the edit to the first mail that the new pool takes. */
const movedMs = 10_000;

clusterTest("tenants move from pool to pool", { needs: "full" }, async (t, cluster) => {
  await cluster.loadImages();
  await installChart(cluster);
  const mail = await startMailScene(cluster, { pool: { replicas: 2 }, rules: [refusing] });
  const scene: Scene = {
    cluster,
    mail,
    doors: { [former]: mail.load, [next]: await openNext(cluster, mail) },
  };
  await t.test("what is queued leaves from the pool where it is, the rest from the new one", (t) =>
    move(t, scene),
  );
  await t.test("deleted as they move: both pools are drained, or emptied, before they are gone", (t) =>
    deleted(t, scene),
  );
});

interface Scene {
  readonly cluster: Cluster;
  readonly mail: MailScene;
  /** Of each pool. */
  readonly doors: Readonly<Record<string, MailScene["load"]>>;
}

/** A pool beside the scene's, with the same sites, and a name of its own in EHLO. */
async function openNext(cluster: Cluster, { load }: MailScene): Promise<MailScene["load"]> {
  const servername = hostOf(next);
  const certificate = await testCertificate([servername]);
  // Of the chart's NATS one pool with the defaults reserves two thirds.
  const queue = { servers: [natsUrl], replicas: 1, maxBytesPerShard: 268_435_456 };
  await cluster.apply([tlsObject(next, certificate), poolObject(next, { hostname: nextHost, queue })]);
  await cluster.kubectl(["wait", "-n", namespace, ready, `sendingpool/${next}`, "--timeout=90s"]);
  const door = `${await serviceIp(cluster, `mailboat-${next}`)}:465`;
  const { address } = await cluster.forward(door, { ca: certificate.ca, servername });
  return (wanted) => load({ address: () => address, ...wanted });
}

const ready = "--for=condition=Ready";
const keys = { r1: keyPair("rsa"), e1: keyPair("ed25519") };
const signed = (name: string): string[] => [`e1 pass ${name}.example`, `r1 pass ${name}.example`];

/** Its mail is signed twice. Ready when it resolves. */
async function addTenants(cluster: Cluster, names: Readonly<Record<string, object>>): Promise<void> {
  const objects = Object.entries(names).flatMap(([name, more]) => {
    const secretRef = (key: string) => ({ name: `${name}-dkim`, key });
    const dkim = ["r1", "e1"].map((selector) => ({ selector, secretRef: secretRef(selector) }));
    const stringData = { r1: keys.r1.secret, e1: keys.e1.secret };
    return [
      { apiVersion: "v1", kind: "Secret", metadata: { namespace, name: `${name}-dkim` }, stringData },
      ...tenantObjects(name, { domains: [{ name: `${name}.example`, dkim }], ...more }),
    ];
  });
  await cluster.apply(objects);
  const tenants = Object.keys(names).map((name) => `tenant/${name}`);
  await cluster.kubectl(["wait", "-n", namespace, ready, ...tenants, "--timeout=60s"]);
}

const poolRef = (name: string): object => ({ spec: { poolRef: { name } } });
const pathOf = (tenant: string): string =>
  `/apis/mailboat.dev/v1alpha1/namespaces/${namespace}/tenants/${tenant}`;

async function patchTenant(cluster: Cluster, tenant: string, patch: object): Promise<void> {
  using api = openApi(cluster);
  const { status } = await api.ask("PATCH", pathOf(tenant), patch);
  assert.equal(status, 200);
}

interface Status {
  readonly conditions: readonly { type: string; status: string; reason: string; message: string }[];
}

/** `STATUS REASON: MESSAGE`, "" = there is none. */
async function condition(cluster: Cluster, tenant: string, wanted: string): Promise<string> {
  const { status } = (await cluster.get(["-n", namespace, `tenant/${tenant}`])) as { status: Status };
  const found = status.conditions.find(({ type }) => type === wanted);
  return found === undefined ? "" : `${found.status} ${found.reason}: ${found.message}`;
}

const load = ({ doors }: Scene, pool: string, tenant: string, prefix: string) => {
  const door = doors[pool];
  assert.ok(door !== undefined);
  const own = { user: tenant, from: `news@${tenant}.example`, prefix };
  return {
    /** To the site that refuses. */
    held: (messages: number): Load => door({ ...own, messages, domains: [later] }),
    steady: (): Load => door({ ...own, messages: Infinity, perSecond: 20, connections: 2, domains: open }),
  };
};

const has = (one: Load, count: number) => () => one.accepted.size >= count;

async function setRules({ control }: MailScene, rules: readonly object[]): Promise<void> {
  const headers = { "content-type": "application/json" };
  const put = { method: "PUT", headers, body: JSON.stringify({ rules }) };
  assert.equal((await fetch(`http://${control}/v1/rules`, put)).status, 200);
}

async function move(t: TestContext, scene: Scene): Promise<void> {
  const { cluster, mail } = scene;
  const tenant = "mover";
  await addTenants(cluster, { [tenant]: {} });
  const held = load(scene, former, tenant, "held").held(60);
  await held.done;
  assert.equal(held.accepted.size, 60);
  const before = load(scene, former, tenant, "before").steady();
  const loads = [held, before];
  let inForce = 0;
  try {
    await until("mail to be accepted", has(before, 40), 60_000);
    const movedAt = performance.now();
    await patchTenant(cluster, tenant, poolRef(next));
    const after = load(scene, next, tenant, "after").steady();
    loads.push(after);
    await until("the new pool to take its mail", has(after, 1), 60_000);
    const ms = Math.round(performance.now() - movedAt);
    t.diagnostic(`in the new pool ${ms} ms after the edit`);
    assert.ok(ms < movedMs, `${ms} ms`);
    await until("the former one to refuse it", () => before.refused.length > 0, 30_000);
    before.stop();
    await before.done;
    assert.deepEqual([...new Set(before.refused.map(({ text }) => text.slice(0, 9)))], ["550 5.7.1"]);
    const left = /^True LeftBehind: 6\d messages are queued in the pool mail\/shared$/;
    const isTold = async (): Promise<boolean> => left.test(await condition(cluster, tenant, "Moving"));
    await until("what is left to be told", isTold, 30_000);
    await cluster.kubectl(["wait", "-n", namespace, ready, `tenant/${tenant}`, "--timeout=30s"]);
    inForce = await settledConfiguration(cluster);
    await endLeader(cluster);
    await until("mail to be accepted", has(after, after.accepted.size + 40), 60_000);
    assert.equal(await liveConfiguration(cluster), inForce, "the next leader knows of the move");
    after.stop();
    await after.done;
  } finally {
    for (const one of loads) one.stop();
  }
  assert.equal(await queuedIn(cluster, former), 60);
  await setRules(mail, []);
  const openedAt = performance.now();
  await assertSent(scene, loads, tenant);
  const isOver = async (): Promise<boolean> => (await condition(cluster, tenant, "Moving")) === "";
  await until("the move to be over", isOver, 30_000);
  t.diagnostic(`over ${Math.round(performance.now() - openedAt)} ms after the site took its mail`);
  await until(
    "the former pool to forget it",
    async () => (await liveConfiguration(cluster)) > inForce,
    30_000,
  );
  const accepted = loads.map(({ accepted: { size } }) => size);
  t.diagnostic(`accepted ${accepted.join(" + ")}, lost 0, doubled 0`);
}

/** All of it has come once, from the pool that took it, with both signatures of the tenant; what was refused has not. */
async function assertSent({ mail }: Scene, loads: readonly Load[], tenant: string): Promise<void> {
  const counts = await mail.arrived(loads, 90_000);
  const records = new Map(
    Object.entries(keys).map(([selector, { record }]) => [
      `${selector}._domainkey.${tenant}.example`,
      record,
    ]),
  );
  const messages = await messagesOf(mail, `@${tenant}.example`);
  for (const { accepted, refused } of loads) {
    const ids = [...accepted.keys()];
    assert.deepEqual(
      ids.filter((id) => counts.get(id) !== 1),
      [],
    );
    assert.deepEqual(
      refused.filter(({ id }) => counts.has(id)),
      [],
    );
    for (const id of ids) {
      const message = messages.get(id);
      assert.ok(message !== undefined, id);
      const host = id.startsWith("after") ? nextHost : "out.example.net";
      assert.equal(message.helo, host, id);
      const raw = await (await fetch(`http://${mail.control}/v1/messages/${message.number}`)).arrayBuffer();
      assert.deepEqual(await signaturesOf(Buffer.from(raw), records), signed(tenant), id);
    }
  }
}

interface Message {
  readonly number: number;
  readonly id: string;
  readonly helo: string;
  readonly from: string;
}

/** The last thousand that the provider took, of one sender domain, by id. */
async function messagesOf({ control }: MailScene, domain: string): Promise<Map<string, Message>> {
  const answer = await fetch(`http://${control}/v1/messages?limit=1000`);
  const { messages } = (await answer.json()) as { messages: readonly Message[] };
  const theirs = messages.filter(({ from }) => from.endsWith(domain));
  return new Map(theirs.map((message) => [message.id, message]));
}

/** Another leads when it resolves. */
async function endLeader(cluster: Cluster): Promise<void> {
  const leader = async (): Promise<string> => {
    const { spec } = (await cluster.get(["-n", system, `lease/${leaseName}`])) as {
      spec: { holderIdentity?: string };
    };
    return spec.holderIdentity ?? "";
  };
  const before = await leader();
  await cluster.kubectl(["delete", "pod", "-n", system, before, "--wait=false"]);
  const isAnother = async (): Promise<boolean> => !["", before].includes(await leader());
  await until("another to lead", isAnother, 60_000);
}

async function deleted(t: TestContext, scene: Scene): Promise<void> {
  const { cluster, mail } = scene;
  await setRules(mail, [refusing]);
  await addTenants(cluster, { early: {}, late: {}, dropped: { deletionPolicy: "Discard" } });
  const names = ["early", "late", "dropped"] as const;
  const [early, late, dropped] = names.map((name) => load(scene, former, name, `${name}-`).held(20));
  assert.ok(early !== undefined && late !== undefined && dropped !== undefined);
  await Promise.all([early.done, late.done, dropped.done]);
  for (const name of ["late", "dropped"]) await patchTenant(cluster, name, poolRef(next));
  const after = load(scene, next, "late", "after-late-").held(20);
  await after.done;
  const steady = load(scene, former, "early", "steady-").steady();
  try {
    await until("mail to be accepted", has(steady, 20), 60_000);
    using api = openApi(cluster);
    await api.ask("PATCH", pathOf("early"), poolRef(next));
    for (const name of names) await api.ask("DELETE", pathOf(name));
    // As `helm uninstall` and the like do: the keys go with it.
    const secrets = names.flatMap((name) => [`secret/${name}-dkim`, `secret/${name}-smtp`]);
    await cluster.kubectl(["delete", "-n", namespace, ...secrets]);
    await until("its mail to be refused", () => steady.refused.some(({ code }) => code === 550), 30_000);
  } finally {
    steady.stop();
  }
  await steady.done;
  const gone = (name: string): Promise<string> =>
    cluster.kubectl(["wait", "-n", namespace, "--for=delete", `tenant/${name}`, "--timeout=60s"]);
  await gone("dropped");
  const tells = (name: string, left: RegExp): Promise<unknown> =>
    until(
      `${name} to say what is left`,
      async () => left.test(await condition(cluster, name, "Deleting")),
      30_000,
    );
  await tells(
    "late",
    /^True Draining: 20 messages are queued; 20 messages are queued in the pool mail\/shared$/,
  );
  await tells("early", /^True Draining: 2\d messages are queued in the pool mail\/shared$/);
  await endLeader(cluster);
  await setRules(mail, []);
  const openedAt = performance.now();
  await assertSent(scene, [early, steady], "early");
  await assertSent(scene, [late, after], "late");
  await Promise.all([gone("early"), gone("late")]);
  t.diagnostic(`drained and gone ${Math.round(performance.now() - openedAt)} ms after the site took mail`);
  const counts = await mail.arrivals();
  assert.deepEqual(
    [...dropped.accepted.keys()].filter((id) => counts.has(id)),
    [],
  );
  for (const pool of [former, next]) assert.equal(await queuedIn(cluster, pool), 0, pool);
}
