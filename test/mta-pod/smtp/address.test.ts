import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { domainOf, parseMailbox, parsePath } from "#mta-pod/smtp/address.ts";

const long = (count: number): string => "x".repeat(count);

const good: readonly (readonly [path: string, address: string])[] = [
  ["<a@b.example>", "a@b.example"],
  ["  <a@b.example> SIZE=1", "a@b.example"],
  ["<>", ""],
  ["<a.b+c/d=e!#$%&'*-?^_`{|}~@b-c.d_e.example>", "a.b+c/d=e!#$%&'*-?^_`{|}~@b-c.d_e.example"],
  ['<"a b"@b.example>', '"a b"@b.example'],
  ['<"ab"@b.example>', "ab@b.example"],
  ['<"a\\"b"@b.example>', '"a\\"b"@b.example'],
  ['<"a@x"@b.example>', '"a@x"@b.example'],
  ["<@one.example,@two.example:a@b.example>", "a@b.example"],
  ["<a@[192.0.2.1]>", "a@[192.0.2.1]"],
  ["<a@[IPv6:2001:db8::1]>", "a@[IPv6:2001:db8::1]"],
  ["<a@localhost>", "a@localhost"],
  ["<ä@bücher.example>", "ä@bücher.example"],
  [`<${long(64)}@b.example>`, `${long(64)}@b.example`],
];

const bad: readonly string[] = [
  "a@b.example",
  "<a@b.example",
  "<a b@b.example>",
  "<a@>",
  "<@b.example>",
  "<a>",
  "<.a@b.example>",
  "<a.@b.example>",
  "<a..b@b.example>",
  "<a@b..example>",
  "<a@.b>",
  "<a@b.>",
  "<a@-b.example>",
  "<a@b-.example>",
  '<"a@b.example>',
  '<"a"b@b.example>',
  "<a@[192.0.2.256]>",
  "<a@[192.0.2.1>",
  "<a@[::1]>",
  "<a@[IPv6:fe80::1%eth0]>",
  "<a@b@c.example>",
  "<<a@b.example>>",
  "<@one.example a@b.example>",
  "<a\u0085@b.example>",
  `<${long(65)}@b.example>`,
  `<${"ä".repeat(33)}@b.example>`,
  `<a@${long(64)}.example>`,
  `<a@${`${long(60)}.`.repeat(5)}example>`,
];

for (const [path, address] of good)
  test(`parsePath() reads ${path.slice(0, 60)}`, () => {
    const parsed = parsePath(path, 0, true);
    assert.equal(parsed.kind, "path");
    assert.equal(parsed.kind === "path" && parsed.address, address);
    assert.equal(parsed.kind === "path" && path.slice(parsed.end - 1, parsed.end), ">");
  });

for (const path of bad)
  test(`parsePath() refuses ${path.slice(0, 60)}`, () => {
    assert.equal(parsePath(path, 0, true).kind, "malformed");
  });

test("parsePath() wants SMTPUTF8 for an address above ASCII", () => {
  assert.equal(parsePath("<ä@b.example>", 0, false).kind, "needs-smtputf8");
  assert.equal(parsePath("<a@bücher.example>", 0, false).kind, "needs-smtputf8");
});

test("parsePath() never throws and what it returns reads back as itself", () => {
  const piece = fc.constantFrom("a", "@", ".", '"', "\\", "<", ">", "[", "]", ":", " ", "ä", "-", "1", ",");
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 20 }), (pieces) => {
      const text = `<${pieces.join("")}`;
      const parsed = parsePath(text, 0, true);
      if (parsed.kind !== "path" || parsed.address === "") return;
      assert.equal(parseMailbox(parsed.address), parsed.address);
    }),
    { numRuns: 3000 },
  );
});

test("domainOf() gives the A-label in lower case, and nothing a domain equals for the rest", () => {
  assert.equal(domainOf("a@Bücher.Example"), "xn--bcher-kva.example");
  assert.equal(domainOf('"x@y"@B.example'), "b.example");
  assert.equal(domainOf("a@[192.0.2.1]"), "[192.0.2.1]");
  assert.equal(domainOf("nobody"), "");
});
