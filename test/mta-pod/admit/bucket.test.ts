import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { fullBucket, take } from "#mta-pod/admit/bucket.ts";
import type { Bucket } from "#mta-pod/admit/bucket.ts";

test("take() never lets more through than burst + rate · time, in any window", () => {
  const rates = fc.record({
    perSecond: fc.double({ min: 0.1, max: 1000, noNaN: true }),
    burst: fc.integer({ min: 1, max: 50 }),
  });
  fc.assert(
    fc.property(rates, fc.array(fc.nat(500), { minLength: 1, maxLength: 300 }), (rate, steps) => {
      let bucket: Bucket = fullBucket;
      let now = 1_800_000_000_000;
      const taken: number[] = [];
      for (const step of steps) {
        now += step;
        const answer = take(bucket, rate, now);
        if (!answer.ok) {
          assert.ok(answer.waitMs > 0);
          continue;
        }
        bucket = answer.bucket;
        taken.push(now);
      }
      for (const [first, from] of taken.entries())
        for (const [last, until] of taken.entries())
          if (last >= first)
            assert.ok(last - first + 1 <= rate.burst + ((until - from) / 1000) * rate.perSecond + 0.01);
    }),
  );
});

test("take() lets through after exactly the wait it named", () => {
  const rate = { perSecond: 4, burst: 1 };
  const first = take(fullBucket, rate, 1000);
  assert.ok(first.ok);
  assert.deepEqual(take(first.bucket, rate, 1100), { ok: false, waitMs: 150 });
  assert.equal(take(first.bucket, rate, 1250).ok, true);
});

test("take() does not lock out for longer than a drained bucket when the clock jumps back", () => {
  const rate = { perSecond: 1, burst: 10 };
  const jumped = take({ tat: 9_999_999_999 }, rate, 1000);
  assert.deepEqual(jumped, { ok: false, waitMs: 1000 });
});
