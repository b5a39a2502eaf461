import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { decodeEnvelope, encodeEnvelope, priorityClasses } from "#crds/wire/envelope.ts";
import type { Envelope } from "#crds/wire/envelope.ts";
import { decodeEvent, encodeEvent, eventTypes } from "#crds/wire/event.ts";
import type { EventRecord } from "#crds/wire/event.ts";
import { decodeState, encodeState, idHashOf } from "#crds/wire/state-record.ts";
import type { StateRecord } from "#crds/wire/state-record.ts";

const count = fc.nat({ max: Number.MAX_SAFE_INTEGER });
const text = fc.string({ unit: "binary", maxLength: 80 });

const envelopes: fc.Arbitrary<Envelope> = fc.record(
  {
    id: text,
    tenant: text,
    stream: text,
    class: fc.constantFrom(...priorityClasses),
    from: text,
    to: fc.array(text, { minLength: 1, maxLength: 5 }),
    site: text,
    receivedAt: count,
    expiresAt: count,
    sendAt: count,
    size: count,
    eightBit: fc.boolean(),
    smtpUtf8: fc.boolean(),
    bodyChunks: count,
    isBodyShared: fc.boolean(),
    moves: count,
    attempt: count,
    due: count,
  },
  { noNullPrototype: true },
);

test("decodeEnvelope() gives back what encodeEnvelope() was given, in one header line", () => {
  fc.assert(
    fc.property(envelopes, (envelope) => {
      const encoded = encodeEnvelope(envelope);
      // oxlint-disable-next-line no-control-regex
      assert.doesNotMatch(encoded, /[\u0000-\u001f]/);
      assert.deepEqual(decodeEnvelope(encoded), { ok: true, value: envelope });
    }),
  );
});

const states: fc.Arbitrary<StateRecord> = fc.record(
  {
    attempt: count,
    due: count,
    open: fc.array(fc.nat(), { maxLength: 8 }),
    idHash: fc.nat({ max: 2 ** 32 - 1 }),
    last: fc.string({ maxLength: 512 }),
    children: fc.integer({ min: 1, max: 1000 }),
    fresh: fc.integer({ min: 1, max: 1000 }),
    moving: fc.record(
      { site: text, open: fc.array(fc.nat(), { maxLength: 8 }), attempt: count, isBodyShared: fc.boolean() },
      { noNullPrototype: true },
    ),
  },
  { noNullPrototype: true, requiredKeys: ["attempt", "due", "open", "idHash", "last"] },
);

test("decodeState() gives back what encodeState() was given", () => {
  fc.assert(
    fc.property(states, (state) => {
      assert.deepEqual(decodeState(encodeState(state)), { ok: true, value: state });
    }),
  );
});

test("encodeState() keeps 512 characters of the last reply", () => {
  const state = { attempt: 1, due: 2, open: [0], idHash: idHashOf("x"), last: "a".repeat(600) };
  const decoded = decodeState(encodeState(state));
  assert.ok(decoded.ok);
  assert.equal(decoded.value.last.length, 512);
});

const events: fc.Arbitrary<EventRecord> = fc.record(
  {
    time: count,
    id: text,
    type: fc.constantFrom(...eventTypes),
    tenant: text,
    stream: text,
    pool: text,
    from: text,
    to: fc.array(text, { maxLength: 3 }),
    code: fc.integer({ min: 200, max: 599 }),
    text,
    seconds: fc.double({ min: 0, max: 1e6, noNaN: true, noDefaultInfinity: true }).map((n) => n + 0),
    pod: text,
  },
  { noNullPrototype: true, requiredKeys: ["time", "id", "type", "tenant", "pool", "pod"] },
);

test("decodeEvent() gives back what encodeEvent() wrote as one line, without what is undefined", () => {
  fc.assert(
    fc.property(events, (event) => {
      const { time, pool, pod, ...facts } = event;
      const line = encodeEvent({ time, pool, pod }, { ...facts, rule: undefined });
      assert.ok(!line.includes("\n"));
      assert.deepEqual(decodeEvent(line), { ok: true, value: event });
    }),
  );
});

test("the decoders refuse anything else with an issue and never throw", () => {
  const decoders = [decodeEnvelope, decodeState, decodeEvent];
  const refused = ["", "null", "[]", "{}", "[1]", "[2]", "[99]", "1", '"x"', "[1,", '{"v":1}', '{"v":2}'];
  for (const decode of decoders)
    for (const line of refused) {
      const decoded = decode(line);
      assert.ok(!decoded.ok, `${decode.name} ${line}`);
      assert.ok(decoded.issues.length > 0);
    }
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.json()), (line) => {
      for (const decode of decoders) decode(line);
    }),
  );
});

