import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { chunkParts, dataParts, totalLength } from "#mta-pod/smtp-out/body.ts";

function wire(...pieces: string[]): string {
  return Buffer.concat(dataParts(pieces.map((piece) => Buffer.from(piece)))).toString();
}

for (const [name, pieces, expected] of [
  ["nothing to stuff", ["a\r\nb\r\n"], "a\r\nb\r\n.\r\n"],
  ["a missing last line end", ["a"], "a\r\n.\r\n"],
  ["an empty message", [], ".\r\n"],
  ["an empty piece", ["a\r\n", "", ".b\r\n"], "a\r\n..b\r\n.\r\n"],
  ["a dot at the start", [".a\r\n"], "..a\r\n.\r\n"],
  ["a dot alone", ["a\r\n.\r\nb\r\n"], "a\r\n..\r\nb\r\n.\r\n"],
  ["dots one after another", ["\r\n.\r\n.\r\n..\r\n"], "\r\n..\r\n..\r\n...\r\n.\r\n"],
  ["a dot in a line", ["a.b\r\n"], "a.b\r\n.\r\n"],
  ["a line end before, a dot behind the cut", ["a\r\n", ".b\r\n"], "a\r\n..b\r\n.\r\n"],
  ["CR before, LF and dot behind the cut", ["a\r", "\n.b\r\n"], "a\r\n..b\r\n.\r\n"],
  ["CR, LF and dot each in a piece of its own", ["a\r", "\n", ".", "b\r", "\n"], "a\r\n..b\r\n.\r\n"],
  ["a dot behind a cut within a line", ["a", ".b\r\n"], "a.b\r\n.\r\n"],
  ["LF alone is no line end", ["a\n.b\r\n"], "a\n.b\r\n.\r\n"],
  ["a last CR alone", ["a\r"], "a\r\r\n.\r\n"],
] as const) {
  test(`dataParts() with ${name}`, () => {
    assert.equal(wire(...pieces), expected);
  });
}

/** RFC 5321 §4.5.2 as a receiver does it; throws when the end is not where the bytes end. */
function unstuff(text: string): string {
  assert.ok(text.startsWith(".\r\n") ? text.length === 3 : text.indexOf("\r\n.\r\n") === text.length - 5);
  return text.slice(0, -3).replace(/(^|\r\n)\./g, "$1");
}

const word = fc.constantFrom(".", "..", "\r\n", "\r\n.", "a", "bc", "\r", "\n", ".\r\n");

test("dataParts() survives a receiver's unstuffing, however the message is cut", () => {
  fc.assert(
    fc.property(fc.array(word, { maxLength: 40 }), fc.array(fc.nat(), { maxLength: 6 }), (words, cuts) => {
      const message = words.join("");
      const points = [0, ...cuts.map((cut) => cut % (message.length + 1)), message.length].sort(
        (a, b) => a - b,
      );
      const pieces = points.slice(1).map((point, index) => message.slice(points[index], point));
      const ended = message === "" || message.endsWith("\r\n") ? message : `${message}\r\n`;
      assert.equal(unstuff(wire(...pieces)), ended);
      const chunk = chunkParts(pieces.map((piece) => Buffer.from(piece)));
      assert.equal(Buffer.concat(chunk).toString(), ended);
      assert.equal(totalLength(chunk), ended.length);
    }),
    { numRuns: 1000 },
  );
});

test("dataParts() copies nothing of a long message", () => {
  const message = Buffer.from(`${"x".repeat(1000)}\r\n.y\r\n`);
  for (const part of dataParts([message])) assert.ok(part.length < 10 || part.buffer === message.buffer);
});
