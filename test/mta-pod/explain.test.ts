import assert from "node:assert/strict";
import { test } from "node:test";
import { maxListed, maxPeerAnswerBytes } from "#crds/wire/peer.ts";
import { idHashOf } from "#crds/wire/state-record.ts";
import { createExplain, type Explain } from "#mta-pod/explain.ts";
import type { Parents } from "#mta-pod/parents.ts";
import { createUnsplitActs } from "#mta-pod/unsplit-acts.ts";
import { createScheduler } from "#mta-pod/schedule/scheduler.ts";
import type { Scheduler } from "#mta-pod/schedule/types.ts";
import type { Suspension } from "#mta-pod/spool/suspensions.ts";

const now = 1_700_000_000_000;
const id = "01hf7yat00bn7qs6xtx0001dbf";
/** Of 61 s later. */
const laterId = "01hf7ycnj8493vd63re0001crz";
const received = { time: now, id, type: "received", tenant: "mail/a", pool: "mail/p", pod: "pod-0" } as const;

interface Scene {
  readonly explain: Explain;
  readonly scheduler: Scheduler;
  /** What pod 0 says when it is asked. */
  ask(kind: string, query: unknown): Promise<unknown>;
}

interface SceneOptions {
  /** What the event stream knows. */
  readonly events?: readonly object[];
  /** What every stored message has in its envelope. */
  readonly envelope?: object;
  /** Messages for several sites that are not split yet. */
  readonly parents?: readonly { shard: number; seq: number; tenant: string; idHash: number }[];
  /** What is noted of each. */
  readonly record?: object;
  /** How long it takes to read one. */
  readonly fetchMs?: number;
  readonly answers?: Readonly<Record<string, unknown>>;
  /** What the pods are asked. */
  onAsk?(kind: string, query: unknown): void;
  /** Default: mail/a alone. */
  readonly tenants?: readonly string[];
  /** The tenants'. */
  readonly state?: "Active" | "Hold";
  readonly isSuspended?: boolean;
  readonly suspensions?: readonly Suspension[];
}

/** Pod 0 of two; pod 1 lives and says nothing. */
function scene(options: SceneOptions = {}): Scene {
  const none = { counter: { get: async () => ({ values: [] }) } };
  const scheduler = createScheduler({ random: () => 0.5, sources: [] });
  let serving: Scene["ask"] = async () => undefined;
  let elapsed = 0;
  const said = options.answers ?? answers;
  const pod = {
    name: "pod-0",
    scheduler,
    clock: { now: () => now, monotonic: () => elapsed },
    metrics: { received: none, recipients: none, attempts: none },
    config: () => ({
      tenants: new Map(
        (options.tenants ?? ["mail/a"]).map((name) => [name, { state: options.state ?? "Active" }]),
      ),
      manifest: { egress: { sources: [] } },
    }),
    ownership: { members: () => [{ pod: "pod-0" }, { pod: "pod-1" }] },
    eventLog: { find: async () => ({ events: options.events ?? [], until: "end" }) },
    entries: {
      async fetch() {
        elapsed += options.fetchMs ?? 0;
        return {
          kind: "entry",
          envelope: { id, to: ["b@x.example"], receivedAt: now, ...options.envelope },
        };
      },
    },
    states: { read: async () => options.record ?? { kind: "none" } },
  } as never;
  const listed: Pick<Parents, "list"> = {
    list: (tenant) => (options.parents ?? []).filter((one) => (tenant ?? one.tenant) === one.tenant),
  };
  const explain = createExplain({
    pod,
    peers: {
      serve(handler: Scene["ask"], isLook: (kind: string) => boolean) {
        serving = handler;
        const kinds = [
          "queue",
          "top",
          "flush",
          "binding",
          "suspended",
          "act",
          "act-progress",
          "report",
          "witness",
        ];
        assert.deepEqual(
          kinds.filter(isLook),
          kinds.slice(0, 5),
          "what pods and operators do goes before looks",
        );
      },
      ask: async (kind: string, query: unknown) => {
        options.onAsk?.(kind, query);
        return [{ pod: "pod-0", answer: said[kind] }];
      },
    } as never,
    acts: { act: async () => ({ affected: 0 }) } as never,
    parked: { list: () => [] },
    unsplit: createUnsplitActs({ pod, parents: listed as Parents, settlement: {} as never }),
    troubleOf: (site) => (site === "down" ? "no host answers" : ""),
    suspending: {
      list: () => options.suspensions ?? [],
      describe: () => (options.isSuspended ? "a suspension" : null),
    } as never,
  });
  return { explain, scheduler, ask: (kind, query) => serving(kind, query) };
}

