import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { noExtensions, parseExtensions } from "#mta-pod/smtp-out/extensions.ts";
import { cleanReply, ReplyParser } from "#mta-pod/smtp-out/reply-parser.ts";

interface Parsed {
  readonly replies: string[];
  readonly problem: string | undefined;
  readonly begun: boolean;
}

function parse(chunks: readonly (string | Buffer)[]): Parsed {
  const replies: string[] = [];
  const parser = new ReplyParser((code, text) => replies.push(`${code} ${text}`));
  let problem: string | undefined;
  for (const chunk of chunks) problem ??= parser.push(Buffer.from(chunk));
  return { replies, problem, begun: parser.begun };
}

const table: readonly (readonly [string, string, readonly string[]])[] = [
  ["one line", "250 ok\r\n", ["250 ok"]],
  ["no text", "250\r\n", ["250 "]],
  ["a space and no text", "250 \r\n", ["250 "]],
  ["LF alone ends a line as well", "250 ok\n", ["250 ok"]],
  ["several", "250 a\r\n354 b\r\n", ["250 a", "354 b"]],
  ["several lines", "250-a\r\n250-b\r\n250 c\r\n", ["250 a\nb\nc"]],
  ["empty lines within", "250-\r\n250-\r\n250\r\n", ["250 \n\n"]],
  ["codes that differ: the last one is it", "250-a\r\n550 b\r\n", ["550 a\nb"]],
];
for (const [name, input, expected] of table) {
  test(`ReplyParser reads ${name}, however it is cut`, () => {
    assert.deepEqual(parse([input]), { replies: expected, problem: undefined, begun: false });
    for (let cut = 1; cut < input.length; cut++) {
      assert.deepEqual(parse([input.slice(0, cut), input.slice(cut)]).replies, expected);
    }
  });
}

for (const [name, input] of [
  ["no digits", "hello\r\n"],
  ["two digits", "25\r\n"],
  ["an empty line", "\r\n"],
  ["a code of 199", "199 x\r\n"],
  ["a code of 600", "600 x\r\n"],
  ["four digits", "2500 x\r\n"],
  ["a mark that is none", "250_x\r\n"],
  ["garbage in a reply of several lines", "250-a\r\nb\r\n"],
  ["a line of more than 4 KiB", `250 ${"x".repeat(4100)}\r\n`],
  ["a line of more than 4 KiB without an end", `250 ${"x".repeat(4100)}`],
  ["more than 100 lines", "250-x\r\n".repeat(101)],
  ["more than 64 KiB", `250-${"x".repeat(2000)}\r\n`.repeat(40)],
] as const) {
  test(`ReplyParser stops at ${name}`, () => {
    const { replies, problem } = parse([input]);
    assert.deepEqual(replies, []);
    assert.equal(typeof problem, "string");
    assert.ok((problem ?? "").length < 200);
  });
}

test("ReplyParser takes a line of 4 KiB and a reply of 100 lines", () => {
  assert.equal(parse([`250 ${"x".repeat(4092)}\r\n`]).problem, undefined);
  assert.equal(parse([`${"250-x\r\n".repeat(99)}250 x\r\n`]).replies.length, 1);
});

test("ReplyParser tells when a reply is begun", () => {
  assert.equal(parse(["25"]).begun, true);
  assert.equal(parse(["250-a\r\n"]).begun, true);
  assert.equal(parse(["250 a\r\n"]).begun, false);
});

test("reset() within a reply drops what came with it", () => {
  const replies: string[] = [];
  const parser = new ReplyParser((_, text) => {
    replies.push(text);
    if (text === "go") parser.reset();
  });
  assert.equal(parser.push(Buffer.from("220 go\r\n250 evil\r\n25")), undefined);
  assert.equal(parser.begun, false);
  parser.push(Buffer.from("250 good\r\n"));
  assert.deepEqual(replies, ["go", "good"]);
});

