import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { fromAddresses, headerFields, isWholeHeader } from "#mta-pod/smtp/header.ts";

const lists: readonly (readonly [value: string, addresses: readonly string[]])[] = [
  ["a@b.example", ["a@b.example"]],
  ["<a@b.example>", ["a@b.example"]],
  ["Jo Doe <jo@a.example>", ["jo@a.example"]],
  ['"Doe, Jo" <jo@a.example>, b@c.example', ["jo@a.example", "b@c.example"]],
  ['"x" <@route.example:a@b.example>', ["a@b.example"]],
  ["Team: a@b.example, C <c@d.example>;", ["a@b.example", "c@d.example"]],
  ["undisclosed-recipients:;", []],
  ["a@b.example (a comment (nested) \\) )", ["a@b.example"]],
  ["(first) Jo (mid) <jo@a.example> (last)", ["jo@a.example"]],
  ['"a b"@c.example', ['"a b"@c.example']],
  ["=?utf-8?q?J=C3=B6?= <jo@a.example>", ["jo@a.example"]],
  ["Jö <jo@a.example>", ["jo@a.example"]],
  [" , a@b.example,, ", ["a@b.example"]],
  // Some readers show or use the first address: both count.
  ["ceo@bank.example <a@b.example>", ["ceo@bank.example", "a@b.example"]],
  ["ceo@bank.example: a@b.example;", ["ceo@bank.example", "a@b.example"]],
  ['"ceo@bank.example" <a@b.example>', ["a@b.example"]],
  // Refused whole.
  ["a@b.example, nonsense", []],
  ["<a@b.example", []],
  ["<a@b.example> <c@d.example>", []],
  ["<a@b.example> c@d.example", []],
  ['"open <a@b.example>', []],
  ["(open a@b.example", []],
  ["a@b.example c@d.example", []],
  ["x: y: a@b.example;", []],
  ["group: a@b.example", []],
  ["a@b.example;", []],
  ["a@b.example>", []],
  ["<>", []],
  ["ceo@bank <x@ <a@b.example>", []],
  ["", []],
];

for (const [value, addresses] of lists)
  test(`fromAddresses() of ${JSON.stringify(value)}`, () => {
    assert.deepEqual(fromAddresses(value), addresses);
  });

test("fromAddresses() refuses a value beyond its bound, and is linear up to it", () => {
  assert.deepEqual(fromAddresses(`${"(".repeat(70_000)}a@b.example`), []);
  const many = Array.from({ length: 3000 }, (_, index) => `a${index}@b.example`);
  assert.equal(fromAddresses(many.join(",")).length, 3000);
});

test("fromAddresses() never throws", () => {
  const piece = fc.constantFrom("a", "@b.c", "<", ">", '"', "\\", "(", ")", ",", ":", ";", " ", "é");
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 25 }), (pieces) => {
      for (const address of fromAddresses(pieces.join(""))) assert.ok(address.includes("@"));
    }),
    { numRuns: 3000 },
  );
});

test("headerFields() unfolds, keeps offsets and stops at the empty line", () => {
  const message = Buffer.from("From: a\r\n\tb\r\nX-Y : 1\r\nSubject:é\r\n\r\nnot: a field\r\n");
  const fields = headerFields(message, 10_000);
  assert.deepEqual(
    fields.map(({ name, value }) => [name, value]),
    [
      ["from", "a\tb"],
      ["x-y", "1"],
      ["subject", "é"],
    ],
  );
  for (const { start, end } of fields)
    assert.equal(message.subarray(end - 2, end).toString(), "\r\n", `${start}`);
  assert.equal(message.subarray(fields[1]?.start, fields[1]?.end).toString(), "X-Y : 1\r\n");
  assert.ok(isWholeHeader(message, fields));
});

const partial: readonly (readonly [text: string, bound: number, names: readonly string[]])[] = [
  ["a: 1\r\nno colon\r\nfrom: x\r\n\r\n", 1000, ["a"]],
  ["a: 1\r\n: none\r\n\r\n", 1000, ["a"]],
  ["a: 1\r\nb c: 2\r\n\r\n", 1000, ["a"]],
  [" folded first: 1\r\n\r\n", 1000, []],
  ["a: 1\r\nfrom: x\r\n\r\n", 12, ["a"]],
  ["a: 1\r\nfrom: x", 1000, ["a"]],
];

for (const [text, bound, names] of partial)
  test(`headerFields() of ${JSON.stringify(text)} within ${bound} bytes is not whole`, () => {
    const message = Buffer.from(text);
    const fields = headerFields(message, bound);
    assert.deepEqual(
      fields.map(({ name }) => name),
      names,
    );
    assert.equal(isWholeHeader(message, fields), false);
  });

test("headerFields() of a header that is the whole message is whole", () => {
  const message = Buffer.from("a: 1\r\nb: 2\r\n");
  assert.ok(isWholeHeader(message, headerFields(message, 100)));
});
