/** Random sequences of events against a model that knows only the promises. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { createScheduler } from "#mta-pod/schedule/scheduler.ts";
import type { Dispatch, Feedback, Lane, Scheduler, SiteLimits } from "#mta-pod/schedule/types.ts";
import { mostWithin, start } from "./world.ts";

/** The first two share their hosts. */
const sites = ["s", "s+v", "t", "u"] as const;
const tenants = ["a", "b", "c"] as const;
const sources = ["x", "y"] as const;
const limits: Record<string, SiteLimits> = {
  s: { connections: 2, messagesPerSecond: 7 },
  "s+v": { connections: 2, messagesPerSecond: 5 },
  t: { connections: 3, connectionsPerSecond: 4 },
  u: { connections: 1 },
};
/** In place of the limits of `t`, now and then. */
const budgeted: SiteLimits = {
  connections: 3,
  connectionsPerSecond: 4,
  perTenant: { connections: 2, messagesPerSecond: 6 },
  perSenderDomain: { messagesPerSecond: 3 },
};
const domains = ["", "d.example", "e.example"] as const;

type Action =
  | {
      kind: "add";
      site: (typeof sites)[number];
      tenant: (typeof tenants)[number];
      domain: (typeof domains)[number] | null;
      bulk: boolean;
      ttl: number;
      wait: number;
      shard: number;
    }
  | { kind: "step"; pick: number }
  | { kind: "idleClosed"; pick: number }
  | {
      kind: "finish";
      pick: number;
      feedback: Feedback;
      closes: boolean;
      then: "settle" | "defer" | "requeue";
      early: boolean;
      wait: number;
    }
  | { kind: "elapse"; ms: number }
  | { kind: "suspend" | "resume"; tenant: string | null; site: string | null; ms: number }
  | { kind: "tenants"; known: string[]; held: string[]; weight: number }
  | { kind: "site"; site: string; to: "limits" | "budgeted" | "unresolved" | "retry" }
  | { kind: "relane"; pick: number; site: (typeof sites)[number] }
  | { kind: "dropShard"; shard: number }
  | { kind: "purge"; pick: number };

const pick = fc.nat(1000);
const site = fc.constantFrom(...sites);
const tenant = fc.constantFrom(...tenants);
const maybe = <T>(of: fc.Arbitrary<T>) => fc.option(of, { nil: null });
const action: fc.Arbitrary<Action> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant("add" as const),
      site,
      tenant,
      domain: maybe(fc.constantFrom(...domains)),
      bulk: fc.boolean(),
      ttl: fc.integer({ min: 0, max: 60_000 }),
      wait: fc.oneof(fc.constant(0), fc.nat(20_000)),
      shard: fc.nat(2),
    }),
  },
  { weight: 12, arbitrary: fc.record({ kind: fc.constant("step" as const), pick }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("idleClosed" as const), pick }) },
  {
    weight: 7,
    arbitrary: fc.record({
      kind: fc.constant("finish" as const),
      pick,
      feedback: fc.constantFrom<Feedback>("good", "good", "good", "throttled", "unreachable", "neutral"),
      closes: fc.boolean(),
      then: fc.constantFrom("settle" as const, "settle" as const, "defer" as const, "requeue" as const),
      early: fc.boolean(),
      wait: fc.nat(20_000),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({ kind: fc.constant("elapse" as const), ms: fc.oneof(fc.nat(300), fc.nat(3000)) }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constantFrom("suspend" as const, "resume" as const),
      tenant: maybe(tenant),
      site: maybe(site),
      ms: fc.nat(9000),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant("tenants" as const),
      known: fc.subarray([...tenants]),
      held: fc.subarray([...tenants]),
      weight: fc.integer({ min: 1, max: 9 }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant("site" as const),
      site,
      to: fc.constantFrom(
        "limits" as const,
        "budgeted" as const,
        "budgeted" as const,
        "unresolved" as const,
        "retry" as const,
      ),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("relane" as const), pick, site }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("dropShard" as const), shard: fc.nat(40) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("purge" as const), pick }) },
);

interface Known {
  shard: number;
  expiresAt: number;
  /** "queued" covers ready, waiting and suspended. */
  state: "queued" | "flying" | "expiring";
  due: number;
  tenant: string;
}

