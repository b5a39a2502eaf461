/** How long a deleted tenant stays: by its queue, its policy, its time, and the 60 s after which nobody could send its mail any more. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { KubeObject } from "#operator/kube/types.ts";
import type { Context } from "#operator/reconcile/context.ts";
import { createDrain } from "#operator/reconcile/drain.ts";
import { createEmptying } from "#operator/reconcile/emptying.ts";
import { keyOf } from "#operator/reconcile/stores.ts";
import { pool, tenant } from "./world.ts";

const deletedAt = "2026-11-29T10:00:00Z";

const readyPod = {
  apiVersion: "v1",
  kind: "Pod",
  metadata: { name: "pod-0" },
  status: { conditions: [{ type: "Ready", status: "True" }] },
};

const deletion = (isOne: boolean) => (isOne ? { deletionTimestamp: deletedAt } : {});

interface Scene {
  /** Messages stored; undefined = NATS is away. */
  stored: number | undefined;
  hasPool: boolean;
  /** What is in force was compiled by this leader. */
  isKnown: boolean;
  /** Its reconciler has come as far as the pool. */
  isFollowed: boolean;
  /** Nobody ever follows it: it is deleted, or this release cannot read it. */
  isPoolDeleted: boolean;
  isPoolUnreadable: boolean;
  /** What is in force comes from after the deletion. */
  isSeen: boolean;
  isNamespaceEnding: boolean;
  /** Of its namespace; undefined = they cannot be read. */
  labels: Record<string, string> | undefined;
  /** Generation that the one pod runs, the tenant is closed from 2 on; undefined = it has not answered yet. */
  running: number | undefined;
  /** Messages stored in another pool, by name: what was left there, or nobody knows of. */
  readonly elsewhere: Map<string, number | undefined>;
  /** Pools of other namespaces, which nobody has followed. */
  readonly foreign: KubeObject[];
  /** Those that the tenant is known to have left. */
  readonly left: Set<string>;
  /** Whether pods take an act. */
  acts: boolean;
  readonly did: string[];
  /** One look, this long after the deletion. */
  look(seconds: number, spec?: object, annotations?: Record<string, string>): Promise<string>;
  /** Seconds until the next one, as the last one has it. */
  again: number;
  /** One look at each of so many other tenants. */
  lookAtOthers(count: number): Promise<void>;
}

function scene(): Scene {
  let seconds = 0;
  const now = () => Date.parse(deletedAt) + seconds * 1000;
  const queueOf = (name: string, stored: () => number | undefined) => ({
    stored: async () => stored(),
    discard: async () => {
      it.did.push(`discard ${name} at ${seconds}`);
      return it.acts;
    },
    purge: async () => {
      it.did.push(`purge ${name} at ${seconds}`);
      return true;
    },
  });
  const queue = queueOf("shared", () => it.stored);
  const known = (key: string) => {
    if (!key.startsWith("mail/")) return undefined;
    const name = key.slice("mail/".length);
    if (name !== "shared") return queueOf(name, () => it.elsewhere.get(name));
    return it.hasPool && it.isFollowed ? queue : undefined;
  };
  const place = () => ({ pool: "mail/shared", since: 2, compiled: {}, isGoing: it.isSeen });
  const poolsThere = () => [...(it.hasPool ? ["shared"] : []), ...it.elsewhere.keys()];
  const fake = {
    clock: { now, monotonic: now },
    log: { info() {} },
    configuration: {
      isKnown: () => it.isKnown,
      tenant: () => (it.hasPool && it.isKnown ? place() : undefined),
      leaver: () => undefined,
      verdict: () => ({ conditions: [] }),
      poolSpec: (key: string) =>
        it.isPoolUnreadable || !key.startsWith("mail/") ? undefined : { spec: { queue: { shards: 2 } } },
      pool: (key: string) => (key === "mail/shared" ? undefined : { generation: 2 }),
      touch: () => void it.did.push(`touch at ${seconds}`),
    },
    formerPools: {
      homes: new Map(),
      of: () => [...it.left].map((name) => `mail/${name}`),
      add: (_: string, key: string) => void it.left.add(key.slice("mail/".length)),
    },
    reports: {
      of: () => ({
        told: new Map(it.running === undefined ? [] : [["pod-0", { report: { generation: it.running } }]]),
      }),
    },
    streams: { known },
    stores: {
      isClusterWide: true,
      get: (name: string, key: string): KubeObject | undefined => {
        if (name === "pools") {
          const foreign = it.foreign.find((one) => keyOf(one) === key);
          const isThere = foreign !== undefined || poolsThere().includes(key.slice("mail/".length));
          const there = foreign ?? pool("nats://nats.example");
          return isThere
            ? { ...there, metadata: { ...there.metadata, ...deletion(it.isPoolDeleted) } }
            : undefined;
        }
        if (it.labels === undefined) return undefined;
        const metadata = { name: "mail", labels: it.labels, ...deletion(it.isNamespaceEnding) };
        return { apiVersion: "v1", kind: "Namespace", metadata };
      },
      values: () => [...poolsThere().map((name) => pool("nats://nats.example", {}, { name })), ...it.foreign],
      podsOf: () => new Map([["Pod/pod-0", readyPod]]),
    },
  };
  const drain = createDrain(fake as unknown as Context, createEmptying(fake as unknown as Context));
  const it: Scene = {
    stored: 5,
    hasPool: true,
    isKnown: true,
    isFollowed: true,
    isPoolDeleted: false,
    isPoolUnreadable: false,
    isSeen: true,
    isNamespaceEnding: false,
    labels: {},
    elsewhere: new Map(),
    foreign: [],
    left: new Set(),
    running: 2,
    acts: true,
    did: [],
    again: 0,
    async lookAtOthers(count) {
      for (let at = 0; at < count; at++)
        await drain.step(tenant(`other-${at}`, {}, { deletionTimestamp: deletedAt }));
    },
    async look(at, spec = {}, annotations = {}) {
      seconds = at;
      const object = tenant("acme", spec, { deletionTimestamp: deletedAt, annotations });
      const step = await drain.step(object);
      it.again = step.kind === "over" ? 0 : step.againMs / 1000;
      return step.kind === "over" ? "over" : `${step.deletion.reason}: ${step.deletion.message}`;
    },
  };
  return it;
}

