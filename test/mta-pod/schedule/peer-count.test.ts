import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { Link } from "#mta-pod/schedule/link.ts";
import type { Sent } from "#mta-pod/schedule/peer-count.ts";
import { mostWithin, start } from "./world.ts";

interface Peer {
  /** ms from MAIL to the moment that the peer counts, and from there to our seeing its answer. */
  readonly there: () => number;
  readonly back: () => number;
}

/** Sends `count` messages over so many connections, one after another each; answers when the peer counted them. */
function countsAt(rate: number, count: number, { there, back }: Peer, connections = 2): number[] {
  const link = new Link("default", { connections, messagesPerSecond: rate });
  const counted: number[] = [];
  const free = Array.from({ length: connections }, () => start);
  const answers: { sent: Sent | null; at: number }[] = [];
  while (counted.length < count) {
    free.sort((a, b) => a - b);
    const now = Math.max(free[0] ?? start, link.messages.dispatches.nextAt);
    link.messages.dispatches.charge(now);
    answers.sort((a, b) => a.at - b.at);
    while (answers[0] !== undefined && answers[0].at <= now) {
      const { sent, at } = answers.shift() ?? { sent: null, at: 0 };
      link.messages.counted.answered(sent, at);
    }
    const { holdMs, sent } = link.messages.book(now);
    const at = now + holdMs + there();
    counted.push(at);
    const answeredAt = at + back();
    answers.push({ sent, at: answeredAt });
    free[0] = answeredAt;
  }
  return counted.sort((a, b) => a - b);
}

test("a first message that takes long does not make the peer count more than the rate in a second", () => {
  for (const rate of [2, 20]) {
    const first = { left: 1 };
    const counted = countsAt(rate, rate * 4, { there: () => (first.left-- > 0 ? 60 : 2), back: () => 1 });
    assert.ok(mostWithin(counted, 1000) <= rate, `rate ${rate}: ${mostWithin(counted, 1000)} in a second`);
  }
});

test("a message whose answer is still on its way when the next is booked may be counted as late as now", () => {
  for (let distance = 80; distance <= 100; distance++)
    for (const much of [180, 190, 200]) {
      let number = 0;
      const more = (): number => (number++ % 3 === 0 ? much : 2);
      const counted = countsAt(1, 5, { there: () => distance + more(), back: () => distance });
      assert.equal(mostWithin(counted, 1000), 1, `${distance} ms away, ${much} ms more`);
    }
});

test("a peer that answers after more than a period costs no rate", () => {
  const counted = countsAt(20, 400, { there: () => 10, back: () => 1500 }, 60);
  const seconds = ((counted.at(-1) ?? 0) - (counted[0] ?? 0)) / 1000;
  assert.ok(399 / seconds >= 20 * 0.9, `${399 / seconds} of 20 a second`);
});

test("whatever each message takes, the peer counts no more than the rate in a second", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 50 }),
      fc.integer({ min: 0, max: 100 }),
      fc.infiniteStream(
        fc.record({ little: fc.integer({ min: 0, max: 5 }), much: fc.integer({ min: 0, max: 200 }) }),
      ),
      (rate, distance, extra) => {
        let number = 0;
        const more = () => {
          const { little, much } = extra.next().value ?? { little: 0, much: 0 };
          return number++ % 3 === 0 ? much : little;
        };
        // The way there is the same each time; what is in doubt comes between the count and the answer, or before.
        const counted = countsAt(rate, rate * 5, { there: () => distance + more(), back: () => distance });
        assert.ok(mostWithin(counted, 1000) <= rate, `rate ${rate}: ${mostWithin(counted, 1000)}`);
      },
    ),
    { numRuns: 200 },
  );
});

test("two messages that are booked at once are as far apart as paced, also when timers were late", () => {
  const link = new Link("default", { connections: 2, messagesPerSecond: 1 });
  const rate = link.messages;
  rate.counted.answered(rate.book(start).sent, start + 10);
  // Both connections are ready at the same moment; the first one's way takes 20 ms more than the second one's.
  const [first, second] = [rate.book(start + 5000), rate.book(start + 5000)];
  assert.equal(first.holdMs, 0);
  assert.equal(second.holdMs, Math.ceil(1000 / 0.97));
});

test("a peer that is far away costs no rate", () => {
  const counted = countsAt(5, 100, { there: () => 100, back: () => 100 });
  const seconds = ((counted.at(-1) ?? 0) - (counted[0] ?? 0)) / 1000;
  assert.ok(99 / seconds >= 5 * 0.92, `${99 / seconds} of 5 a second`);
});

test("what is answered late enough to be forgotten, or was never booked, changes nothing", () => {
  const link = new Link("default", { connections: 2, messagesPerSecond: 2 });
  for (const sent of [null, { at: start - 9_000, countedBy: 0 }]) link.messages.counted.answered(sent, start);
  assert.equal(link.messages.counted.earliest(start), 0);
  assert.equal(new Link("default", { connections: 2 }).messages.book(start).holdMs, 0);
});