/** So many entries of one tenant. */
function fill(scheduler: Scheduler, count: number): void {
  const lane = { site: "s", tenant: "mail/a", class: "bulk" } as const;
  const times = { receivedAt: now, expiresAt: now + 1e9, due: 0, attempt: 0 };
  for (let seq = 1; seq <= count; seq++)
    scheduler.add(lane, { shard: 0, seq, idHash: seq, size: 1000, ...times }, now);
}

const answers: Readonly<Record<string, unknown>> = {
  queue: { entries: [], truncated: false },
  top: { tenants: [], sites: [], sources: [], suspensions: [] },
};

test("createExplain().message() names the pods that did not answer: one of them may have it queued", async () => {
  const { explain } = scene({ events: [received] });
  const known = await explain.message(id);
  assert.deepEqual([known?.entries, known?.silent], [[], ["pod-1"]]);
  assert.deepEqual((await explain.message(id, "mail/a"))?.silent, ["pod-1"]);
  explain.stop();
});

test("createExplain().message() does not say that nobody knows an id while a pod is silent, but to tenants", async () => {
  const { explain } = scene();
  assert.deepEqual((await explain.message(id))?.silent, ["pod-1"]);
  assert.equal(await explain.message(id, "mail/a"), null);
  explain.stop();
});

test("createExplain().message() knows without asking that no pod has mail of later", async () => {
  const { explain } = scene();
  assert.equal(await explain.message(laterId), null);
  explain.stop();
});

test("createExplain().message() promises no next attempt of what is kept, whatever it is looked at next", async () => {
  const binding = { binding: "a suspension of message m, until resumed", backoffUntil: now + 5000 };
  const due = now + 3_600_000;
  for (const [stopped, nextAttempt] of [
    [undefined, due],
    ["suspended", null],
    ["held", null],
  ] as const) {
    const queue = { entries: [{ id, tenant: "mail/a", site: "s", due, stopped }], truncated: false };
    const { explain } = scene({ events: [received], answers: { ...answers, queue, binding } });
    const known = await explain.message(id);
    assert.deepEqual([known?.binding, known?.nextAttempt], [binding.binding, nextAttempt], String(stopped));
    explain.stop();
  }
});

test("createExplain().message() tells of a message for several sites what is attempted next of it", async () => {
  const of = (site: string, facts: object): object => ({ id, tenant: "mail/a", site, due: 0, ...facts });
  const late = of("late", { due: now + 9000 });
  const kept = of("kept", { stopped: "suspended" });
  const parked = of("parked", { state: "parked", reason: "its body is missing" });
  for (const [entries, site, nextAttempt] of [
    [[parked, kept, late, of("soon", { due: now + 5000 })], "soon", now + 5000],
    [[parked, kept, late, of("ready", {})], "ready", null],
    [[parked, late, kept], "late", now + 9000],
    [[parked, kept], "kept", null],
  ] as const) {
    const asked: unknown[] = [];
    const { explain } = scene({
      events: [received],
      answers: {
        ...answers,
        queue: { entries, truncated: false },
        binding: { binding: "x", backoffUntil: 0 },
      },
      onAsk: (kind, query) => void (kind === "binding" && asked.push(Reflect.get(query as object, "site"))),
    });
    assert.equal((await explain.message(id))?.nextAttempt, nextAttempt);
    assert.deepEqual(asked, [site]);
    explain.stop();
  }
});

