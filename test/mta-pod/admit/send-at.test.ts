import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { expiryOf, sendAtOf } from "#mta-pod/admit/send-at.ts";

const hour = 3_600_000;
const now = Date.parse("2026-11-24T12:00:00Z");

describe("sendAtOf()", () => {
  for (const [value, at] of [
    ["2026-11-24T13:30:00Z", now + 1.5 * hour],
    ["2026-11-24T14:30:00.5+01:00", now + 1.5 * hour + 500],
    [" 2026-11-24T13:30Z ", now + 1.5 * hour],
    ["Tue, 24 Nov 2026 13:30:00 +0000", now + 1.5 * hour],
    ["24 Nov 2026 13:30 GMT", now + 1.5 * hour],
    ["2026-11-24T11:00:00Z", 0],
    ["1999-01-01T00:00:00Z", 0],
  ] as const)
    test(`reads "${value}"`, () => assert.deepEqual(sendAtOf([value], now), { ok: true, at }));

  test("is at once without a field", () => assert.deepEqual(sendAtOf([], now), { ok: true, at: 0 }));

  for (const [name, values] of [
    ["no date", ["soon"]],
    ["a date without a zone", ["2026-11-24T13:30:00"]],
    ["a number", ["1795526400"]],
    ["a date that does not exist", ["2026-13-41T13:30:00Z"]],
    ["nothing", [""]],
    ["two of them", ["2026-11-24T13:30:00Z", "2026-11-24T13:30:00Z"]],
    ["more than 167 hours", [new Date(now + 168 * hour).toISOString()]],
  ] as const)
    test(`refuses ${name}`, () => assert.equal(sendAtOf(values, now).ok, false));
});

test("expiryOf() counts from the time of sending, and keeps no mail beyond 168 hours", () => {
  assert.equal(expiryOf({ now, sendAt: 0, maxAgeMs: 5 * hour }), now + 5 * hour);
  assert.equal(expiryOf({ now, sendAt: now + hour, maxAgeMs: 5 * hour }), now + 6 * hour);
  assert.equal(expiryOf({ now, sendAt: now + 160 * hour, maxAgeMs: 120 * hour }), now + 168 * hour);
});
