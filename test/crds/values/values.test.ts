import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { normalizeDomain } from "#crds/values/domain.ts";
import { parseDuration } from "#crds/values/duration.ts";
import { parseRate } from "#crds/values/rate.ts";

const durations: [string, number | undefined][] = [
  ["90s", 90_000],
  ["1h30m", 5_400_000],
  ["250ms", 250],
  ["0s", 0],
  ["1m1ms", 60_001],
  ["72h", 259_200_000],
  ["", undefined],
  ["5", undefined],
  ["1d", undefined],
  ["1.5h", undefined],
  ["-1s", undefined],
  ["1h ", undefined],
  ["1000000000s", undefined],
  ["999999999h999999999h999999999h", undefined],
  ["1s".repeat(17), undefined],
];
test("parseDuration() reads Go's durations without fractions, signs or days", () => {
  for (const [text, ms] of durations) assert.equal(parseDuration(text), ms, text);
});

test("parseDuration() adds up what was written", () => {
  const count = fc.integer({ min: 0, max: 9999 });
  fc.assert(
    fc.property(count, count, count, count, (h, m, s, ms) => {
      const expected = h * 3_600_000 + m * 60_000 + s * 1000 + ms;
      assert.equal(parseDuration(`${h}h${m}m${s}s${ms}ms`), expected);
    }),
  );
});

const rates: [string, number | undefined][] = [
  ["30/s", 30],
  ["30/m", 0.5],
  ["3600/h", 1],
  ["86400/d", 1],
  ["999999999/s", 999_999_999],
  ["0/s", undefined],
  ["1/w", undefined],
  ["1 /s", undefined],
  ["1.5/s", undefined],
  ["1", undefined],
  ["fast", undefined],
  ["1000000000/s", undefined],
];
test("parseRate() reads a count per second, minute, hour or day", () => {
  for (const [text, perSecond] of rates) assert.equal(parseRate(text), perSecond, text);
});

test("parseRate() keeps the proportions of its units", () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 999_999_999 }), (count) => {
      const perSecond = parseRate(`${count}/s`);
      assert.equal(perSecond, count);
      for (const [unit, seconds] of Object.entries({ m: 60, h: 3600, d: 86_400 }))
        assert.equal(parseRate(`${count}/${unit}`), count / seconds);
    }),
  );
});

const domains: [string, string | undefined][] = [
  ["example.com", "example.com"],
  ["EXAMPLE.Com.", "example.com"],
  ["BÜCHER.example", "xn--bcher-kva.example"],
  ["例え.テスト", "xn--r8jz45g.xn--zckzah"],
  ["xn--bcher-kva.example", "xn--bcher-kva.example"],
  ["_dmarc.example.com", "_dmarc.example.com"],
  ["localhost", "localhost"],
  ["1and1.example", "1and1.example"],
  ["", undefined],
  [".", undefined],
  ["a..b", undefined],
  [".example", undefined],
  ["-a.example", undefined],
  ["a-.example", undefined],
  ["a b.example", undefined],
  ["ex%41mple.com", undefined],
  ["example.com:25", undefined],
  ["user@example.com", undefined],
  ["[127.0.0.1]", undefined],
  ["127.0.0.1", undefined],
  ["127.1", undefined],
  ["0x7f.0x1", undefined],
  ["example.com\r\n", undefined],
  ["ex\u0000ample.com", undefined],
  [`${"a".repeat(64)}.example`, undefined],
  [`${"a.".repeat(126)}ab`, undefined],
  ["ａ．example", "a.example"],
];
test("normalizeDomain() gives A-labels in lower case and refuses whatever is not a domain", () => {
  for (const [text, domain] of domains) assert.equal(normalizeDomain(text), domain, JSON.stringify(text));
});

test("normalizeDomain() is idempotent and never throws", () => {
  fc.assert(
    fc.property(fc.string({ unit: "grapheme", maxLength: 80 }), (text) => {
      const once = normalizeDomain(text);
      if (once !== undefined) assert.equal(normalizeDomain(once), once);
    }),
  );
});
