/** Events: what is said again is counted, who says too much is cut short, and trouble with them is nobody's trouble. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { KubeClient, KubeObject } from "#operator/kube/types.ts";
import { createEventRecorder, type EventRecorder } from "#operator/reconcile/events.ts";
import { manualClock, type ManualClock, settle } from "../kube/kit.ts";
import { tenant } from "./world.ts";

interface Scene {
  readonly clock: ManualClock;
  readonly events: EventRecorder;
  readonly created: KubeObject[];
  /** `name: count`. */
  readonly counted: string[];
  readonly logged: string[];
  /** What the API server does with the next ones. */
  answer: () => Promise<void>;
}

function scene(): Scene {
  const clock = manualClock();
  const it: Omit<Scene, "events"> = {
    clock,
    created: [],
    counted: [],
    logged: [],
    answer: () => Promise.resolve(),
  };
  const say = (verb: string): void => void it.logged.push(verb);
  const client: Pick<KubeClient, "create" | "patch"> = {
    async create(_type, object) {
      it.created.push(object);
      await it.answer();
      return object;
    },
    async patch(_type, { name }, patch) {
      const { series } = patch as { series: { count: number } };
      it.counted.push(`${name}: ${series.count}`);
      await it.answer();
      return undefined;
    },
  };
  const log = { debug: say, info: say, warn: say, error: say };
  const events = createEventRecorder({ client, clock, log, instance: "operator-0" });
  return Object.assign(it, { events });
}

const acme = tenant("acme", {}, { uid: "u1", resourceVersion: "7" });
const other = tenant("other", {}, { uid: "u2" });
const scaled = { type: "Normal", reason: "Scaled", note: "4 pods: Backlog" } as const;

test("record(): an event as events.k8s.io takes it", () => {
  const it = scene();
  it.events.record(acme, scaled);
  const [event] = it.created;
  assert.deepEqual(
    { ...event, metadata: { ...event?.metadata, name: "" }, eventTime: "" },
    {
      apiVersion: "events.k8s.io/v1",
      kind: "Event",
      metadata: { name: "", namespace: "mail" },
      eventTime: "",
      ...scaled,
      action: "Reconcile",
      reportingController: "mailboat.dev/operator",
      reportingInstance: "operator-0",
      regarding: {
        apiVersion: "mailboat.dev/v1alpha1",
        kind: "Tenant",
        name: "acme",
        namespace: "mail",
        uid: "u1",
        resourceVersion: "7",
      },
    },
  );
  assert.match(String(event?.["eventTime"]), /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/);
  assert.match(event?.metadata.name ?? "", /^acme\.[a-z0-9]+$/);
});

const second: [string, number, KubeObject, Parameters<EventRecorder["record"]>[1], "counted" | "created"][] =
  [
    ["the same within ten minutes", 599_000, acme, scaled, "counted"],
    ["the same ten minutes later", 600_000, acme, scaled, "created"],
    ["another note", 0, acme, { ...scaled, note: "2 pods: Idle" }, "created"],
    ["another reason", 0, acme, { ...scaled, reason: "Draining" }, "created"],
    ["another type", 0, acme, { ...scaled, type: "Warning" }, "created"],
    ["another object", 0, other, scaled, "created"],
  ];

test("record(): the same again raises a count, whatever differs is an event of its own", () => {
  for (const [name, afterMs, object, event, expected] of second) {
    const it = scene();
    it.events.record(acme, scaled);
    it.clock.advance(afterMs);
    it.events.record(object, event);
    const first = it.created[0]?.metadata.name;
    assert.deepEqual(it.counted, expected === "counted" ? [`${first}: 2`] : [], name);
    assert.equal(
      new Set(it.created.map(({ metadata }) => metadata.name)).size,
      expected === "counted" ? 1 : 2,
      name,
    );
  }
});

test("record(): each time within ten minutes of the last one is counted, also when that takes hours", () => {
  const it = scene();
  for (let round = 0; round < 30; round++) {
    it.events.record(acme, scaled);
    it.clock.advance(540_000);
  }
  assert.equal(it.created.length, 1);
  assert.match(it.counted.at(-1) ?? "", /: 30$/);
});

test("record(): an object says twenty things at once and one every 30 s then; others are not held back by it", () => {
  const it = scene();
  const say = (object: KubeObject, from: number, count: number): void => {
    for (let index = from; index < from + count; index++)
      it.events.record(object, { ...scaled, note: `${index}` });
  };
  const written = (): number => it.created.length;
  say(acme, 0, 50);
  assert.equal(written(), 20);
  say(other, 0, 5);
  assert.equal(written(), 25);
  it.clock.advance(29_000);
  say(acme, 100, 3);
  assert.equal(written(), 25);
  it.clock.advance(1000);
  say(acme, 200, 3);
  assert.equal(written(), 26);
  it.clock.advance(24 * 3_600_000);
  say(acme, 300, 50);
  assert.equal(written(), 46, "no more is saved up than a burst");
});

const notes: [string, string, string][] = [
  ["short", "no pod is ready", "no pod is ready"],
  ["as long as may be", "x".repeat(1024), "x".repeat(1024)],
  ["one too long", "x".repeat(1025), `${"x".repeat(1021)}…`],
  ["of letters of two bytes", "ü".repeat(1000), `${"ü".repeat(510)}…`],
  ["of letters of four bytes", "📮".repeat(400), `${"📮".repeat(255)}…`],
];

test("record(): a note is cut to the 1,024 bytes that the API server takes, never within a letter", () => {
  for (const [name, note, expected] of notes) {
    const it = scene();
    it.events.record(acme, { ...scaled, note });
    assert.equal(it.created[0]?.["note"], expected, name);
    assert.ok(Buffer.byteLength(expected) <= 1024, name);
  }
});

test("record(): the longest name of an object leaves room for the event's own part", () => {
  const it = scene();
  it.events.record(tenant(`${"a".repeat(199)}-.${"b".repeat(52)}`, {}, { uid: "u3" }), scaled);
  const name = it.created[0]?.metadata.name ?? "";
  assert.ok(name.length <= 253, `${name.length}`);
  assert.match(name, /^[a-z0-9]+\.[a-z0-9]+$/, "a name may not have a part that ends in a hyphen");
});

test("record(): what cannot be written is dropped, with 64 under way at most", async () => {
  const it = scene();
  it.answer = () => Promise.reject(new Error("no"));
  it.events.record(acme, scaled);
  await settle();
  assert.deepEqual(it.logged, ["event not written"]);
  const held = Promise.withResolvers<void>();
  it.answer = () => held.promise;
  for (let index = 0; index < 100; index++)
    it.events.record(tenant(`t${index}`, {}, { uid: `t${index}` }), scaled);
  assert.equal(it.created.length, 1 + 64);
  held.resolve();
  await settle();
  it.events.record(other, scaled);
  assert.equal(it.created.length, 1 + 64 + 1);
});
