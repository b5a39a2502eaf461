import assert from "node:assert/strict";
import { test } from "node:test";
import { createIntake } from "#e2e/kit/intake.ts";

const mark = Buffer.from("\r\n.\r\n");
const text = "first\r\n.\r\nsecond\r\n.\r\n";

test("createIntake() finds a mark however it was cut into packets", () => {
  for (let size = 1; size <= text.length; size++) {
    const intake = createIntake();
    const found: string[] = [];
    for (let at = 0; at < text.length; at += size) {
      intake.add(Buffer.from(text.slice(at, at + size)));
      for (let length = intake.before(mark); length !== undefined; length = intake.before(mark)) {
        found.push(intake.take(length).toString());
        assert.equal(intake.take(mark.length).toString(), "\r\n.\r\n");
      }
    }
    assert.deepEqual(found, ["first", "second"], `packets of ${size}`);
    assert.equal(intake.length, 0);
  }
});

test("createIntake() leaves what was taken as it was, whatever comes after it", () => {
  const intake = createIntake();
  const taken: Buffer[] = [];
  for (let round = 0; round < 200; round++) {
    intake.add(Buffer.alloc(10, round));
    if (round % 3 > 0) taken.push(intake.take(5 + (round % 7)));
  }
  const whole = Buffer.concat([...taken, intake.take(intake.length)]);
  assert.deepEqual(whole, Buffer.concat(Array.from({ length: 200 }, (_, round) => Buffer.alloc(10, round))));
});

test("createIntake() copies large mail a few times in all", () => {
  const packet = Buffer.alloc(65_536);
  let copied = 0;
  const { copy } = Buffer.prototype;
  const counting = function (this: Buffer, ...args: Parameters<typeof copy>): number {
    const bytes = copy.apply(this, args);
    copied += bytes;
    return bytes;
  };
  Buffer.prototype.copy = counting;
  try {
    const intake = createIntake();
    const packets = 24_000_000 / packet.length;
    for (let count = 0; count < packets; count++) intake.add(packet);
  } finally {
    Buffer.prototype.copy = copy;
  }
  assert.ok(copied < 100_000_000, `${copied} bytes for 24 MB`);
});