test("decodeEnvelope() names the field that is wrong", () => {
  const fields = JSON.parse(
    encodeEnvelope({
      id: "i",
      tenant: "t/t",
      stream: "default",
      class: "bulk",
      from: "",
      to: ["a@b.example"],
      site: "s",
      receivedAt: 1,
      expiresAt: 2,
      sendAt: 0,
      size: 3,
      eightBit: false,
      smtpUtf8: false,
      bodyChunks: 0,
      isBodyShared: false,
      moves: 0,
      attempt: 0,
      due: 0,
    }),
  ) as unknown[];
  const wrong: [number, unknown, string][] = [
    [0, 2, "envelope.version"],
    [1, 7, "envelope.id"],
    [4, "urgent", "envelope.class"],
    [6, [], "envelope.to"],
    [6, [1], "envelope.to"],
    [8, -1, "envelope.receivedAt"],
    [11, 1.5, "envelope.size"],
    [16, null, "envelope.due"],
  ];
  for (const [index, value, where] of wrong) {
    const decoded = decodeEnvelope(JSON.stringify(fields.with(index, value)));
    assert.ok(!decoded.ok);
    assert.equal(decoded.issues[0]?.where, where);
  }
});

test("decodeState() names the field that is wrong, and takes records without the last fields", () => {
  const record = {
    attempt: 1,
    due: 2,
    open: [0],
    idHash: 3,
    last: "x",
    children: 2,
    started: 1,
    parked: true,
    fresh: 1,
  };
  const fields = JSON.parse(encodeState(record)) as unknown[];
  assert.deepEqual(decodeState(JSON.stringify(fields)), { ok: true, value: record });
  const former = { attempt: 1, due: 2, open: [0], idHash: 3, last: "x" };
  assert.deepEqual(decodeState(JSON.stringify(fields.slice(0, 6))), { ok: true, value: former });
  const wrong: [number, unknown, string][] = [
    [0, 2, "state.version"],
    [1, -1, "state.attempt"],
    [2, null, "state.due"],
    [3, [0, "1"], "state.open"],
    [4, 1.5, "state.idHash"],
    [5, 7, "state.last"],
    [6, "x", "state.children"],
    [7, -1, "state.started"],
    [8, true, "state.parked"],
    [9, -1, "state.fresh"],
  ];
  for (const [index, value, where] of wrong) {
    const decoded = decodeState(JSON.stringify(fields.with(index, value)));
    assert.ok(!decoded.ok, where);
    assert.equal(decoded.issues[0]?.where, where);
  }
});

test("decodeEvent() looks at every field and names those that are wrong", () => {
  const event: Required<EventRecord> = {
    time: 1,
    id: "i",
    type: "deferred",
    tenant: "t/t",
    stream: "default",
    pool: "t/p",
    from: "a@b.example",
    to: ["c@d.example"],
    site: "s",
    provider: "p",
    mx: "mx.d.example",
    source: "default",
    attempt: 1,
    code: 451,
    enhanced: "4.7.1",
    text: "later",
    class: "greylisted",
    rule: "t/s/r",
    nextAttempt: 2,
    size: 3,
    seconds: 0.5,
    tls: "TLSv1.3",
    pod: "p-0",
  };
  const line = (changed: object): string => JSON.stringify({ v: 1, ...event, ...changed });
  assert.deepEqual(decodeEvent(line({ later: true })), { ok: true, value: { ...event, later: true } });
  for (const name of Object.keys(event))
    for (const value of [{}, null]) {
      const decoded = decodeEvent(line({ [name]: value }));
      assert.deepEqual(decoded.ok || decoded.issues.map(({ where }) => where), [`event.${name}`]);
    }
  const several = decodeEvent(line({ to: "x", code: "y", type: "sent", pod: undefined }));
  assert.deepEqual(several.ok || several.issues, [
    {
      where: "event.type",
      expected:
        "one of received, attempted, delivered, deferred, bounced, expired, suppressed, rejected, feedback",
      got: '"sent"',
    },
    { where: "event.to", expected: "a list of texts", got: '"x"' },
    { where: "event.code", expected: "a number", got: '"y"' },
    { where: "event.pod", expected: "text", got: "nothing" },
  ]);
  const mixed = decodeEvent(line({ to: ["a@b.example", 1] }));
  assert.equal(mixed.ok, false);
});
