import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import fc from "fast-check";
import type { RecipientOutcome } from "#mta-pod/settle/decide.ts";
import { composeDsn, statusOf } from "#mta-pod/settle/dsn.ts";
import type { DsnInput } from "#mta-pod/settle/dsn.ts";
import { mailDate } from "#mta-pod/smtp/mail-date.ts";
import { describeReply, ownReply, reply } from "#mta-pod/smtp/reply.ts";

const receivedAt = Date.UTC(2026, 10, 24, 17, 0, 0);
const bounced: RecipientOutcome = {
  index: 1,
  outcome: "bounced",
  class: "no-such-user",
  reply: reply(550, "5.1.1", "<bob@b.example>: no such user here\nsee https://b.example/help"),
  text: "550 5.1.1 <bob@b.example>: no such user here see https://b.example/help",
};
const expired: RecipientOutcome = {
  index: 2,
  outcome: "expired",
  class: "expired",
  reply: null,
  text: "connect: no answer from mx.c.example in time",
};
const input: DsnInput = {
  reportingMta: "out.example.net",
  envelope: {
    id: "01jd3v7w0a5c8f0e2q9r7t1k4m",
    from: "news@acme.example",
    to: ["ann@a.example", "bob@b.example", "cat@c.example"],
    receivedAt,
    smtpUtf8: false,
  },
  original: Buffer.from(
    "From: news@acme.example\r\nSubject: Hello\r\n there\r\n\r\nthe body, which is not returned\r\n",
  ),
  outcomes: [bounced, expired],
  remoteMta: "mx.b.example",
  now: receivedAt + 3_600_000,
  random: () => 0.5,
};

interface Part {
  readonly header: Record<string, string>;
  readonly body: string;
}

/** Splits by RFC 5322 and RFC 2046 as written there: unfolded fields, parts between boundary lines. */
function parse(text: string): Part {
  const end = text.indexOf("\r\n\r\n");
  const header: Record<string, string> = {};
  for (const line of text
    .slice(0, end)
    .replace(/\r\n(?=[ \t])/g, "")
    .split("\r\n")) {
    const colon = line.indexOf(":");
    assert.ok(/^[!-9;-~]+$/.test(line.slice(0, colon)), `not a header field: ${JSON.stringify(line)}`);
    const name = line.slice(0, colon).toLowerCase();
    assert.ok(!(name in header), `${name} twice`);
    header[name] = line.slice(colon + 1).trim();
  }
  return { header, body: text.slice(end + 4) };
}

function partsOf(message: Buffer): { top: Part; parts: Part[] } {
  const top = parse(message.toString("utf8"));
  const boundary = /boundary="([^"]+)"/.exec(top.header["content-type"] ?? "")?.[1] ?? "";
  const pieces = `\r\n${top.body}`.split(`\r\n--${boundary}`);
  assert.equal(pieces.at(-1), "--\r\n");
  return { top, parts: pieces.slice(1, -1).map((piece) => parse(piece.slice(2))) };
}

function assertWire(message: Buffer): void {
  const text = message.toString("latin1");
  assert.ok(!/\r(?!\n)|(?<!\r)\n/.test(text), "a bare CR or LF");
  for (const line of text.split("\r\n")) assert.ok(line.length <= 998, `a line of ${line.length} octets`);
}

/** Groups of fields of a delivery status. */
function statusGroups(body: string): Record<string, string>[] {
  return body
    .trimEnd()
    .split("\r\n\r\n")
    .map((group) => parse(`${group}\r\n\r\n`).header);
}

test("composeDsn() is the golden message", () => {
  const golden = new URL("../../golden/settle/dsn.eml", import.meta.url);
  const expected = readFileSync(golden, "utf8").replaceAll("\n", "\r\n");
  assert.equal(composeDsn(input).toString("utf8"), expected);
});

