import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { matchesGlob, parseRules, ruleFor } from "#operator/provider/rules.ts";

test("parseRules() says where, what was expected and what was there", () => {
  const rule = (more: object): object => ({ rules: [{ domains: ["a"], ...more }] });
  const cases: [unknown, RegExp][] = [
    [rule({ bounce: { code: 250 } }), /^rules\[0\]\.bounce\.code at least 500, 250$/],
    [rule({ defer: { stage: "mail" } }), /^rules\[0\]\.defer\.stage one of "rcpt", "data", "mail"$/],
    [rule({ closeAfter: { messages: "2" } }), /^rules\[0\]\.closeAfter\.messages a number, "2"$/],
    [rule({ bonce: {} }), /^rules\[0\]\.bonce one of the fields .*\bbounce\b.*, the unknown field "bonce"$/],
    [{ rules: [{ bounce: {} }] }, /^rules\[0\] domains or mailboxes, neither$/],
    [{ rules: "x" }, /^rules a list, "x"$/],
    [[], /^rules an object, a list of 0$/],
  ];
  for (const [document, expected] of cases) {
    const parsed = parseRules(document);
    assert.equal(parsed.ok, false);
    const [issue] = parsed.ok ? [] : parsed.issues;
    assert.match(`${issue?.where} ${issue?.expected}, ${issue?.got}`, expected);
  }
});

test("parseRules() fills in what a rule leaves out, and takes nothing for no rules", () => {
  const parsed = parseRules({ rules: [{ domains: ["a.example"], defer: {} }] });
  assert.deepEqual(parsed.ok && parsed.value.rules[0]?.defer, {
    code: 451,
    text: "4.3.0 try again later",
    stage: "rcpt",
  });
  assert.deepEqual(parseRules(null), { ok: true, value: { rules: [] } });
});

test("ruleFor() takes the first rule that matches, whatever the case", () => {
  const parsed = parseRules({
    rules: [
      { name: "mailbox", mailboxes: ["vip+*@a.example"], bounce: {} },
      { name: "domain", domains: ["A.example"], bounce: {} },
      { name: "below", domains: ["*.b.example"], bounce: {} },
    ],
  });
  assert.ok(parsed.ok);
  const cases: [string, string | undefined][] = [
    ["VIP+1@a.EXAMPLE", "mailbox"],
    ["x@a.example", "domain"],
    ["x@sub.b.example", "below"],
    ["x@b.example", undefined],
    ["x@notb.example", undefined],
    ["nothing", undefined],
  ];
  for (const [address, name] of cases) assert.equal(ruleFor(parsed.value, address)?.name, name, address);
});

test("matchesGlob() agrees with a regular expression", () => {
  const text = fc.string({ unit: fc.constantFrom("a", "b", "*", "@"), maxLength: 12 });
  fc.assert(
    fc.property(
      text,
      fc.string({ unit: fc.constantFrom("a", "b", "@"), maxLength: 12 }),
      (pattern, subject) => {
        const expression = new RegExp(`^${pattern.replaceAll("*", ".*")}$`);
        assert.equal(matchesGlob(pattern, subject), expression.test(subject));
      },
    ),
  );
});

test("matchesGlob() is quick about hostile patterns", () => {
  assert.equal(matchesGlob("*a".repeat(150), "a".repeat(149) + "b".repeat(100)), false);
});