test("it goes once its queue was seen empty twice, by pods that refuse its mail", async () => {
  const it = scene();
  it.running = 1;
  it.stored = 0;
  assert.equal(await it.look(1), "Draining: not all pods refuse its mail yet");
  assert.equal(await it.look(3), "Draining: not all pods refuse its mail yet");
  it.running = 2;
  assert.equal(await it.look(5), "Draining: 0 messages are queued");
  it.stored = 1;
  assert.equal(await it.look(7), "Draining: 1 messages are queued", "one was on its way");
  it.stored = 0;
  assert.equal(await it.look(9), "Draining: 0 messages are queued");
  assert.equal(await it.look(11), "over");
  assert.deepEqual(it.did, []);
});

test("before a compile has seen the deletion, pods that run what is in force take its mail", async () => {
  const it = scene();
  it.isSeen = false;
  it.stored = 0;
  for (const at of [1, 3, 5]) assert.equal(await it.look(at), "Draining: not all pods refuse its mail yet");
  it.isSeen = true;
  assert.equal(await it.look(7), "Draining: 0 messages are queued");
  assert.equal(await it.look(9), "over");
});

test("a pool that is gone: 60 s, in which it may come back, then nothing can send its mail any more", async () => {
  const it = scene();
  it.hasPool = false;
  assert.equal(await it.look(1), "Draining: its pool is not there");
  assert.equal(await it.look(59), "Draining: its pool is not there");
  assert.equal(await it.look(60), "over");
});

test("a new leader: what it has not compiled, followed or heard yet is not gone, however long the tenant has drained", async () => {
  const it = scene();
  it.isKnown = false;
  it.isFollowed = false;
  it.running = undefined;
  assert.equal(await it.look(3600), "Draining: what is in force is not known yet");
  it.hasPool = false;
  assert.equal(await it.look(3602), "Draining: what is in force is not known yet");
  it.hasPool = true;
  it.isKnown = true;
  assert.equal(await it.look(3604), "Draining: NATS cannot be asked what is queued");
  it.isFollowed = true;
  it.stored = 0;
  for (const at of [3606, 3608, 3610])
    assert.equal(
      await it.look(at),
      "Draining: not all pods refuse its mail yet",
      "a pod that was not heard may take mail",
    );
  it.running = 2;
  assert.equal(await it.look(3612), "Draining: 0 messages are queued");
  assert.equal(await it.look(3614), "over");
});

test("a new leader: a pool that is being deleted, which it never follows, is waited for 60 s", async () => {
  const before = scene();
  before.isPoolDeleted = true;
  assert.equal(
    await before.look(61),
    "Draining: 5 messages are queued",
    "one that was followed can be asked",
  );
  const it = scene();
  it.isPoolDeleted = true;
  it.isFollowed = false;
  assert.equal(await it.look(59), "Draining: its pool is not there");
  assert.equal(await it.look(60), "over");
});

