import assert from "node:assert/strict";
import { test } from "node:test";
import { headerBlock } from "#mta-pod/spool/headers.ts";

test("headerBlock() writes NATS's header block", () => {
  const block = headerBlock([
    ["Nats-Msg-Id", "a"],
    ["Mb-Envelope", '["grüße@пример.рф"]'],
  ]);
  assert.equal(block, 'NATS/1.0\r\nNats-Msg-Id: a\r\nMb-Envelope: ["grüße@пример.рф"]\r\n\r\n');
});

for (const value of ["a\r\nX: y", "a\n", "\r", "a\0"])
  test(`headerBlock() refuses ${JSON.stringify(value)}: it would start another header`, () => {
    assert.throws(() => headerBlock([["Mb-Envelope", value]]), RangeError);
  });