test("composeDsn() is a report of three parts that a machine understands", () => {
  const message = composeDsn(input);
  assertWire(message);
  const { top, parts } = partsOf(message);
  assert.match(top.header["content-type"] ?? "", /^multipart\/report; report-type=delivery-status;/);
  assert.equal(top.header["auto-submitted"], "auto-replied");
  assert.equal(top.header["to"], "<news@acme.example>");
  assert.equal(top.header["message-id"], "<01jd3v7w0a5c8f0e2q9r7t1k4m.1.dsn@out.example.net>");
  assert.deepEqual(
    parts.map((part) => part.header["content-type"]),
    ["text/plain; charset=us-ascii", "message/delivery-status", "text/rfc822-headers"],
  );
  const [all, first, second] = statusGroups(parts[1]?.body ?? "");
  assert.deepEqual(all, {
    "reporting-mta": "dns; out.example.net",
    "x-mailboat-id": input.envelope.id,
    "arrival-date": "Tue, 24 Nov 2026 17:00:00 +0000",
  });
  assert.deepEqual(first, {
    "final-recipient": "rfc822; bob@b.example",
    action: "failed",
    status: "5.1.1",
    "remote-mta": "dns; mx.b.example",
    "diagnostic-code": "smtp; 550 5.1.1 <bob@b.example>: no such user here see https://b.example/help",
    "last-attempt-date": "Tue, 24 Nov 2026 18:00:00 +0000",
  });
  assert.equal(second?.["status"], "4.4.7");
  assert.equal(second?.["diagnostic-code"], "x-mailboat; connect: no answer from mx.c.example in time");
  assert.equal(second?.["remote-mta"], undefined);
  assert.equal(
    `${parts[2]?.header["content-type"]}|${parts[2]?.body.trimEnd()}`,
    "text/rfc822-headers|From: news@acme.example\r\nSubject: Hello\r\n there",
  );
  assert.ok(!message.includes("which is not returned"));
});

test("composeDsn() of mail whose time ran out while it waited quotes the last reply, and makes up no last attempt", () => {
  const last = { ...expired, reply: reply(451, "4.3.0", "never"), text: "451 4.3.0 never" };
  const text = composeDsn({ ...input, outcomes: [last], remoteMta: undefined }).toString();
  assert.match(text, /\r\nStatus: 4\.4\.7\r\nDiagnostic-Code: smtp; 451 4\.3\.0 never\r\n/);
  assert.doesNotMatch(text, /Last-Attempt-Date|Remote-MTA/);
  assert.match(composeDsn({ ...input, outcomes: [last] }).toString(), /\r\nLast-Attempt-Date: /);
});

test("composeDsn() never puts our words into a host's mouth: no smtp diagnostic, no host that said it", () => {
  const own = ownReply(553, "5.6.7", "the peer does not offer SMTPUTF8, which the message needs");
  const ours: RecipientOutcome = {
    index: 1,
    outcome: "bounced",
    class: "unsupported",
    reply: own,
    text: describeReply(own),
  };
  const { parts } = partsOf(composeDsn({ ...input, outcomes: [ours, bounced] }));
  const [, first, second] = statusGroups(parts[1]?.body ?? "");
  assert.deepEqual(first, {
    "final-recipient": "rfc822; bob@b.example",
    action: "failed",
    status: "5.6.7",
    "diagnostic-code": "x-mailboat; the peer does not offer SMTPUTF8, which the message needs",
    "last-attempt-date": "Tue, 24 Nov 2026 18:00:00 +0000",
  });
  assert.equal(second?.["remote-mta"], "dns; mx.b.example");
  const [, lines = ""] = /: not delivered\r\n(.*?)\r\n\r\n/s.exec(parts[0]?.body ?? "") ?? [];
  assert.equal(
    lines.replace(/\r\n +/g, " ").trim(),
    "Reason: the peer does not offer SMTPUTF8, which the message needs",
  );
});

test("composeDsn() of mail that an operator gave up tells of no attempt", () => {
  const own = ownReply(550, "5.7.1", "returned by the operator of the mail system");
  const outcomes = [{ ...bounced, reply: own, text: describeReply(own) }];
  const text = composeDsn({ ...input, outcomes, remoteMta: undefined }).toString();
  assert.match(text, /\r\nStatus: 5\.7\.1\r\nDiagnostic-Code: x-mailboat; returned by the operator/);
  assert.doesNotMatch(text, /Last-Attempt-Date|Remote-MTA/);
});

test("composeDsn() says the same again for the same input", () => {
  assert.deepEqual(composeDsn(input), composeDsn(input));
});

test("composeDsn() has UTF-8 in the types of RFC 6533 only for an SMTPUTF8 message", () => {
  const from = "jürgen@bücher.example";
  const to = ["ann@a.example", "δοκιμή@b.example", "cat@c.example"];
  const original = Buffer.from("Subject: Grüße\r\n\r\n");
  const utf8 = composeDsn({ ...input, original, envelope: { ...input.envelope, from, to, smtpUtf8: true } });
  const { top, parts } = partsOf(utf8);
  assert.match(top.header["content-type"] ?? "", /report-type=global-delivery-status/);
  assert.equal(top.header["to"], `<${from}>`);
  assert.deepEqual(
    parts.slice(1).map((part) => part.header["content-type"]),
    ["message/global-delivery-status", "message/global-headers"],
  );
  assert.equal(statusGroups(parts[1]?.body ?? "")[1]?.["final-recipient"], "utf-8; δοκιμή@b.example");
  assert.match(parts[2]?.body ?? "", /Grüße/);
  const ascii = composeDsn({ ...input, original });
  assert.ok(ascii.every((byte) => byte < 128));
});