class Model {
  now = start;
  readonly scheduler: Scheduler;
  readonly entries = new Map<number, Known>();
  readonly flights = new Map<number, Dispatch>();
  /** Dispatches whose connection went away before they took it. */
  readonly robbed = new Set<number>();
  readonly open = new Map<string, { open: number; busy: number }>();
  readonly mails = new Map<string, number[]>();
  readonly connects = new Map<string, number[]>();
  isBudgeted = false;
  #seq = 0;

  constructor() {
    const weights = sources.map((name, index) => ({ name, weight: index + 1 }));
    let chance = 0.1;
    this.scheduler = createScheduler({ random: () => (chance = (chance * 7.3) % 1), sources: weights });
    this.setTenants([...tenants], [], 1);
    for (const id of sites) this.setLimits(id);
  }

  setLimits(id: string): void {
    const of = limits[id];
    if (of !== undefined) this.scheduler.setSite(id, { limits: of }, this.now);
    if (id === "t") this.isBudgeted = false;
  }

  setBudgets(): void {
    this.scheduler.setSite("t", { limits: budgeted }, this.now);
    this.isBudgeted = true;
  }

  setTenants(known: readonly string[], held: readonly string[], weight: number): void {
    const policies = known.map((id) => [id, { weight, held: held.includes(id) }] as const);
    this.scheduler.setTenants(new Map(policies), this.now);
  }

  add(of: Extract<Action, { kind: "add" }>): void {
    const lane: Lane = {
      site: of.site,
      tenant: of.tenant,
      class: of.bulk ? "bulk" : "transactional",
      ...(of.domain === null ? {} : { senderDomain: of.domain }),
    };
    const due = of.wait === 0 ? 0 : this.now + of.wait;
    const expiresAt = this.now + of.ttl;
    const seq = ++this.#seq;
    const handle = this.scheduler.add(
      lane,
      { shard: of.shard, seq, idHash: seq, size: 1, receivedAt: this.now, expiresAt, due, attempt: 0 },
      this.now,
    );
    assert.ok(!this.entries.has(handle), "a handle is given once");
    this.entries.set(handle, { shard: of.shard, expiresAt, state: "queued", due, tenant: of.tenant });
  }

  /** One step; answers whether it was a sleep or idle. */
  step(): boolean {
    const step = this.scheduler.next(this.now);
    if (step.kind === "sleep") assert.ok(step.ms >= 1);
    if (step.kind === "sleep" || step.kind === "idle") return true;
    if (step.kind === "yield") {
      this.#yield(step);
      return false;
    }
    assert.ok(step.kind !== "admit", "no guest was asked for");
    const handle = step.kind === "dispatch" ? step.dispatch.handle : step.handle;
    const known = this.entries.get(handle);
    assert.ok(known, "only what is queued comes out");
    assert.equal(known.state, "queued", "nothing comes out twice");
    if (step.kind === "expire") {
      assert.ok(known.expiresAt <= this.now, "nothing expires early");
      known.state = "expiring";
      return false;
    }
    assert.ok(known.expiresAt > this.now, "nothing expired is sent");
    assert.ok(known.due <= this.now, "nothing is sent before it is due");
    known.state = "flying";
    this.#start(step.dispatch);
    return false;
  }