const lineText = fc.string({ unit: "grapheme-ascii", maxLength: 40 });
const anyReply = fc.record({
  code: fc.integer({ min: 200, max: 599 }),
  lines: fc.array(lineText, { minLength: 1, maxLength: 6 }),
});

test("ReplyParser gives the same replies under every chunking", () => {
  fc.assert(
    fc.property(fc.array(anyReply, { maxLength: 8 }), fc.array(fc.nat(), { maxLength: 12 }), (list, cuts) => {
      const wire = list
        .map(({ code, lines }) =>
          lines.map((line, index) => `${code}${index === lines.length - 1 ? " " : "-"}${line}\r\n`).join(""),
        )
        .join("");
      const points = [0, ...cuts.map((cut) => cut % (wire.length + 1)), wire.length].sort((a, b) => a - b);
      const chunks = points.slice(1).map((point, index) => wire.slice(points[index], point));
      const expected = list.map(({ code, lines }) => `${code} ${lines.join("\n")}`);
      assert.deepEqual(parse(chunks), { replies: expected, problem: undefined, begun: false });
    }),
  );
});

test("ReplyParser survives any bytes, and holds no more than a line and a reply of them", () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 500 }), { maxLength: 30 }), (chunks) => {
      parse(chunks.map((chunk) => Buffer.from(chunk)));
    }),
  );
});

for (const [name, code, raw, enhanced, text] of [
  ["an enhanced code", 550, "5.1.1 no such user", "5.1.1", "no such user"],
  ["none", 250, "ok", "", "ok"],
  ["one alone", 250, "2.0.0", "2.0.0", ""],
  ["one of another class stays text", 550, "4.2.1 odd", "", "4.2.1 odd"],
  ["a version is no enhanced code", 250, "2.10 is our version", "", "2.10 is our version"],
  ["one on every line", 550, "5.7.1 no\n5.7.1 never", "5.7.1", "no\nnever"],
  ["one on the first line only", 550, "5.7.1 no\nsee https://x.test", "5.7.1", "no\nsee https://x.test"],
  ["control characters", 550, "a\x1b[31mb\x00\x7fc\td", "", "a [31mb c d"],
  ["UTF-8", 550, Buffer.from("déjà vu").toString("latin1"), "", "déjà vu"],
  ["marks that turn text around", 550, Buffer.from("a\u202eb\u2028c").toString("latin1"), "", "a b c"],
] as const) {
  test(`cleanReply() with ${name}`, () => {
    assert.deepEqual(cleanReply(code, raw), { code, enhanced, text });
  });
}

test("cleanReply() keeps 1,024 characters", () => {
  assert.equal(cleanReply(550, "x".repeat(4000)).text.length, 1024);
  assert.equal(cleanReply(550, `${"x".repeat(900)}\n${"y".repeat(900)}`).text.length, 1024);
});

test("parseExtensions() reads what it knows and passes over the rest", () => {
  assert.deepEqual(parseExtensions("peer PIPELINING"), noExtensions);
  assert.deepEqual(
    parseExtensions(
      "peer\npipelining\nSIZE 1000\n8BITMIME\nSTARTTLS\nCHUNKING\nSMTPUTF8\nLIMITS MAILMAX=5 RCPTMAX=20 X=1\nX-FOO bar\n-bad\n",
    ),
    {
      pipelining: true,
      startTls: true,
      eightBitMime: true,
      smtpUtf8: true,
      chunking: true,
      size: true,
      maxSize: 1000,
      maxRecipients: 20,
      maxTransactions: 5,
    },
  );
});

for (const [text, size, maxSize] of [
  ["SIZE", true, Infinity],
  ["SIZE 0", true, Infinity],
  ["SIZE=5000", true, 5000],
  ["SIZE many", true, Infinity],
  ["SIZE -1", true, Infinity],
  ["SIZED 5", false, Infinity],
] as const) {
  test(`parseExtensions() takes "${text}" for ${size ? maxSize : "nothing"}`, () => {
    const found = parseExtensions(`peer\n${text}`);
    assert.deepEqual([found.size, found.maxSize], [size, maxSize]);
  });
}