const hostile = fc.oneof(
  fc.string({ maxLength: 3000 }),
  fc.string({ unit: "binary", maxLength: 3000 }),
  fc
    .array(
      fc.constantFrom(
        "\r\n",
        "\n",
        "\r",
        "\r\n\r\n",
        "--",
        "Bcc: x@y",
        "é",
        "\0",
        " ",
        "\t",
        "a",
        "😀",
        "\u2028",
      ),
      { maxLength: 200 },
    )
    .map((pieces) => pieces.join("")),
  fc.integer({ min: 500, max: 5000 }).map((length) => "é".repeat(length)),
);

test("composeDsn() stays well-formed whatever peers, senders and headers say", () => {
  fc.assert(
    fc.property(fc.tuple(hostile, hostile, hostile, hostile), fc.boolean(), (texts, smtpUtf8) => {
      const [said, address, header, host] = texts;
      const message = composeDsn({
        ...input,
        envelope: {
          ...input.envelope,
          from: `a${address}`.slice(0, 250),
          to: [address, address, address],
          smtpUtf8,
        },
        original: Buffer.from(header),
        outcomes: [{ ...bounced, reply: reply(550, said.slice(0, 20), said), text: said }, expired],
        remoteMta: host.slice(0, 300),
      });
      assertWire(message);
      if (!smtpUtf8) assert.ok(message.every((byte) => byte < 128));
      const { top, parts } = partsOf(message);
      assert.deepEqual(Object.keys(top.header).sort(), [
        "auto-submitted",
        "content-transfer-encoding",
        "content-type",
        "date",
        "from",
        "message-id",
        "mime-version",
        "subject",
        "to",
      ]);
      assert.equal(parts.length, header === "" ? 2 : 3);
      assert.equal(statusGroups(parts[1]?.body ?? "").length, 3);
    }),
    { numRuns: 200 },
  );
});

test("composeDsn() returns whole lines of a header that is too long, and none of a message without one", () => {
  const original = Buffer.from(`${"X-Filler: abcdefgh\r\n".repeat(5000)}\r\nbody`);
  const { parts } = partsOf(composeDsn({ ...input, original }));
  const lines = (parts[2]?.body ?? "").trimEnd().split("\r\n");
  assert.ok(lines.length > 1000 && lines.length < 2000);
  assert.ok(lines.every((line) => line === "X-Filler: abcdefgh"));
  const none = partsOf(composeDsn({ ...input, original: Buffer.from("\r\nbody\r\n\r\nmore") }));
  assert.equal(none.parts[2]?.body.trim(), "");
});

test("composeDsn() of a message that cannot be read any more says so, and attaches nothing", () => {
  const { parts } = partsOf(composeDsn({ ...input, original: Buffer.alloc(0) }));
  assert.deepEqual(
    parts.map((part) => part.header["content-type"]),
    ["text/plain; charset=us-ascii", "message/delivery-status"],
  );
  assert.match(parts[0]?.body ?? "", /\r\nOf your message itself nothing is left that could be attached\.$/);
});

const statuses: readonly [RecipientOutcome["outcome"], ReturnType<typeof reply> | null, string][] = [
  ["bounced", reply(550, "5.7.26", ""), "5.7.26"],
  ["bounced", reply(550, "4.7.1", ""), "5.1.1"],
  ["bounced", reply(552, "", ""), "5.2.2"],
  ["bounced", reply(554, "5.7.1\r\nX: y", ""), "5.0.0"],
  ["bounced", null, "5.0.0"],
  ["expired", reply(450, "4.2.2", ""), "4.4.7"],
];
for (const [outcome, given, status] of statuses)
  test(`statusOf() of ${outcome} ${given?.code} ${JSON.stringify(given?.enhanced)} is ${status}`, () => {
    assert.equal(statusOf({ ...bounced, outcome, reply: given }), status);
  });

test("mailDate() is what Date says in RFC 5322's form", () => {
  fc.assert(
    fc.property(fc.integer({ min: -(2 ** 41), max: 2 ** 43 }), (time) => {
      const expected = new Date(time).toUTCString().replace("GMT", "+0000");
      assert.equal(mailDate(time), expected);
    }),
  );
});