test("createExplain().top() names the pods that did not answer", async () => {
  const { explain } = scene();
  assert.deepEqual((await explain.top()).silent, ["pod-1"]);
  explain.stop();
});

interface QueueList {
  readonly entries: readonly object[];
  readonly truncated: boolean;
}

test("a pod lists as many entries as it is asked for, and one answer's worth at most", async () => {
  const { explain, scheduler, ask } = scene({ envelope: { to: Array(50).fill("somebody@x.example") } });
  fill(scheduler, maxListed + 1);
  const few = (await ask("queue", { limit: 20 })) as QueueList;
  assert.deepEqual([few.entries.length, few.truncated], [20, true]);
  const many = (await ask("queue", { limit: maxListed })) as QueueList;
  assert.ok(many.truncated && many.entries.length > 100, String(many.entries.length));
  assert.ok(JSON.stringify(many).length <= maxPeerAnswerBytes - 512, "leaves room for who answers");
  explain.stop();
});

test("a pod lists all that may be asked for when it is mail of one recipient each", async () => {
  const { explain, scheduler, ask } = scene();
  fill(scheduler, maxListed);
  const { entries, truncated } = (await ask("queue", { limit: maxListed })) as QueueList;
  assert.deepEqual([entries.length, truncated], [maxListed, false]);
  explain.stop();
});

test("a pod ends its list in time to be heard, and says that there is more", async () => {
  const { explain, scheduler, ask } = scene({ fetchMs: 100 });
  fill(scheduler, maxListed);
  const { entries, truncated } = (await ask("queue", { domain: "y.example" })) as QueueList;
  assert.deepEqual([entries.length, truncated], [0, true]);
  const some = (await ask("queue", {})) as QueueList;
  assert.ok(
    some.truncated && some.entries.length > 10 && some.entries.length < 40,
    String(some.entries.length),
  );
  explain.stop();
});

test("a pod finds a message by its id however much is queued before it, among what else is selected", async () => {
  const { explain, scheduler, ask } = scene();
  fill(scheduler, 50_000);
  const times = { receivedAt: now, expiresAt: now + 1e9, due: 0, attempt: 0 };
  const facts = { shard: 0, idHash: idHashOf(id), size: 1000, ...times };
  scheduler.add({ site: "s", tenant: "mail/a", class: "bulk" }, { ...facts, seq: 60_000 }, now);
  scheduler.add({ site: "s~1", tenant: "mail/a", class: "bulk" }, { ...facts, seq: 60_001 }, now);
  const found = async (query: object): Promise<[number, boolean]> => {
    const { entries, truncated } = (await ask("queue", query)) as QueueList;
    return [entries.length, truncated];
  };
  for (const [query, count] of [
    [{ id }, 2],
    [{ id, tenant: "mail/a" }, 2],
    [{ id, site: "s" }, 2],
    [{ id, site: "s~1" }, 1],
    [{ id, tenant: "mail/b" }, 0],
    [{ id, site: "t" }, 0],
    [{ id: laterId }, 0],
  ] as const)
    assert.deepEqual(await found(query), [count, false], JSON.stringify(query));
  explain.stop();
});

test("a pod tells of each entry whether a suspension or its tenant's Hold keeps it, but of what is under way", async () => {
  const cases: [SceneOptions, (string | undefined)[]][] = [
    [{}, [undefined, undefined]],
    [{ isSuspended: true }, [undefined, "suspended"]],
    [{ state: "Hold" }, [undefined, "held"]],
    [{ state: "Hold", isSuspended: true }, [undefined, "held"]],
  ];
  for (const [options, stopped] of cases) {
    const { explain, scheduler, ask } = scene(options);
    scheduler.setSources([{ name: "default", weight: 1 }], now);
    scheduler.setTenants(new Map([["mail/a", { weight: 1, held: false }]]), now);
    scheduler.setSite("s", { limits: { connections: 1 } }, now);
    fill(scheduler, 2);
    assert.equal(scheduler.next(now).kind, "dispatch");
    const { entries } = (await ask("queue", {})) as QueueList;
    const shown = new Map(
      entries.map((entry) => [Reflect.get(entry, "state"), Reflect.get(entry, "stopped")]),
    );
    const wanted = new Map(["inflight", "ready"].map((state, index) => [state, stopped[index]]));
    assert.deepEqual(shown, wanted, JSON.stringify(options));
    explain.stop();
  }
});

