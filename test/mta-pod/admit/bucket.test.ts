import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { fullBucket, giveBack, take } from "#mta-pod/admit/bucket.ts";
import type { Bucket } from "#mta-pod/admit/bucket.ts";

test("take() never lets more through than burst + rate · time, in any window", () => {
  const rates = fc.record({
    perSecond: fc.double({ min: 0.1, max: 1000, noNaN: true }),
    burst: fc.integer({ min: 1, max: 50 }),
  });
  fc.assert(
    fc.property(
      rates,
      fc.array(fc.tuple(fc.nat(500), fc.integer({ min: 1, max: 5 })), { minLength: 1, maxLength: 200 }),
      (rate, steps) => {
        let bucket: Bucket = fullBucket;
        let now = 1_800_000_000_000;
        const taken: number[] = [];
        for (const [step, wanted] of steps) {
          now += step;
          const answer = take(bucket, { rate, now, wanted });
          assert.equal(answer.count < wanted, answer.waitMs > 0);
          bucket = answer.bucket;
          for (let index = 0; index < answer.count; index++) taken.push(now);
        }
        for (const [first, from] of taken.entries())
          for (const [last, until] of taken.entries())
            if (last >= first)
              assert.ok(last - first + 1 <= rate.burst + ((until - from) / 1000) * rate.perSecond + 0.01);
      },
    ),
  );
});

test("take() lets through after exactly the wait it named", () => {
  const rate = { perSecond: 4, burst: 1 };
  const first = take(fullBucket, { rate, now: 1000, wanted: 1 });
  assert.equal(first.count, 1);
  assert.deepEqual(take(first.bucket, { rate, now: 1100, wanted: 1 }), {
    count: 0,
    waitMs: 150,
    bucket: first.bucket,
  });
  assert.equal(take(first.bucket, { rate, now: 1250, wanted: 1 }).count, 1);
});

test("take() gives what there is of what is wanted, and what is given back again", () => {
  const rate = { perSecond: 10, burst: 5 };
  const some = take(fullBucket, { rate, now: 1000, wanted: 8 });
  assert.deepEqual([some.count, some.waitMs], [5, 100]);
  assert.equal(take(giveBack(some.bucket, rate), { rate, now: 1000, wanted: 8 }).count, 1);
});

test("take() does not lock out for longer than a drained bucket when the clock jumps back", () => {
  const jumped = take({ tat: 9_999_999_999 }, { rate: { perSecond: 1, burst: 10 }, now: 1000, wanted: 1 });
  assert.deepEqual([jumped.count, jumped.waitMs], [0, 1000]);
});
