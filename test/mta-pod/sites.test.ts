import assert from "node:assert/strict";
import { test } from "node:test";
import type { StateRecord } from "#crds/wire/state-record.ts";
import { shardOf } from "#crds/wire/subject.ts";
import type { Pod } from "#mta-pod/pod.ts";
import type { SiteRoute } from "#mta-pod/route/router.ts";
import { silentLog } from "#mta-pod/runtime/log.ts";
import { createScheduler } from "#mta-pod/schedule/scheduler.ts";
import type { Dispatch, Lane } from "#mta-pod/schedule/types.ts";
import { createSites } from "#mta-pod/sites.ts";
import type { Publisher, Stored } from "#mta-pod/spool/publisher.ts";
import { envelope } from "#test/kit/spool.ts";
import { until } from "#test/kit/until.ts";

const shards = 8;
const route: SiteRoute = { id: "mx:new", label: "mx", provider: "mx", rule: null, hops: [] };
const target = shardOf(route.id, shards);
const body = Buffer.from("Subject: x\r\n\r\n");

type Published = Parameters<Publisher["store"]>[0];

interface Circumstances {
  readonly rules?: readonly unknown[];
  readonly found?: SiteRoute;
  readonly tenureOf?: () => number;
  readonly mayProceed?: () => boolean;
  /** Default: the scheduler knows all. */
  readonly knowsSite?: (site: string) => boolean;
}

/** A pod that notes what is asked of its scheduler and spool, in order. */
function world(answer: Stored, { rules = [], found, ...more }: Circumstances = {}) {
  const done: string[] = [];
  const published: Published[] = [];
  const note = (what: string) => () => void done.push(what);
  const pod = {
    clock: { now: () => 1000, monotonic: () => 1000 },
    log: silentLog,
    router: { route: async () => ({ kind: "site", site: found ?? route }) },
    config: () => ({ manifest: { rules, egress: { sources: [] } } }),
    scheduler: {
      finish: note("finish"),
      settle: note("settle"),
      defer: note("defer"),
      requeue: note("requeue"),
      relane: (_handle: number, lane: Lane) => void done.push(`relane${senderOf(lane)}`),
      setSite: () => {},
      entryOf: () => ({}),
      knowsSite: more.knowsSite ?? ((): boolean => true),
    },
    publisher: {
      store(entry: Published, said: (s: Stored) => void) {
        published.push(entry);
        said(answer);
      },
    },
    entries: {
      remove(_entry: unknown, removed: () => void) {
        done.push("entry removed");
        removed();
      },
    },
    states: {
      remove: note("state removed"),
      async write(_shard: number, _seq: number, { record }: { record: StateRecord }) {
        done.push(`noted: ${record.moving?.open.join()} to ${record.moving?.site}`);
        return { kind: "written", stateSeq: 13 };
      },
    },
    settled: { was: () => false, note: note("mail settled") },
    ownership: { mayProceed: more.mayProceed ?? ((): boolean => true) },
  } as unknown as Pod;
  const sites = createSites(pod, { shards, wake: () => {}, met: () => {}, ...unsliced, ...more });
  return { sites, done, published };
}

const unsliced = {
  isAwaited: () => false,
  tenureOf: () => 1,
  slicing: { isOpen: () => true, changedAt: () => undefined },
  spent: () => {},
};

function senderOf({ senderDomain }: Lane): string {
  return senderDomain === undefined ? "" : ` to @${senderDomain}`;
}

function dispatchIn(shard: number): Dispatch {
  const entry = { shard, seq: 7, idHash: 1, size: 1, receivedAt: 0, expiresAt: 9e12, due: 5, attempt: 2 };
  const lane = { site: "old", tenant: "mail/acme", class: "bulk" } as const;
  return { handle: 1, entry, lane, source: "default", connection: "open" };
}

const found = {
  envelope: envelope({ to: ["has@b.example", "open@b.example"] }),
  body,
  open: [1],
  stateSeq: 12,
  subject: "mb.q",
  leaseSeq: 5,
  last: "",
  started: 0,
};
const stored: Stored = { kind: "stored", seq: 1, duplicate: false, bodyChunks: 0, subject: "mb.q" };

test("rehome() to another shard notes it, takes only the open recipients along, then deletes entry and state, in this order", async () => {
  const { sites, done, published } = world(stored);
  let ended = 0;
  sites.rehome(dispatchIn((target + 1) % shards), found, { route, ended: () => ended++ });
  await until("its rest", () => ended > 0);
  const [moved] = published;
  assert.equal(published.length, 1);
  assert.equal(moved?.shard, target);
  assert.match(moved?.messageId ?? "", new RegExp(`^mv:${(target + 1) % shards}:7:\\w+$`));
  assert.deepEqual(moved?.envelope.to, ["open@b.example"]);
  assert.deepEqual(
    [moved?.envelope.site, moved?.envelope.moves, moved?.envelope.attempt, moved?.envelope.due],
    ["mx:new", 1, 2, 5],
  );
  assert.deepEqual(done, [
    "finish",
    "noted: 1 to mx:new",
    "mail settled",
    "entry removed",
    "settle",
    "state removed",
  ]);
  assert.equal(ended, 1);
});