test("a new leader: a pool that it cannot read, and never follows, is waited for until drainTimeout", async () => {
  for (const deletionPolicy of ["Drain", "Discard"]) {
    const it = scene();
    const spec = { drainTimeout: "10m", deletionPolicy };
    it.isFollowed = false;
    assert.equal(
      await it.look(900, spec),
      "Draining: NATS cannot be asked what is queued",
      "not followed yet",
    );
    it.isPoolUnreadable = true;
    assert.equal(await it.look(599, spec), "Draining: NATS cannot be asked what is queued");
    assert.equal(await it.look(600, spec), "over");
  }
});

test("a new leader: a namespace that ends is waited for no longer than 60 s", async () => {
  const it = scene();
  it.isKnown = false;
  it.isFollowed = false;
  it.isNamespaceEnding = true;
  assert.equal(await it.look(59), "Draining: what is in force is not known yet");
  assert.equal(await it.look(60), "over");
});

test("it waits for what it has left in another pool, and for what nobody knew of", async () => {
  const it = scene();
  it.stored = 0;
  it.elsewhere.set("old", 3).set("older", 0);
  it.left.add("old").add("older");
  assert.equal(
    await it.look(1),
    "Draining: 0 messages are queued; 3 messages are queued in the pool mail/old; 0 messages are queued in the pool mail/older",
  );
  assert.equal(await it.look(3), "Draining: 3 messages are queued in the pool mail/old");
  it.elsewhere.set("old", 0);
  await it.look(5);
  it.elsewhere.set("oldest", 1);
  assert.equal(await it.look(7), "Draining: there is mail of it in the pool mail/oldest");
  assert.deepEqual(it.did, ["touch at 7"]);
  assert.equal(await it.look(9), "Draining: 1 messages are queued in the pool mail/oldest");
  it.elsewhere.set("oldest", 0);
  await it.look(11);
  assert.equal(await it.look(13), "over");
});

const foreign = (namespace: string, allowedTenants?: object) =>
  pool("nats://nats.example", allowedTenants === undefined ? {} : { allowedTenants }, { namespace });

test("a pool that cannot be asked may store mail of it for ten minutes, if it lets in its namespace", async () => {
  const it = scene();
  it.stored = 0;
  it.elsewhere.set("away", undefined);
  it.foreign.push(foreign("closed"), foreign("open", { from: "All" }));
  await it.look(1000);
  const said = "Draining: NATS cannot be asked what is queued in the pool mail/away, open/shared";
  assert.equal(await it.look(1002), said, "ten minutes from when only they are waited for");
  assert.equal(await it.look(1601), said);
  assert.equal(await it.look(1602), "over");
  assert.equal(await it.look(1604), "over", "the API server did not take off its finalizer");
  it.elsewhere.set("away", 0);
  it.foreign.pop();
  assert.equal(await it.look(5), "over", "what can be asked has nothing");
});

test("a pool that cannot be asked is waited for no longer than drainTimeout, or the 60 s of one that is being deleted", async () => {
  const it = scene();
  const spec = { drainTimeout: "5m" };
  const open = foreign("open", { from: "All" });
  it.stored = 0;
  it.foreign.push(open);
  await it.look(1, spec);
  assert.match(await it.look(299, spec), /^Draining: NATS cannot be asked/);
  assert.equal(await it.look(300, spec), "over");
  it.isPoolDeleted = true;
  assert.match(await it.look(59), /^Draining: NATS cannot be asked/);
  assert.equal(await it.look(60), "over");
});

test("a pool that lets in by labels, and cannot be asked, keeps it if its namespace has them", async () => {
  for (const [labels, isKept] of [
    [{ team: "mail", tier: "1" }, true],
    [{ team: "web" }, false],
    [undefined, false],
  ] as const) {
    const it = scene();
    it.stored = 0;
    it.labels = labels;
    const selector = { matchLabels: { team: "mail" } };
    it.foreign.push(foreign("labels", { from: "Selector", selector }));
    await it.look(1);
    const said = "Draining: NATS cannot be asked what is queued in the pool labels/shared";
    assert.equal(await it.look(3), isKept ? said : "over");
  }
});

test("Discard drops it in every pool; a pool that was left and is gone is waited for 60 s", async () => {
  const it = scene();
  it.stored = 2;
  it.elsewhere.set("old", 3);
  it.left.add("old");
  const spec = { deletionPolicy: "Discard" };
  await it.look(1, spec);
  assert.deepEqual(it.did, ["discard shared at 1", "discard old at 1"]);
  it.stored = 0;
  it.elsewhere.delete("old");
  await it.look(3, spec);
  assert.equal(await it.look(5, spec), "Draining: its pool is not there");
  assert.equal(await it.look(60, spec), "over");
});

test("looks that follow each other at once are one", async () => {
  const it = scene();
  it.stored = 0;
  for (const at of [1, 1, 1]) assert.equal(await it.look(at), "Draining: 0 messages are queued");
  assert.equal(await it.look(2), "over");
});

