import assert from "node:assert/strict";
import { test } from "node:test";
import { formatAge, formatSize, formatTable, formatTime, printable } from "#operator/cli/table.ts";

test("formatAge() and formatSize() keep two units at most", () => {
  const ages: [number, string][] = [
    [-5, "0s"],
    [59_400, "59s"],
    [75_000, "1m15s"],
    [3_600_000, "1h0m"],
    [90_000_000, "1d1h"],
  ];
  for (const [ms, text] of ages) assert.equal(formatAge(ms), text);
  const sizes: [number, string][] = [
    [999, "999 B"],
    [10_240, "10.2 KB"],
    [26_214_400, "26.2 MB"],
  ];
  for (const [bytes, text] of sizes) assert.equal(formatSize(bytes), text);
});

test("formatTime() is UTC, and says so little about what is no time", () => {
  assert.equal(formatTime(0), "1970-01-01 00:00:00.000");
  assert.equal(formatTime(Number.NaN), "unknown");
});

test("formatTable() shows a very long cell whole, and only its own row gives way", () => {
  const long = "x".repeat(500);
  const [head, first, second] = formatTable(
    ["SITE", "QUEUED"],
    [
      [long, "1"],
      ["short", "2"],
    ],
  );
  assert.equal(first, `${long}  1`);
  for (const row of [head, second]) assert.ok((row?.length ?? 0) <= 64 + 2 + 6);
});

test("formatTable() aligns columns and lets no escape sequence through", () => {
  assert.deepEqual(
    formatTable(
      ["A", "LONG"],
      [
        ["abc", "x\u001b[31m"],
        ["", "y"],
      ],
    ),
    ["A    LONG", "abc  x [31m", "     y"],
  );
  assert.equal(printable("a\r\nb\u009bc"), "a  b c");
});