for (const [moves, waits] of [
  [2, 0],
  [3, 15_000],
  [5, 60_000],
  [400, 600_000],
] as const)
  test(`rehome() after ${moves} moves waits ${waits / 1000} s in its new shard: no other may send it`, async () => {
    const { sites, published } = world(stored);
    const often = { ...found, envelope: { ...found.envelope, moves } };
    sites.rehome(dispatchIn((target + 1) % shards), often, { route, ended: () => {} });
    await until("its copy", () => published.length > 0);
    assert.equal(published[0]?.envelope.due, waits === 0 ? 5 : 1000 + waits);
    assert.equal(published[0]?.envelope.moves, moves + 1);
  });

test("rehome() that cannot be stored keeps the entry for later", async () => {
  const { sites, done } = world({ kind: "refused", reason: "unavailable" });
  let ended = 0;
  sites.rehome(dispatchIn((target + 1) % shards), found, { route, ended: () => ended++ });
  await until("its rest", () => ended > 0);
  assert.deepEqual(done, ["finish", "noted: 1 to mx:new", "defer"]);
  assert.equal(ended, 1);
});

test("rehome() is repeated while the shard is ours, waits when that is lost, and never goes on after somebody else has had it", async () => {
  let isOurs = true;
  let tenure = 1;
  const { sites, published } = world(stored, { mayProceed: () => isOurs, tenureOf: () => tenure });
  sites.rehome(dispatchIn((target + 1) % shards), found, { route, ended: () => {} });
  await until("its copy", () => published.length > 0);
  const told = [published[0]?.repeats?.()];
  isOurs = false;
  told.push(published[0]?.repeats?.());
  isOurs = true;
  told.push(published[0]?.repeats?.());
  tenure = 2;
  told.push(published[0]?.repeats?.());
  assert.deepEqual(told, ["now", "later", "now", "never"]);
});

test("rehome() within the shard only changes the lane", () => {
  const { sites, done, published } = world(stored);
  let ended = 0;
  sites.rehome(dispatchIn(target), found, { route, ended: () => ended++ });
  assert.deepEqual(done, ["finish", "requeue", "relane"]);
  assert.deepEqual(published, []);
  assert.equal(ended, 1);
});

test("a site is not given the limits of another one to which a domain of it has gone", async () => {
  const limitsOf = (connections: number): SiteRoute["rule"] =>
    ({ name: "r", limits: { connections, messagesPerSecond: 1 }, retry: {} }) as SiteRoute["rule"];
  const old = { ...route, id: "old", rule: limitsOf(2) };
  const given: [site: string, config: unknown][] = [];
  const scheduler = {
    knowsSite: () => given.length > 0,
    setSite: (site: string, config: unknown) => void given.push([site, config]),
  };
  const router = { route: async () => ({ kind: "site", site: { ...route, rule: limitsOf(50) } }) };
  const pod = { clock: { now: () => 1000 }, log: silentLog, router, scheduler } as unknown as Pod;
  const woken = Promise.withResolvers<void>();
  const sites = createSites(pod, {
    shards,
    wake: woken.resolve,
    met: () => {},
    ...unsliced,
  });
  sites.laneOf(envelope({ site: "old", to: ["somebody@gone.example"] }));
  await woken.promise;
  assert.deepEqual(given.at(-1), ["old", { retryAt: 1000 }]);
  // Another domain has stayed.
  sites.found("old", old, "stayed.example");
  assert.deepEqual(given.at(-1), ["old", { limits: { connections: 2, messagesPerSecond: 1 } }]);
});

const shared: SiteRoute = {
  ...route,
  id: "provider",
  rule: {
    name: "provider",
    limits: { connections: 2, messagesPerSecond: 1 },
  } as unknown as SiteRoute["rule"],
};

