import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { createIdCounts } from "#operator/provider/id-counts.ts";
import { readIds } from "#operator/provider/headers.ts";
import { createMeter, createSlidingWindow } from "#operator/provider/meter.ts";

test("createSlidingWindow() finds the busiest half-open second of any arrivals", () => {
  fc.assert(
    fc.property(fc.array(fc.nat(300), { maxLength: 60 }), (gaps) => {
      const window = createSlidingWindow(1000);
      const times: number[] = [];
      for (const gap of gaps) {
        times.push((times.at(-1) ?? 0) + gap * 10);
        window.add(times.at(-1) ?? 0);
      }
      const most = Math.max(
        0,
        ...times.map((start) => times.filter((at) => at >= start && at < start + 1000).length),
      );
      assert.equal(window.busiest(), most);
    }),
  );
});

test("createSlidingWindow() forgets what left the window, also after many arrivals", () => {
  const window = createSlidingWindow(1000);
  for (let at = 0; at < 50_000; at++) window.add(at);
  assert.equal(window.count(50_000), 999);
  assert.equal(window.count(60_000), 0);
  assert.equal(window.busiest(), 1000);
});

test("createMeter() knows the most connections at once", () => {
  const meter = createMeter();
  for (const step of ["+", "+", "-", "+", "+", "-", "-"])
    if (step === "+") meter.connected();
    else meter.disconnected();
  assert.deepEqual(meter.read().connections, { open: 1, most: 3, total: 4 });
});

test("createIdCounts() holds a hundred thousand ids apart", () => {
  const ids = createIdCounts();
  for (let number = 0; number < 100_000; number++) ids.add(`id-${number}`, "a@b.example", number);
  assert.equal(ids.add("id-7", "A@b.example", 5_000_000), 2);
  assert.deepEqual(ids.get("id-7", "a@b.example"), {
    id: "id-7",
    recipient: "a@b.example",
    count: 2,
    firstAt: 7,
    lastAt: 5_000_000,
  });
  assert.deepEqual([ids.unique(), ids.repeated(), [...ids.entries()].length], [100_000, 1, 100_000]);
});

test("readIds() reads folded headers, and nothing of the body", () => {
  const raw = Buffer.from(
    "Received: from a\r\n by b with ESMTP\r\n id 01arz3ndektsv4rrffq69g5fav; x\r\nMessage-ID:\r\n <m@x>\r\nX-Mine:  7 \r\n\r\nX-Mailboat-Id: no\r\n",
  );
  assert.deepEqual(readIds(raw, "x-mine"), {
    messageId: "m@x",
    mailboatId: "01arz3ndektsv4rrffq69g5fav",
    chosen: "7",
  });
  assert.deepEqual(readIds(Buffer.from("no headers at all"), undefined), {
    messageId: "",
    mailboatId: "",
    chosen: "",
  });
});