  #yield({ site: id, source }: { site: string; source: string }): void {
    const connections = this.open.get(`${id}/${source}`);
    assert.ok(
      connections !== undefined && connections.open > connections.busy,
      "what is to be closed is idle",
    );
    connections.open--;
    this.scheduler.connectionClosed(id, source, this.now);
  }

  #start(dispatch: Dispatch): void {
    const key = `${dispatch.lane.site}/${dispatch.source}`;
    const of = this.open.get(key) ?? { open: 0, busy: 0 };
    this.open.set(key, of);
    if (dispatch.connection === "reuse") assert.ok(of.open > of.busy, "there is an idle connection to reuse");
    else {
      of.open++;
      this.connects.set(key, [...(this.connects.get(key) ?? []), this.now]);
    }
    of.busy++;
    assert.ok(of.open <= (limits[dispatch.lane.site]?.connections ?? 0), "the connection limit holds");
    this.mails.set(key, [...(this.mails.get(key) ?? []), this.now]);
    const shared = sites.slice(0, 2).map((id) => this.open.get(`${id}/${dispatch.source}`)?.open ?? 0);
    assert.ok((shared[0] ?? 0) + (shared[1] ?? 0) <= 2, "at shared hosts no more than the largest limit");
    this.flights.set(dispatch.handle, dispatch);
    if (dispatch.lane.site === "t" && this.isBudgeted) this.#checkBudgets(dispatch.lane);
  }

  #checkBudgets({ tenant: name, senderDomain }: Lane): void {
    const flying = [...this.flights.values()].filter(({ lane }) => lane.site === "t" && lane.tenant === name);
    assert.ok(flying.length <= 2, "the tenant's connection limit holds");
    for (const key of [name, ...(senderDomain === undefined ? [] : [`@${senderDomain || name}`])]) {
      const times = [...(this.mails.get(key) ?? []), this.now];
      this.mails.set(key, times);
      assert.ok(mostWithin(times, 1000) <= (key === name ? 6 : 3), `the rate of ${key} holds`);
    }
  }

  finish(of: Extract<Action, { kind: "finish" }>): void {
    const dispatch = nth(this.flights.values(), of.pick);
    if (dispatch === undefined) return this.#finishExpiry(of);
    this.flights.delete(dispatch.handle);
    const connections = this.open.get(`${dispatch.lane.site}/${dispatch.source}`);
    assert.ok(connections);
    connections.busy--;
    const closes = of.closes && !this.robbed.has(dispatch.handle);
    this.robbed.delete(dispatch.handle);
    if (closes) connections.open--;
    const end = () =>
      this.scheduler.finish(
        dispatch.handle,
        { feedback: of.feedback, connection: closes ? "closed" : "kept" },
        this.now,
      );
    if (!of.early) end();
    this.#then(dispatch.handle, of);
    if (!of.early) return;
    this.step();
    end();
    end();
  }

  #finishExpiry(of: Extract<Action, { kind: "finish" }>): void {
    const [handle] = nth(
      [...this.entries].filter(([, { state }]) => state === "expiring"),
      of.pick,
    ) ?? [undefined];
    if (handle !== undefined) this.#then(handle, of);
  }

  #then(handle: number, of: Extract<Action, { kind: "finish" }>): void {
    const known = this.entries.get(handle);
    if (of.then === "settle") this.settle(handle);
    else if (of.then === "requeue") this.scheduler.requeue(handle, this.now);
    else this.scheduler.defer(handle, this.now + of.wait, 1, this.now);
    if (known === undefined || of.then === "settle") return;
    known.state = "queued";
    known.due = of.then === "defer" ? this.now + of.wait : 0;
  }

  settle(handle: number): void {
    this.scheduler.settle(handle);
    this.entries.delete(handle);
  }

  apply(of: Action): void {
    switch (of.kind) {
      case "add":
        return this.add(of);
      case "step":
        return void this.step();
      case "finish":
        return this.finish(of);
      case "elapse":
        this.now += of.ms;
        return undefined;
      case "suspend":
      case "resume": {
        const selector = {
          ...(of.tenant === null ? {} : { tenant: of.tenant }),
          ...(of.site === null ? {} : { site: of.site }),
        };
        if (of.kind === "resume") this.scheduler.resume(selector, this.now);
        else this.scheduler.suspend(selector, this.now + of.ms, this.now);
        return undefined;
      }
      case "tenants":
        return this.setTenants(of.known, of.held, of.weight);
      case "site":
        if (of.to === "limits") this.setLimits(of.site);
        else if (of.to === "budgeted") this.setBudgets();
        else
          this.scheduler.setSite(
            of.site,
            of.to === "retry" ? { retryAt: this.now + 500 } : "unresolved",
            this.now,
          );
        return undefined;
      case "idleClosed":
      case "relane":
      case "dropShard":
      case "purge":
        return this.#applyRare(of);
      default:
        return of satisfies never;
    }
  }

  #applyRare(of: Extract<Action, { kind: "idleClosed" | "relane" | "dropShard" | "purge" }>): void {
    if (of.kind === "idleClosed") {
      const key = nth(this.open.keys(), of.pick);
      const connections = this.open.get(key ?? "");
      if (key === undefined || connections === undefined || connections.open === 0) return;
      if (connections.open <= connections.busy) {
        const promised = [...this.flights.values()].find(
          (flight) =>
            `${flight.lane.site}/${flight.source}` === key &&
            flight.connection === "reuse" &&
            !this.robbed.has(flight.handle),
        );
        if (promised === undefined) return;
        this.robbed.add(promised.handle);
      }
      connections.open--;
      const [id = "", source = ""] = key.split("/");
      this.scheduler.connectionClosed(id, source, this.now);
      return;
    }
    if (of.kind === "dropShard") {
      this.scheduler.dropShard(of.shard);
      for (const [handle, { shard }] of this.entries) if (shard === of.shard) this.entries.delete(handle);
      return;
    }
    const handle = nth(this.entries.keys(), of.pick);
    if (handle === undefined) return;
    if (of.kind === "purge") return this.settle(handle);
    const lane = this.scheduler.entryOf(handle)?.lane;
    assert.ok(lane);
    return this.scheduler.relane(handle, { ...lane, site: of.site }, this.now);
  }

  check(): void {
    const { total } = this.scheduler.counts();
    const flying = [...this.entries.values()].filter(({ state }) => state !== "queued").length;
    assert.equal(
      total.ready + total.waiting + total.suspended,
      this.entries.size - flying,
      "no entry is lost",
    );
    assert.equal(total.inflight, flying);
    const listed = this.scheduler.list({}, 1_000_000);
    assert.deepEqual(
      listed.map(({ handle }) => handle).sort((one, other) => one - other),
      [...this.entries.keys()].sort((one, other) => one - other),
    );
    for (const id of sites) {
      const report = this.scheduler.siteState(id);
      let open = 0;
      let busy = 0;
      for (const source of sources) {
        open += this.open.get(`${id}/${source}`)?.open ?? 0;
        busy += this.open.get(`${id}/${source}`)?.busy ?? 0;
      }
      if (this.scheduler.knowsSite(id)) assert.deepEqual([report.open, report.busy], [open, busy]);
    }
  }

  checkRates(): void {
    for (const source of sources) {
      assert.ok(mostWithin(this.mails.get(`s/${source}`) ?? [], 1000) <= 7, "the message rate holds");
      assert.ok(mostWithin(this.mails.get(`s+v/${source}`) ?? [], 1000) <= 5, "the other's rate holds");
      const shared = ["s", "s+v"].flatMap((id) => this.mails.get(`${id}/${source}`) ?? []);
      assert.ok(
        mostWithin(
          shared.toSorted((one, other) => one - other),
          1000,
        ) <= 7,
        "at shared hosts no more than the larger rate",
      );
      assert.ok(mostWithin(this.connects.get(`t/${source}`) ?? [], 1000) <= 4, "the connection rate holds");
    }
  }

  /** Everything open and well from here on: all must leave. */
  drain(): void {
    this.setTenants([...tenants], [], 1);
    this.scheduler.resume({}, this.now);
    const { isBudgeted } = this;
    for (const id of sites) this.setLimits(id);
    if (isBudgeted) this.setBudgets();
    for (let round = 0; this.entries.size > 0; round++) {
      assert.ok(round < 100_000, "every entry is dispatched or expires in the end");
      for (const [handle, { state }] of this.entries) if (state === "expiring") this.settle(handle);
      for (const { handle } of this.flights.values()) {
        this.settle(handle);
      }
      while (this.flights.size > 0)
        this.finish({
          kind: "finish",
          pick: 0,
          feedback: "good",
          closes: false,
          then: "settle",
          early: true,
          wait: 0,
        });
      const step = this.scheduler.next(this.now);
      if (step.kind === "sleep") this.now += step.ms;
      else if (step.kind === "idle") {
        const isInHand = [...this.entries.values()].every(({ state }) => state === "expiring");
        assert.ok(isInHand, "idle only when nothing is left");
      } else if (step.kind === "yield") this.#yield(step);
      else this.#take(step);
    }
  }

  #take(step: Exclude<ReturnType<Scheduler["next"]>, { kind: "sleep" | "idle" | "yield" }>): void {
    const handle = step.kind === "dispatch" ? step.dispatch.handle : step.handle;
    const known = this.entries.get(handle);
    assert.equal(known?.state, "queued");
    if (step.kind === "dispatch") this.#start(step.dispatch);
    if (known !== undefined) known.state = step.kind === "dispatch" ? "flying" : "expiring";
  }
}

function nth<T>(of: Iterable<T>, index: number): T | undefined {
  const items = [...of];
  return items[index % Math.max(1, items.length)];
}

test("whatever happens: limits and rates hold, no entry is lost, sent twice, early or after its time", () => {
  fc.assert(
    fc.property(fc.array(action, { maxLength: 400, size: "max" }), (actions) => {
      const model = new Model();
      actions.forEach((of, index) => {
        model.apply(of);
        if (index % 10 === 0) model.check();
      });
      model.check();
      model.drain();
      model.check();
      model.checkRates();
    }),
    { numRuns: 150 },
  );
});