test("a namespace that ends: 60 s for what is queued, then it goes and the mail stays parked", async () => {
  const it = scene();
  it.isNamespaceEnding = true;
  assert.equal(await it.look(59), "Draining: 5 messages are queued");
  assert.equal(await it.look(60), "over");
  assert.deepEqual(it.did, []);
});

test("NATS away: it waits, whatever the time, unless its namespace ends", async () => {
  const it = scene();
  it.stored = undefined;
  assert.equal(await it.look(5000, { drainTimeout: "1m" }), "Draining: NATS cannot be asked what is queued");
  it.isNamespaceEnding = true;
  assert.equal(await it.look(5001), "over");
});

test("the end of drainTimeout has the pods drop what is left, again every 15 s", async () => {
  const it = scene();
  const spec = { drainTimeout: "10m" };
  assert.equal(await it.look(599, spec), "Draining: 5 messages are queued");
  assert.deepEqual(it.did, []);
  for (const at of [600, 610, 616])
    assert.equal(await it.look(at, spec), "DrainTimedOut: 5 messages are queued");
  assert.deepEqual(it.did, ["discard shared at 600", "discard shared at 616"]);
});

test("a pool whose pods never refuse its mail keeps it no longer than drainTimeout", async () => {
  const it = scene();
  const spec = { drainTimeout: "10m" };
  it.running = 1;
  it.stored = 0;
  assert.equal(await it.look(300, spec), "Draining: not all pods refuse its mail yet");
  it.stored = 1;
  assert.equal(await it.look(599, spec), "Draining: 1 messages are queued");
  assert.equal(await it.look(600, spec), "DrainTimedOut: 1 messages are queued");
  assert.deepEqual(it.did, ["discard shared at 600"]);
  it.stored = 0;
  assert.equal(await it.look(602, spec), "DrainTimedOut: not all pods refuse its mail yet");
  assert.equal(await it.look(604, spec), "over");
});

test("Discard begins when pods refuse its mail; without pods the store is purged", async () => {
  const it = scene();
  const spec = { deletionPolicy: "Discard" };
  it.running = 1;
  assert.equal(await it.look(1, spec), "Discarding: 5 messages are queued");
  assert.deepEqual(it.did, []);
  it.running = 2;
  it.acts = false;
  await it.look(3, spec);
  assert.deepEqual(it.did, ["discard shared at 3", "purge shared at 3"]);
});

test("skip-drain: it goes at once", async () => {
  assert.equal(await scene().look(0, {}, { "mailboat.dev/skip-drain": "true" }), "over");
});

test("it is looked at the more rarely the longer it takes, and at the end as soon as in the beginning", async () => {
  const it = scene();
  const paces: number[] = [];
  for (const at of [1, 21, 51, 1001, 1061]) {
    await it.look(at);
    paces.push(it.again);
  }
  assert.deepEqual(paces, [2, 2, 5, 60, 60]);
  it.stored = 0;
  assert.equal(await it.look(1071), "Draining: 5 messages are queued", "not due yet");
  assert.equal(it.again, 50);
  assert.equal(await it.look(1071, { deletionPolicy: "Discard" }), "Discarding: 0 messages are queued");
  it.stored = 5;
  await it.look(1073);
  await it.look(2073);
  it.stored = 0;
  assert.equal(await it.look(2133), "Draining: 0 messages are queued");
  assert.equal(it.again, 2);
  assert.equal(await it.look(2135), "over");
});

test("it is looked at when drainTimeout ends, however rarely it was", async () => {
  const it = scene();
  await it.look(1);
  await it.look(580, { drainTimeout: "10m" });
  assert.equal(it.again, 20);
});

test("of many tenants that drain each is looked at more rarely, and their namespace's end is met all the same", async () => {
  const it = scene();
  await it.lookAtOthers(2999);
  await it.look(1);
  assert.equal(it.again, 30, "3000 tenants × 2 shards × 5 ms");
  it.stored = 0;
  assert.equal(await it.look(15), "Draining: 5 messages are queued");
  assert.equal(it.again, 16);
  assert.equal(await it.look(31), "Draining: 0 messages are queued");
  it.isNamespaceEnding = true;
  assert.equal(await it.look(60), "over");
});

test("how much is queued is told anew when it has changed by a tenth", async () => {
  const it = scene();
  it.stored = 1000;
  const told: string[] = [];
  for (const [at, stored] of [1000, 950, 901, 900, 850].entries()) {
    it.stored = stored;
    told.push(await it.look(1 + 2 * at));
  }
  assert.deepEqual(
    told,
    [1000, 1000, 1000, 900, 900].map((count) => `Draining: ${count} messages are queued`),
  );
});