test("createExplain().queue() counts a pod whose answer was too large as silent", async () => {
  const { explain } = scene({ answers: { queue: { error: "too-large" } } });
  assert.deepEqual(await explain.queue({}), { entries: [], truncated: false, silent: ["pod-0", "pod-1"] });
  explain.stop();
});

test("createExplain().top() shows what the others say when a pod's answer was too large", async () => {
  const { explain } = scene({ answers: { top: { error: "too-large" } } });
  const nothing = { tenants: [], sites: [], sources: [], suspensions: [] };
  assert.deepEqual(await explain.top(), { ...nothing, silent: ["pod-0", "pod-1"] });
  explain.stop();
});

test("a pod's `top` fits into one answer, with the fullest tenants and the newest suspensions", async () => {
  const suspensions = Array.from({ length: 1000 }, (_, at) => ({
    tenant: `${"s".repeat(300)}${at}`,
    by: "a",
    at,
  }));
  const { explain, scheduler, ask } = scene({ suspensions });
  const times = { receivedAt: now, expiresAt: now + 1e9, due: 0, attempt: 0 };
  const add = (tenant: string, seq: number): void =>
    void scheduler.add(
      { site: "s", tenant, class: "bulk" },
      { shard: 0, seq, idHash: seq, size: 1, ...times },
      now,
    );
  for (let seq = 1; seq <= 3000; seq++) add(`mail/${"x".repeat(200)}${seq}`, seq);
  add(`mail/${"x".repeat(200)}3000`, 3001);
  const top = (await ask("top", {})) as Awaited<ReturnType<Explain["top"]>>;
  assert.ok(JSON.stringify(top).length < maxPeerAnswerBytes - 64 * 1024);
  assert.equal(top.tenants[0]?.tenant, `mail/${"x".repeat(200)}3000`);
  assert.ok(top.tenants.length > 1000, String(top.tenants.length));
  assert.ok(top.suspensions.length > 100 && top.suspensions[0]?.at === 999);
  explain.stop();
});

test("a pod tells that a tenant's limit at the site holds its mail, and whose sender domain's", async () => {
  const { explain, scheduler, ask } = scene();
  scheduler.setSources([{ name: "default", weight: 1 }], now);
  scheduler.setTenants(new Map([["mail/a", { weight: 1, held: false }]]), now);
  const limits = { connections: 9, perSenderDomain: { messagesPerSecond: 1 } };
  scheduler.setSite("s", { limits }, now);
  const times = { receivedAt: now, expiresAt: now + 1e9, due: 0, attempt: 0 };
  const lane = { site: "s", tenant: "mail/a", class: "bulk", senderDomain: "x.example" } as const;
  for (const seq of [1, 2]) scheduler.add(lane, { shard: 0, seq, idHash: seq, size: 1, ...times }, now);
  assert.equal(scheduler.next(now).kind, "dispatch");
  assert.equal(scheduler.next(now).kind, "sleep");
  const bindingOf = async (from: string): Promise<unknown> =>
    Reflect.get((await ask("binding", { tenant: "mail/a", site: "s", from })) as object, "binding");
  assert.equal(await bindingOf("news@X.example"), "perSenderDomain.messageRate");
  assert.equal(await bindingOf("news@y.example"), null);
  explain.stop();
});

