import assert from "node:assert/strict";
import { test } from "node:test";
import { classifyFault, classifyReply } from "#mta-pod/settle/classify.ts";
import { codeRules, enhancedRules, outcomeClasses, textRules } from "#mta-pod/settle/reply-rules.ts";
import type { OutcomeClass } from "#mta-pod/settle/reply-rules.ts";
import { reply } from "#mta-pod/smtp/reply.ts";

const replies: readonly [number, string, string, OutcomeClass][] = [
  [250, "2.0.0", "spam accepted", "delivered"],
  [550, "5.1.1", "The email account that you tried to reach does not exist.", "no-such-user"],
  [550, "5.1.1", "<x@y>: Recipient address rejected: User unknown in virtual mailbox table", "no-such-user"],
  [550, "5.4.1", "Recipient address rejected: Access denied. [AM0EUR02FT034.eop-EUR02]", "no-such-user"],
  [550, "5.5.0", "Requested action not taken: mailbox unavailable (S2017062302).", "no-such-user"],
  [550, "5.2.1", "The email account that you tried to reach is disabled.", "inactive-user"],
  [452, "4.2.2", "The recipient's inbox is out of storage space.", "mailbox-full"],
  [
    552,
    "5.2.2",
    "This message is larger than the current system limit or the recipient's mailbox is full",
    "mailbox-full",
  ],
  [
    421,
    "4.7.28",
    "Gmail has detected an unusual rate of mail originating from your DKIM domain [a.example 35].",
    "rate-limited",
  ],
  [
    421,
    "4.7.28",
    "Gmail has detected an unusual rate of mail originating from your SPF domain",
    "rate-limited",
  ],
  [450, "4.2.1", "The user you are trying to contact is receiving mail too quickly.", "rate-limited"],
  [
    421,
    "4.7.0",
    "[TSS04] Messages from 192.0.2.1 temporarily deferred due to unexpected volume or user complaints",
    "reputation",
  ],
  [
    421,
    "",
    "RP-001 (BAY004-MC1F38) Unfortunately, some messages weren't sent. The mail server IP has exceeded the rate limit",
    "rate-limited",
  ],
  [
    451,
    "4.7.650",
    "The mail server [192.0.2.1] has been temporarily rate limited due to IP reputation. (S775)",
    "rate-limited",
  ],
  [
    550,
    "5.7.1",
    "messages from [192.0.2.1] weren't sent. part of their network is on our block list (S3140).",
    "reputation",
  ],
  [
    550,
    "5.7.515",
    "Access denied, sending domain a.example does not meet the required authentication level.",
    "auth",
  ],
  [550, "5.7.26", "Your email has been blocked because the sender is unauthenticated.", "auth"],
  [421, "4.7.29", "connection not encrypted", "tls"],
  [421, "4.7.23", "The IP address sending this message does not have a PTR record", "auth"],
  [554, "5.7.9", "Message not accepted for policy reasons", "auth"],
  [421, "", "Service not available, too many connections, slow down. OFR_104 [104]", "rate-limited"],
  [550, "", "Ip frequency limited", "rate-limited"],
  [451, "4.7.1", "Greylisting in action, please come back later", "greylisted"],
  [554, "5.7.1", "Service unavailable; Client host [192.0.2.1] blocked using zen.spamhaus.org", "reputation"],
  [554, "5.7.1", "Message rejected as spam by Content Filtering.", "content"],
  [552, "5.3.4", "Message size exceeds fixed maximum message size", "too-large"],
  [530, "5.7.0", "Must issue a STARTTLS command first", "tls"],
  [554, "5.7.1", "Relay access denied", "policy"],
  [556, "5.1.10", "accepts no mail", "bad-domain"],
  [550, "", "rejected due to policy restrictions", "policy"],
  [450, "4.1.8", "<a@b.example>: Sender address rejected: Domain not found", "dns"],
  [550, "5.1.2", "no such domain: x.example", "bad-domain"],
  [451, "4.4.3", "x.example: DNS: server failure", "dns"],
  [450, "", "busy", "unavailable"],
  [554, "", "", "other"],
  [354, "", "go on", "protocol"],
  [0, "", "", "protocol"],
];
for (const [code, enhanced, text, expected] of replies)
  test(`classifyReply() of ${code} ${enhanced} ${text.slice(0, 40)} is ${expected}`, () => {
    assert.equal(classifyReply(reply(code, enhanced, text)), expected);
  });

test("every text is in lower case, and every class of the tables is in the closed list", () => {
  for (const rule of textRules) {
    assert.ok(outcomeClasses.includes(rule.class));
    for (const text of rule.texts) assert.equal(text, text.toLowerCase());
  }
  for (const table of [enhancedRules, codeRules])
    for (const value of table.values()) assert.ok(outcomeClasses.includes(value));
});

test("every text can be reached: no earlier rule has it as well", () => {
  for (const rule of textRules)
    for (const text of rule.texts) assert.equal(classifyReply(reply(451, "", text)), rule.class, text);
});

test("classifyReply() looks at the beginning of a long text only", () => {
  assert.equal(classifyReply(reply(554, "", `${"x".repeat(600)} spam`)), "other");
});

test("classifyFault() goes by the kind, or by the reply that came with it", () => {
  const fault = { stage: "connect", text: "" } as const;
  assert.equal(classifyFault({ ...fault, kind: "timeout" }), "timeout");
  assert.equal(classifyFault({ ...fault, kind: "refused" }), "connect");
  assert.equal(classifyFault({ ...fault, kind: "tls" }), "tls");
  assert.equal(classifyFault({ ...fault, kind: "fenced" }), "fenced");
  for (const kind of ["closed", "network", "timeout"] as const) {
    assert.equal(classifyFault({ stage: "final", text: "", kind }), "unanswered");
    assert.notEqual(classifyFault({ stage: "body", text: "", kind }), "unanswered");
  }
  assert.equal(classifyFault({ stage: "final", text: "", kind: "fenced" }), "fenced");
  assert.equal(
    classifyFault({ stage: "final", text: "", kind: "closed", reply: reply(421, "4.4.2", "bye") }),
    "connect",
  );
  assert.equal(
    classifyFault({ ...fault, kind: "closed", reply: reply(421, "", "too many connections") }),
    "rate-limited",
  );
  assert.equal(classifyFault({ ...fault, kind: "protocol", reply: reply(250, "", "ok") }), "protocol");
});