/** A provider's site, 50 mails for one customer of it in its queue, and another customer's domain, met first, with trouble of its own. */
async function providerWith(trouble: unknown) {
  const now = { at: 1_700_000_000_000 };
  const scheduler = createScheduler({ random: () => 0.5, sources: [{ name: "default", weight: 1 }] });
  scheduler.setTenants(new Map([["mail/acme", { weight: 1, held: false }]]), now.at);
  const routes = new Map<string, unknown>();
  const pod = {
    clock: { now: () => now.at, monotonic: () => now.at },
    log: silentLog,
    router: { route: async (domain: string) => routes.get(domain) ?? { kind: "site", site: shared } },
    config: () => ({ manifest: { rules: [shared.rule], egress: { sources: [{ name: "default" }] } } }),
    scheduler,
  } as unknown as Pod;
  const sites = createSites(pod, { shards, wake: () => {}, met: () => {}, ...unsliced });
  const entry = { ...dispatchIn(0).entry, due: 0, attempt: 0 };
  const add = (domain: string, seq: number) => {
    const mail = envelope({ site: shared.id, tenant: "mail/acme", to: [`u@${domain}`] });
    scheduler.add(sites.laneOf(mail), { ...entry, seq }, now.at);
  };
  add("first.example", 1);
  await Promise.resolve();
  for (let seq = 2; seq < 50; seq++) add("other.example", seq);
  routes.set("first.example", trouble);
  return {
    async edit() {
      sites.refresh();
      await Promise.resolve();
      await Promise.resolve();
    },
    /** What may leave within `ms`. */
    pass(ms: number): number {
      now.at += ms;
      let sent = 0;
      for (;;) {
        const step = scheduler.next(now.at);
        if (step.kind !== "dispatch") return sent;
        sent++;
        const { handle } = step.dispatch;
        sites.found(shared.id, shared, "other.example");
        scheduler.finish(handle, { feedback: "good", connection: "kept" }, now.at);
        scheduler.settle(handle);
      }
    },
  };
}

const troubles = {
  "is gone": { kind: "refused", reply: { code: 550, enhanced: "5.1.2", text: "no such domain" } },
  "has no DNS": { kind: "unknown", text: "SERVFAIL" },
};

for (const [name, trouble] of Object.entries(troubles))
  test(`an edit while the domain by which a site was met ${name} leaves the others their limits, and holds none of them up`, async () => {
    const { edit, pass } = await providerWith(trouble);
    assert.equal(pass(0), 1);
    let sent = 0;
    for (let second = 0; second < 20; second++) {
      await edit();
      const now = pass(1100);
      assert.ok(now <= 1, `${now} at once of 1/s`);
      sent += now;
    }
    assert.ok(sent >= 15, `${sent} in 22 s of 1/s`);
  });

const limits = { connections: 10, perSenderDomain: { messagesPerSecond: 1 } };
const bySender = { ...route, id: "old", rule: { limits } } as unknown as SiteRoute;
const mail = envelope({ site: "old", tenant: "mail/acme", class: "bulk", from: "bounce@News.Acme.example" });

test("laneOf() tells the sender's domain where limits ask for it, and where they may once the site is known", async () => {
  const { sites } = world(stored, { rules: [{ limits }], found: { ...route, id: "old" } });
  sites.refresh();
  assert.equal(sites.laneOf(mail).senderDomain, "news.acme.example");
  await Promise.resolve();
  assert.equal(sites.laneOf(mail).senderDomain, undefined, "its limits are known, and do not ask");
  const asking = world(stored, { rules: [{ limits }], found: bySender });
  asking.sites.refresh();
  asking.sites.laneOf(mail);
  await Promise.resolve();
  assert.equal(asking.sites.laneOf(mail).senderDomain, "news.acme.example");
  assert.equal(asking.sites.laneOf({ ...mail, from: "" }).senderDomain, "");
  const silent = world(stored);
  silent.sites.refresh();
  assert.equal(silent.sites.laneOf(mail).senderDomain, undefined, "no rule asks");
});

test("sortIn() takes an entry of before an edit to its sender's lane, and leaves every other alone", () => {
  const { sites, done } = world(stored, { rules: [{ limits }] });
  sites.refresh();
  sites.found("old", bySender, "b.example");
  const early = dispatchIn(0);
  assert.equal(sites.sortIn(early, mail), true);
  assert.deepEqual(done, ["finish", "requeue", "relane to @news.acme.example"]);
  assert.equal(sites.sortIn({ ...early, lane: { ...early.lane, senderDomain: "" } }, mail), false);
  assert.equal(sites.sortIn({ ...early, lane: { ...early.lane, site: "other" } }, mail), false);
});

test("a site that the scheduler has forgotten is forgotten when others are met; one that it knows is not", () => {
  let now = 0;
  const { sites } = world(stored, {
    knowsSite: (site) => site === "busy" || site === `site ${now}` || site === `site ${now - 1}`,
  });
  const meet = (site: string): void => void sites.laneOf(envelope({ site, to: ["a@b.example"] }));
  meet("busy");
  for (now = 0; now < 100; now++) meet(`site ${now}`);
  const known = Array.from({ length: 100 }, (_, at) => `site ${at}`).filter(
    (site) => sites.providerOf(site) !== "other",
  );
  assert.ok(known.length <= 4, known.join());
  assert.equal(sites.providerOf("busy"), "busy");
});