test("a pod tells why mail of a site that backs off was not tried", async () => {
  const { explain, scheduler, ask } = scene();
  scheduler.setSources([{ name: "default", weight: 1 }], now);
  scheduler.setTenants(new Map([["mail/a", { weight: 1, held: false }]]), now);
  const times = { receivedAt: now, expiresAt: now + 1e9, due: 0, attempt: 0 };
  for (const [at, site] of ["down", "other"].entries()) {
    scheduler.setSite(site, { limits: { connections: 1 } }, now);
    for (const seq of [1, 2])
      scheduler.add(
        { site, tenant: "mail/a", class: "bulk" },
        { shard: at, seq, idHash: seq, size: 1, ...times },
        now,
      );
    const step = scheduler.next(now);
    assert.ok(step.kind === "dispatch");
    scheduler.requeue(step.dispatch.handle, now);
    scheduler.finish(step.dispatch.handle, { feedback: "unreachable", connection: "closed" }, now);
  }
  const bindingOf = async (site: string): Promise<unknown> =>
    Reflect.get((await ask("binding", { tenant: "mail/a", site, from: "" })) as object, "binding");
  assert.equal(await bindingOf("down"), "backoff: no host answers");
  assert.equal(await bindingOf("other"), "backoff");
  explain.stop();
});

test("a bare name that two tenants have is refused, not taken for one that has nothing queued", async () => {
  const { explain } = scene({ tenants: ["mail/a", "other/a", "other/b"] });
  const said = /expected one of mail\/a, other\/a, got "a"/;
  await assert.rejects(explain.queue({ tenant: "a" }), said);
  await assert.rejects(explain.act("bounce", { tenant: "a" }), said);
  for (const tenant of ["b", "mail/a", "other/a", "nobody", "mail/gone"]) {
    assert.deepEqual((await explain.queue({ tenant })).entries, []);
    assert.equal((await explain.act("bounce", { tenant })).affected, 0);
  }
  explain.stop();
});

test("a pod shows those recipients that are still open, and selects by them", async () => {
  const to = ["b@x.example", "c@y.example"];
  const noted = (idHash: number) => ({ kind: "state", record: { open: [1], idHash } });
  for (const [record, attempt, shown] of [
    [noted(idHashOf(id)), 1, ["c@y.example"]],
    [noted(idHashOf(id)), 0, to],
    [noted(7), 1, to],
    [{ kind: "unavailable" }, 1, to],
  ] as const) {
    const { explain, scheduler, ask } = scene({ envelope: { to }, record });
    const times = { receivedAt: now, expiresAt: now + 1e9, due: now + 1000, attempt };
    const lane = { site: "s", tenant: "mail/a", class: "bulk" } as const;
    scheduler.add(lane, { shard: 0, seq: 1, idHash: idHashOf(id), size: 1000, ...times }, now);
    const { entries } = (await ask("queue", { id })) as QueueList;
    assert.deepEqual(Reflect.get(entries[0] ?? {}, "to"), shown);
    const there = (await ask("queue", { domain: "x.example" })) as QueueList;
    assert.equal(there.entries.length, shown.length - 1);
    explain.stop();
  }
});

test("a pod shows messages for several sites that it has not split yet, as they are at no site", async () => {
  const to = ["b@x.example", "c@y.example"];
  const { explain, ask } = scene({
    envelope: { to, tenant: "mail/a", site: "_parent" },
    parents: [
      { shard: 0, seq: 1, tenant: "mail/a", idHash: idHashOf(id) },
      { shard: 0, seq: 2, tenant: "mail/b", idHash: 7 },
    ],
  });
  for (const [query, count, truncated] of [
    [{}, 2, false],
    [{ limit: 1 }, 1, true],
    [{ id }, 1, false],
    [{ id, tenant: "mail/a" }, 1, false],
    [{ id, tenant: "mail/b" }, 0, false],
    [{ domain: "y.example" }, 2, false],
    [{ domain: "z.example" }, 0, false],
    [{ site: "_parent" }, 2, false],
    [{ site: "s" }, 0, false],
  ] as const) {
    const list = (await ask("queue", query)) as QueueList;
    assert.deepEqual([list.entries.length, list.truncated], [count, truncated], JSON.stringify(query));
    for (const entry of list.entries) assert.equal(Reflect.get(entry, "state"), "splitting");
  }
  explain.stop();
});
