/** Line ends, dots and base64: what runs on every byte of every message. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { hasOnlyCrlf, toCrlf } from "#mta-pod/smtp/crlf.ts";
import { DotReader } from "#mta-pod/smtp/dot-stuffing.ts";
import { decodeBase64, parsePlain } from "#mta-pod/smtp/sasl.ts";

const lineEndPieces = fc.constantFrom("\r", "\n", "\r\n", "a", "bcdefghijklmnop", ".");
const lineEndText = fc.array(lineEndPieces, { maxLength: 60 }).map((pieces) => pieces.join(""));

/** The rule itself, slowly. */
function isClean(text: string): boolean {
  return !/\r(?!\n)|(?<!\r)\n/.test(text);
}

test("hasOnlyCrlf() agrees with the rule", () => {
  fc.assert(
    fc.property(lineEndText, (text) => {
      assert.equal(hasOnlyCrlf(Buffer.from(text, "latin1")), isClean(text));
    }),
    { numRuns: 3000 },
  );
});

const windowBytes = 256 * 1024;
for (const offset of [-2, -1, 0, 1])
  for (const ending of ["\r\n", "\r", "\n", "\n\r"])
    test(`hasOnlyCrlf() sees ${JSON.stringify(ending)} at its window's end ${offset}`, () => {
      const bytes = Buffer.alloc(windowBytes * 2 + 100, "a");
      bytes.write(ending, windowBytes + offset);
      assert.equal(hasOnlyCrlf(bytes), ending === "\r\n");
    });

test("toCrlf() makes every line end CRLF and keeps what is clean as it is", () => {
  assert.equal(toCrlf(Buffer.from("a\nb\r\nc\rd\n\r")).toString(), "a\r\nb\r\nc\r\nd\r\n\r\n");
  const clean = Buffer.from("a\r\n");
  assert.equal(toCrlf(clean), clean);
});

/** Reads `wire` cut at `cuts`; what it holds and how much it consumed, or undefined without an end. */
function read(wire: string, cuts: readonly number[]): { content: string; consumed: number } | undefined {
  const reader = new DotReader();
  const bytes = Buffer.from(wire, "latin1");
  let content = "";
  const sink = {
    push(chunk: Buffer, start: number, end: number): void {
      content += chunk.toString("latin1", start, end);
    },
  };
  let rest = Buffer.alloc(0);
  let offset = 0;
  for (const end of [
    ...cuts.map((cut) => cut % (bytes.length + 1)).toSorted((a, b) => a - b),
    bytes.length,
  ]) {
    const chunk = Buffer.concat([rest, bytes.subarray(offset, end)]);
    const base = offset - rest.length;
    offset = end;
    if (chunk.length === 0) continue;
    const found = reader.read(chunk, 0, sink);
    if (found >= 0) return { content, consumed: base + found };
    rest = Buffer.from(chunk.subarray(chunk.length - reader.kept));
  }
  return undefined;
}

test("DotReader undoes dot-stuffing whatever way the bytes are cut", () => {
  const body = fc
    .array(fc.constantFrom("..", ".", "x", "\r\n", "\r", "\n", ".\r\n"), { maxLength: 30 })
    .map((pieces) => pieces.join(""));
  fc.assert(
    fc.property(body, fc.array(fc.nat(200), { maxLength: 20 }), (text, cuts) => {
      const content = text === "" || text.endsWith("\r\n") ? text : `${text}\r\n`;
      const stuffed = content.replace(/\r\n\./g, "\r\n..").replace(/^\./, "..");
      const wire = `${stuffed}.\r\nQUIT\r\n`;
      assert.deepEqual(read(wire, cuts), { content, consumed: stuffed.length + 3 });
    }),
    { numRuns: 5000 },
  );
});

const noEnd = [
  "\n.\n",
  "\n.\r\n",
  "\r\n.\n",
  "\r.\r",
  "\r\n.\r",
  "\r.\r\n",
  "\r\n\0.\r\n",
  "\r\n.\0\r\n",
  "\r\n.\r\r\n",
];
for (const sequence of noEnd)
  test(`DotReader does not take ${JSON.stringify(sequence)} for an end of data`, () => {
    assert.equal(read(`a${sequence}b`, []), undefined);
  });

test("decodeBase64() is strict", () => {
  assert.equal(decodeBase64("YWI=")?.toString(), "ab");
  assert.equal(decodeBase64("")?.toString(), "");
  for (const text of ["YWI", "YWI =", "Y=WI", "====", "YW\n=", "YWI-"])
    assert.equal(decodeBase64(text), undefined);
});

const plain: readonly (readonly [message: string, username: string | undefined])[] = [
  ["\0user\0secret", "user"],
  ["user\0user\0secret", "user"],
  ["other\0user\0secret", undefined],
  ["user\0secret", undefined],
  ["\0user\0", undefined],
  ["\0\0secret", undefined],
  ["\0user\0sec\0ret", undefined],
  ["", undefined],
];
for (const [message, username] of plain)
  test(`parsePlain() of ${JSON.stringify(message)}`, () => {
    assert.equal(parsePlain(Buffer.from(message))?.username, username);
  });

test("parsePlain() refuses what is not UTF-8", () => {
  assert.equal(parsePlain(Buffer.from("\0us\xffer\0secret", "latin1")), undefined);
});
