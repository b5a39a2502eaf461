import assert from "node:assert/strict";
import { test } from "node:test";
import { type Peer, startPeer } from "#test/kit/smtp-peer.ts";
import { until } from "#test/kit/until.ts";
import { client, hasty, inShort, mail, patient } from "./client.ts";

const hello = (...offers: string[]) =>
  [
    "S: 220 peer",
    "C: EHLO me.test",
    ...["peer", ...offers].map((text, at, all) => `S: 250${at < all.length - 1 ? "-" : " "}${text}`),
  ].join("\n");

const piped = hello("PIPELINING");
const lockStep = hello("SIZE");
const bdat = hello("PIPELINING", "CHUNKING");
/** One message by DATA. */
const takesOne = `${piped}\nC: MAIL*\nC: RCPT*\nC: DATA\nS: 250 m\nS: 250 r\nS: 354 go\nBODY\nS: 250 ok`;
const envelope =
  "C: MAIL FROM:<a@x.test>\nC: RCPT TO:<b@y.test>\nC: RCPT TO:<c@y.test>\nC: RCPT TO:<d@y.test>";
const three = ["b@y.test", "c@y.test", "d@y.test"];

interface Case {
  readonly name: string;
  readonly script: string;
  readonly result: string;
  /** The connection can carry the next transaction. */
  readonly goesOn: boolean;
}

const everything: Case[] = [
  {
    name: "all accepted, pipelined",
    script: `${piped}\n${envelope}\nC: DATA\nS: 250 m\nS: 250 r\nS: 251 r\nS: 252 r\nS: 354 go\nBODY\nS: 250 2.0.0 queued`,
    result: "250 250 250",
    goesOn: true,
  },
  {
    name: "some refused, pipelined",
    script: `${piped}\n${envelope}\nC: DATA\nS: 250 m\nS: 550 5.1.1 no\nS: 250 r\nS: 452 4.2.2 full\nS: 354 go\nBODY\nS: 250 ok`,
    result: "550 250 452",
    goesOn: true,
  },
  {
    name: "all refused, DATA refused: the next one begins with RSET",
    script: `${piped}\n${envelope}\nC: DATA\nS: 250 m\nS: 550 no\nS: 450 no\nS: 550 no\nS: 503 no rcpt\nC: RSET`,
    result: "550 450 550",
    goesOn: true,
  },
  {
    name: "all refused, 354 nevertheless: a dot alone, its verdict ignored",
    script: `${piped}\n${envelope}\nC: DATA\nS: 250 m\nS: 550 no\nS: 550 no\nS: 550 no\nS: 354 go\nC: .\nS: 250 what a mail`,
    result: "550 550 550",
    goesOn: true,
  },
  {
    name: "MAIL refused, pipelined",
    script: `${piped}\n${envelope}\nC: DATA\nS: 451 4.7.1 later\nS: 503 no\nS: 503 no\nS: 503 no\nS: 503 no`,
    result: "451 451 451",
    goesOn: true,
  },
  {
    name: "MAIL refused, everything else accepted by a peer that is confused",
    script: `${piped}\n${envelope}\nC: DATA\nS: 550 no\nS: 250 r\nS: 250 r\nS: 250 r\nS: 354 go\nC: .\nS: 554 no`,
    result: "550 550 550",
    goesOn: true,
  },
  {
    name: "DATA refused: the next one begins with RSET",
    script: `${piped}\n${envelope}\nC: DATA\nS: 250 m\nS: 250 r\nS: 550 r\nS: 250 r\nS: 451 busy\nC: RSET`,
    result: "451 550 451",
    goesOn: true,
  },
  {
    name: "the message refused",
    script: `${piped}\n${envelope}\nC: DATA\nS: 250 m\nS: 250 r\nS: 550 r\nS: 250 r\nS: 354 go\nBODY\nS: 554 5.7.1 spam`,
    result: "554 550 554",
    goesOn: true,
  },
  {
    name: "all accepted, in lock step",
    script: `${lockStep}\nC: MAIL FROM:<a@x.test> SIZE=21\nS: 250 m\nC: RCPT TO:<b@y.test>\nS: 250 r\nC: RCPT TO:<c@y.test>\nS: 250 r\nC: RCPT TO:<d@y.test>\nS: 250 r\nC: DATA\nS: 354 go\nBODY\nS: 250 ok`,
    result: "250 250 250",
    goesOn: true,
  },
  {
    name: "MAIL refused, in lock step: nothing more is said",
    script: `${lockStep}\nC: MAIL*\nS: 550 no`,
    result: "550 550 550",
    goesOn: true,
  },
  {
    name: "all refused, in lock step: no DATA",
    script: `${lockStep}\nC: MAIL*\nS: 250 m\nC: RCPT*\nS: 550 r\nC: RCPT*\nS: 450 r\nC: RCPT*\nS: 550 r\nC: RSET`,
    result: "550 450 550",
    goesOn: true,
  },
  {
    name: "BDAT, all accepted",
    script: `${bdat}\n${envelope}\nC: BDAT 21 LAST\nCHUNK\nS: 250 m\nS: 250 r\nS: 250 r\nS: 250 r\nS: 250 ok`,
    result: "250 250 250",
    goesOn: true,
  },
  {
    name: "BDAT, some refused",
    script: `${bdat}\n${envelope}\nC: BDAT 21 LAST\nCHUNK\nS: 250 m\nS: 550 r\nS: 250 r\nS: 450 r\nS: 250 ok`,
    result: "550 250 450",
    goesOn: true,
  },
  {
    name: "BDAT, all refused: its own reply is read, and RSET follows",
    script: `${bdat}\n${envelope}\nC: BDAT 21 LAST\nCHUNK\nS: 250 m\nS: 550 r\nS: 550 r\nS: 550 r\nS: 503 no\nC: RSET`,
    result: "550 550 550",
    goesOn: true,
  },
  {
    name: "BDAT, MAIL refused",
    script: `${bdat}\n${envelope}\nC: BDAT 21 LAST\nCHUNK\nS: 451 m\nS: 503 r\nS: 503 r\nS: 503 r\nS: 503 no\nC: RSET`,
    result: "451 451 451",
    goesOn: true,
  },
  {
    name: "BDAT, the message refused",
    script: `${bdat}\n${envelope}\nC: BDAT 21 LAST\nCHUNK\nS: 250 m\nS: 250 r\nS: 250 r\nS: 250 r\nS: 554 spam\nC: RSET`,
    result: "554 554 554",
    goesOn: true,
  },
  {
    name: "BDAT not understood is no verdict on the message",
    script: `${bdat}\n${envelope}\nC: BDAT 21 LAST\nCHUNK\nS: 250 m\nS: 250 r\nS: 250 r\nS: 250 r\nS: 502 what\nHANG`,
    result: "final protocol 502 [? ? ?]",
    goesOn: false,
  },
  {
    name: "421 to MAIL",
    script: `${piped}\nC: MAIL*\nS: 421 4.3.2 bye\nCLOSE`,
    result: "mail refused 421 [? ? ?]",
    goesOn: false,
  },
  {
    name: "421 to a RCPT keeps the refusals before it",
    script: `${piped}\n${envelope}\nC: DATA\nS: 250 m\nS: 550 r\nS: 421 bye\nHANG`,
    result: "rcpt refused 421 [550 ? ?]",
    goesOn: false,
  },
  {
    name: "421 to DATA",
    script: `${piped}\n${envelope}\nC: DATA\nS: 250 m\nS: 250 r\nS: 550 r\nS: 250 r\nS: 421 bye\nHANG`,
    result: "data refused 421 [? 550 ?]",
    goesOn: false,
  },
  {
    name: "421 to the final dot",
    script: `${piped}\n${envelope}\nC: DATA\nS: 250 m\nS: 250 r\nS: 550 r\nS: 250 r\nS: 354 go\nBODY\nS: 421 bye\nHANG`,
    result: "final refused 421 [? 550 ?]",
    goesOn: false,
  },
  {
    name: "421 to a MAIL that went with BDAT is MAIL's",
    script: `${bdat}\nC: MAIL*\nS: 421 bye\nHANG`,
    result: "mail refused 421 [? ? ?]",
    goesOn: false,
  },
  {
    name: "closed after MAIL",
    script: `${piped}\nC: MAIL*\nCLOSE`,
    result: "mail closed [? ? ?]",
    goesOn: false,
  },
  {
    name: "closed after some RCPT",
    script: `${piped}\n${envelope}\nC: DATA\nS: 250 m\nS: 550 r\nCLOSE`,
    result: "rcpt closed [550 ? ?]",
    goesOn: false,
  },
  {
    name: "closed when all recipients are refused: they are answered",
    script: `${piped}\n${envelope}\nC: DATA\nS: 250 m\nS: 550 r\nS: 550 r\nS: 551 r\nCLOSE`,
    result: "550 550 551",
    goesOn: false,
  },
  {
    name: "closed after MAIL is refused: all are answered",
    script: `${piped}\n${envelope}\nC: DATA\nS: 550 m\nCLOSE`,
    result: "550 550 550",
    goesOn: false,
  },
  {
    name: "closed after DATA",
    script: `${piped}\n${envelope}\nC: DATA\nS: 250 m\nS: 250 r\nS: 250 r\nS: 250 r\nCLOSE`,
    result: "data closed [? ? ?]",
    goesOn: false,
  },
  {
    name: "closed after the final dot",
    script: `${piped}\n${envelope}\nC: DATA\nS: 250 m\nS: 250 r\nS: 550 r\nS: 250 r\nS: 354 go\nBODY\nCLOSE`,
    result: "final closed [? 550 ?]",
    goesOn: false,
  },
  {
    name: "reset after the final dot",
    script: `${piped}\n${envelope}\nC: DATA\nS: 250 m\nS: 250 r\nS: 550 r\nS: 250 r\nS: 354 go\nBODY\nRESET`,
    result: "final closed [? 550 ?]",
    goesOn: false,
  },
  {
    name: "closed after BDAT went out, before MAIL is answered: may be taken",
    script: `${bdat}\n${envelope}\nC: BDAT 21 LAST\nCHUNK\nCLOSE`,
    result: "final closed [? ? ?]",
    goesOn: false,
  },
  {
    name: "closed after BDAT went out, with all recipients refused: answered",
    script: `${bdat}\n${envelope}\nC: BDAT 21 LAST\nCHUNK\nS: 250 m\nS: 550 r\nS: 550 r\nS: 550 r\nCLOSE`,
    result: "550 550 550",
    goesOn: false,
  },
  {
    name: "garbage for MAIL",
    script: `${piped}\nC: MAIL*\nS: hello there\nHANG`,
    result: "mail protocol [? ? ?]",
    goesOn: false,
  },
  {
    name: "3xx for MAIL",
    script: `${piped}\nC: MAIL*\nS: 354 go\nHANG`,
    result: "mail protocol [? ? ?]",
    goesOn: false,
  },
  {
    name: "3xx for RCPT",
    script: `${piped}\nC: MAIL*\nS: 250 m\nS: 354 go\nHANG`,
    result: "rcpt protocol [? ? ?]",
    goesOn: false,
  },
  {
    name: "2xx for DATA",
    script: `${piped}\n${envelope}\nC: DATA\nS: 250 m\nS: 250 r\nS: 250 r\nS: 250 r\nS: 250 ok\nHANG`,
    result: "data protocol [? ? ?]",
    goesOn: false,
  },
  {
    name: "3xx for the message",
    script: `${piped}\n${envelope}\nC: DATA\nS: 250 m\nS: 250 r\nS: 250 r\nS: 250 r\nS: 354 go\nBODY\nS: 354 more\nHANG`,
    result: "final protocol [? ? ?]",
    goesOn: false,
  },
  {
    name: "an overlong line after the dot",
    script: `${piped}\n${envelope}\nC: DATA\nS: 250 m\nS: 250 r\nS: 250 r\nS: 250 r\nS: 354 go\nBODY\nSENT: 250 ${"x".repeat(5000)}\nHANG`,
    result: "final protocol [? ? ?]",
    goesOn: false,
  },
  {
    name: "one reply too many: the result stands, the connection does not",
    script: `${piped}\n${envelope}\nC: DATA\nS: 250 m\nS: 250 r\nS: 250 r\nS: 250 r\nS: 354 go\nBODY\nS: 250 ok\nS: 250 and again\nHANG`,
    result: "250 250 250",
    goesOn: false,
  },
  {
    name: "multi-line replies everywhere",
    script: `${piped}\n${envelope}\nC: DATA\nS: 250-m\nS: 250 m\nS: 250-r\nS: 250-\nS: 250\nS: 550-5.1.1 no\nS: 550 5.1.1 such user\nS: 250 r\nS: 354-go\nS: 354 on\nBODY\nS: 250-ok\nS: 250 ok`,
    result: "250 550 250",
    goesOn: true,
  },
];

for (const { name, script, result, goesOn } of everything) {
  test(`send() gives each recipient its reply: ${name}`, async () => {
    await using peer = await startPeer([goesOn ? withNext(script) : script]);
    const { connection, opened, closed, happened, send } = client([peer.target]);
    await opened;
    assert.equal(inShort(await send({ to: three })), result);
    assert.equal(connection.idle, goesOn);
    if (goesOn) {
      assert.equal(inShort(await send()), "550");
      connection.close();
    }
    await closed;
    assert.deepEqual(peer.mismatches, []);
    assert.deepEqual(happened, [
      "ready",
      "done " + (result.includes("[") ? "fault" : "answered"),
      ...(goesOn ? ["done answered"] : []),
      "closed",
    ]);
  });
}

const closing: readonly (readonly [string, string, string])[] = [
  ["MAIL", `${piped}\nC: MAIL*\nS: 421 4.7.28 unusual rate`, "421 4.7.28 unusual rate"],
  ["RCPT", `${piped}\nC: MAIL*\nS: 250 m\nS: 421-4.3.2 going\nS: 421 4.3.2 down`, "421 4.3.2 going down"],
  [
    "the message",
    `${piped}\nC: MAIL*\nC: RCPT*\nC: DATA\nS: 250 m\nS: 250 r\nS: 354 go\nBODY\nS: 421 bye`,
    "421 bye",
  ],
  [
    "BDAT",
    `${bdat}\nC: MAIL*\nC: RCPT*\nC: BDAT*\nCHUNK\nS: 250 m\nS: 250 r\nS: 503 5.5.1 what`,
    "the peer offers CHUNKING and answers BDAT with 503 5.5.1 what",
  ],
];
for (const [at, script, said] of closing) {
  test(`send() ends with what the peer said as it refused to go on: ${at}`, async () => {
    await using peer = await startPeer([`${script}\nHANG`]);
    const { opened, send } = client([peer.target]);
    await opened;
    const result = await send();
    assert.ok(result.kind === "fault");
    assert.equal(result.fault.text, said);
  });
}

test("send() ends with what the peer said to RSET", async () => {
  await using peer = await startPeer([
    `${piped}\nC: MAIL*\nC: RCPT*\nC: DATA\nS: 250 m\nS: 550 r\nS: 503 d\nC: RSET\nS: 451 4.3.0 not now\nHANG`,
  ]);
  const { opened, send } = client([peer.target]);
  await opened;
  assert.equal(inShort(await send()), "550");
  const result = await send();
  assert.ok(result.kind === "fault");
  assert.equal(result.fault.text, "the peer refuses RSET: 451 4.3.0 not now");
});

/** A second transaction whose MAIL is refused; what the script ends with may be the RSET before it. */
function withNext(script: string): string {
  const rest = script.includes("PIPELINING")
    ? "C: MAIL*\nC: RCPT*\nC: " +
      (script.includes("CHUNKING") ? "BDAT*\nCHUNK" : "DATA") +
      "\nS: 550 no\nS: 503 no\nS: 503 no"
    : "C: MAIL*\nS: 550 no";
  if (!script.endsWith("C: RSET")) return `${script}\n${rest}`;
  return script.includes("PIPELINING")
    ? `${script}\n${rest.replace("S: 550", "S: 250 reset\nS: 550")}`
    : `${script}\nS: 250 reset\n${rest}`;
}

const stages: readonly (readonly [string, string, string])[] = [
  ["MAIL", `${piped}\nC: MAIL*\nHANG`, "mail timeout [?]"],
  ["RCPT", `${piped}\nC: MAIL*\nS: 250 m\nHANG`, "rcpt timeout [?]"],
  ["DATA", `${piped}\nC: MAIL*\nC: RCPT*\nC: DATA\nS: 250 m\nS: 250 r\nHANG`, "data timeout [?]"],
  [
    "the final dot",
    `${piped}\nC: MAIL*\nC: RCPT*\nC: DATA\nS: 250 m\nS: 250 r\nS: 354 go\nBODY\nHANG`,
    "final timeout [?]",
  ],
  ["half a reply", `${piped}\nC: MAIL*\nSENT: 250-ok\nHANG`, "mail timeout [?]"],
];
for (const [stage, script, result] of stages) {
  test(`a peer that is silent at ${stage} is a time-out of that stage`, async () => {
    await using peer = await startPeer([script]);
    const { opened, closed, send } = client([peer.target], { timeouts: hasty });
    await opened;
    assert.equal(inShort(await send()), result);
    await closed;
  });
}

test("the time after the final dot has a limit of its own", async () => {
  await using peer = await startPeer([
    `${piped}\nC: MAIL*\nC: RCPT*\nC: DATA\nS: 250 m\nS: 250 r\nS: 354 go\nBODY\nHANG`,
  ]);
  const { opened, send } = client([peer.target], { timeouts: { ...patient, finalMs: 40 } });
  await opened;
  assert.equal(inShort(await send()), "final timeout [?]");
});

test("a peer that stops reading in a long message is a time-out of the body", async () => {
  await using peer = await startPeer([
    `${piped}\nC: MAIL*\nC: RCPT*\nC: DATA\nS: 250 m\nS: 250 r\nS: 354 go\nSTALL`,
  ]);
  const { opened, send } = client([peer.target], { timeouts: { ...patient, dataMs: 80 } });
  await opened;
  const message = [Buffer.from(`Subject: x\r\n\r\n${"line of text\r\n".repeat(2_000_000)}`)];
  assert.equal(inShort(await send({ message })), "body timeout [?]");
});

test("a long message arrives whole, in windows, and one refused in the middle has its reply", async () => {
  const start = `${piped}\nC: MAIL*\nC: RCPT*\nC: DATA\nS: 250 m\nS: 250 r\nS: 354 go`;
  const text = `Subject: x\r\n\r\n${".a line of text\r\n..\r\n".repeat(100_000)}`;
  await using peer = await startPeer([
    `${start}\nBODY\nS: 250 ok\n${start.split("\n").slice(4).join("\n")}\nS: 552 5.3.4 too long\nSTALL`,
  ]);
  const { opened, send, connection, closed } = client([peer.target]);
  await opened;
  assert.equal(inShort(await send({ message: [Buffer.from(text)] })), "250");
  assert.equal(peer.bodies[0]?.replaceAll("\r\n..", "\r\n."), text);
  assert.equal(inShort(await send({ message: [Buffer.alloc(60_000_000, "x")] })), "552");
  assert.equal(connection.idle, false);
  await closed;
});

test("pipelining: the envelope is one write, the message another; BDAT: all is one", async () => {
  const reads = async (offer: string, script: string): Promise<number> => {
    await using peer = await startPeer([`${offer}\nC: MAIL*\nC: RCPT*\n${script}\nS: 250 ok`]);
    const { opened, send } = client([peer.target]);
    await opened;
    const before = peer.reads[0] ?? 0;
    assert.equal(inShort(await send()), "250");
    return (peer.reads[0] ?? 0) - before;
  };
  assert.equal(await reads(piped, "C: DATA\nS: 250 m\nS: 250 r\nS: 354 go\nBODY"), 2);
  assert.equal(await reads(bdat, "C: BDAT 21 LAST\nCHUNK\nS: 250 m\nS: 250 r"), 1);
});

test("a message above maxBdatBytes goes by DATA, and so does every one when it is 0", async () => {
  for (const maxBdatBytes of [20, 0]) {
    await using peer = await startPeer([
      `${bdat}\nC: MAIL*\nC: RCPT*\nC: DATA\nS: 250 m\nS: 250 r\nS: 354 go\nBODY\nS: 250 ok`,
    ]);
    const { opened, send } = client([peer.target], { maxBdatBytes });
    await opened;
    assert.equal(inShort(await send()), "250");
  }
});

test("BDAT adds the missing last line end to what it announces", async () => {
  await using peer = await startPeer([
    `${bdat}\nC: MAIL*\nC: RCPT*\nC: BDAT 4 LAST\nCHUNK\nS: 250 m\nS: 250 r\nS: 250 ok`,
  ]);
  const { opened, send } = client([peer.target]);
  await opened;
  assert.equal(inShort(await send({ message: [Buffer.from(".a")] })), "250");
  assert.equal(peer.bodies[0], ".a\r\n");
});

const local: readonly (readonly [string, string, Parameters<typeof mail>[0], string])[] = [
  ["a message larger than the peer takes", hello("SIZE 20"), {}, "552"],
  ["an eight-bit message to a peer without 8BITMIME", piped, { eightBit: true }, "mail unsupported 554 [?]"],
  [
    "an SMTPUTF8 message to a peer without it",
    hello("8BITMIME"),
    { smtpUtf8: true },
    "mail unsupported 553 [?]",
  ],
  ["an address with a line end in it", piped, { to: ["b@y.test>\r\nRCPT TO:<x@y.test"] }, "553"],
  ["a sender with a line end in it", piped, { from: "a\r\nDATA" }, "553"],
  ["an address with a bracket", piped, { to: ["b@y.test> NOTIFY=NEVER"] }, "553"],
  ["a quoted local part that does not end", piped, { to: ['"b> NOTIFY=NEVER'] }, "553"],
  ["an address that is not ASCII, without SMTPUTF8", piped, { to: ["é@y.test"] }, "553"],
  ["an address without an end", piped, { to: ["x".repeat(1000)] }, "553"],
  ["a lease that has run out", piped, { mayProceed: () => false }, "mail fenced [?]"],
];
for (const [name, script, given, result] of local) {
  test(`send() answers without a word to the peer and stays idle: ${name}`, async () => {
    await using peer = await startPeer([script]);
    const { opened, send, connection, closed } = client([peer.target]);
    await opened;
    const answer = await send(given);
    assert.equal(inShort(answer), result);
    const said = answer.kind === "fault" ? [answer.fault.reply] : answer.replies;
    assert.ok(
      said.every((reply) => reply === undefined || reply.isOurs === true),
      "not the peer's words",
    );
    assert.equal(connection.idle, true);
    assert.equal(connection.sent, 0);
    connection.close();
    await closed;
    assert.deepEqual(peer.heard[0], ["EHLO me.test", "QUIT"]);
  });
}

test("send() throws on a connection that is busy or not ready", async () => {
  await using peer = await startPeer([`${piped}\nHANG`]);
  const { opened, send, connection } = client([peer.target]);
  assert.throws(() => connection.send(mail(), () => {}), /expected an idle connection, it is opening/);
  await opened;
  const result = send();
  assert.throws(() => connection.send(mail(), () => {}), /expected an idle connection, it is busy/);
  connection.destroy();
  await result;
});

test("one bad address among good ones is refused here, the others are sent", async () => {
  await using peer = await startPeer([
    `${piped}\nC: MAIL*\nC: RCPT TO:<d@y.test>\nC: DATA\nS: 250 m\nS: 250 r\nS: 354 go\nBODY\nS: 250 ok`,
  ]);
  const { opened, send } = client([peer.target]);
  await opened;
  assert.equal(inShort(await send({ to: ["b\0@y.test", "d@y.test"] })), "553 250");
});

test("a quoted local part may hold spaces and brackets", async () => {
  const to = String.raw`"a <b> \" c"@y.test`;
  await using peer = await startPeer([
    `${piped}\nC: MAIL*\nC: RCPT TO:<${to}>\nC: DATA\nS: 250 m\nS: 550 r\nS: 503 no`,
  ]);
  const { opened, send } = client([peer.target]);
  await opened;
  assert.equal(inShort(await send({ to: [to] })), "550");
});

test("MAIL carries SIZE, BODY and SMTPUTF8 where they are offered and needed", async () => {
  await using peer = await startPeer([
    `${hello("SIZE 1000", "8BITMIME", "SMTPUTF8")}\nC: MAIL FROM:<é@x.test> SIZE=21 BODY=8BITMIME SMTPUTF8\nS: 550 no`,
  ]);
  const { opened, send } = client([peer.target]);
  await opened;
  assert.equal(inShort(await send({ from: "é@x.test", eightBit: true, smtpUtf8: true })), "550");
  assert.deepEqual(peer.mismatches, []);
});

test("LIMITS: recipients above RCPTMAX are put off, and after MAILMAX the connection says goodbye", async () => {
  await using peer = await startPeer([
    `${hello("PIPELINING", "LIMITS RCPTMAX=1 MAILMAX=1")}\nC: MAIL*\nC: RCPT TO:<b@y.test>\nC: DATA\nS: 250 m\nS: 250 r\nS: 354 go\nBODY\nS: 250 ok\nC: QUIT\nS: 221 bye\nCLOSE`,
  ]);
  const { opened, send, connection, closed } = client([peer.target]);
  await opened;
  assert.equal(inShort(await send({ to: three })), "250 452 452");
  assert.equal(connection.idle, false);
  await closed;
});

for (const [name, offer, rest] of [
  ["DATA", piped, "C: DATA\nS: 250 m\nS: 250 r\nS: 354 go\nBODY"],
  ["DATA in lock step", hello("8BITMIME"), ""],
] as const) {
  test(`a lease that runs out before the final dot: the message is not finished (${name})`, async () => {
    const script =
      rest === ""
        ? "C: MAIL*\nS: 250 m\nC: RCPT*\nS: 250 r\nC: DATA\nS: 354 go\nBODY"
        : `C: MAIL*\nC: RCPT*\n${rest}`;
    await using peer = await startPeer([`${offer}\n${script}\nS: 250 taken`]);
    const { opened, send, closed } = client([peer.target]);
    await opened;
    let asked = 0;
    assert.equal(inShort(await send({ mayProceed: () => ++asked === 1 })), "body fenced [?]");
    assert.equal(asked, 2);
    await closed;
    assert.deepEqual(peer.bodies, []);
  });
}

test("with BDAT a lease that runs out leaves nothing at the peer at all", async () => {
  await using peer = await startPeer([`${bdat}\nHANG`]);
  const { opened, send, closed } = client([peer.target]);
  await opened;
  let asked = 0;
  assert.equal(inShort(await send({ mayProceed: () => ++asked === 1 })), "body fenced [?]");
  await closed;
});

test("a long message whose lease runs out on the way lacks its end", async () => {
  await using peer = await startPeer([takesOne]);
  const { opened, send, closed } = client([peer.target]);
  await opened;
  let asked = 0;
  const message = [Buffer.alloc(3_000_000, "x")];
  assert.equal(inShort(await send({ message, mayProceed: () => ++asked === 1 })), "body fenced [?]");
  assert.equal(asked, 2);
  await closed;
  assert.deepEqual(peer.bodies, []);
});

for (const [name, message] of [
  ["short", [Buffer.from("Subject: x\r\n\r\nhello\r\n")]],
  ["long", [Buffer.alloc(3_000_000, "x\r\n")]],
] as const) {
  test(`the final dot waits for its moment, and is asked for again then (${name})`, async () => {
    await using peer = await startPeer([takesOne]);
    const { opened, send } = client([peer.target]);
    await opened;
    const answers = [5, 3, 0];
    const unfinished: number[] = [];
    const finalDotMs = (): number => {
      unfinished.push(peer.bodies.length);
      return answers.shift() ?? 0;
    };
    assert.equal(inShort(await send({ message, finalDotMs })), "250");
    assert.deepEqual(unfinished, [0, 0, 0]);
    assert.equal(peer.bodies[0], message[0].toString("latin1"));
  });
}

test("a lease that runs out while the final dot waits: the message is not finished", async () => {
  await using peer = await startPeer([takesOne]);
  const { opened, send, closed } = client([peer.target]);
  await opened;
  let asked = 0;
  const result = await send({ mayProceed: () => ++asked < 3, finalDotMs: () => 5 });
  assert.equal(inShort(result), "body fenced [?]");
  await closed;
  assert.deepEqual(peer.bodies, []);
});

async function idlePeer(script: string): Promise<{ peer: Peer; found: ReturnType<typeof client> }> {
  const peer = await startPeer([script]);
  const found = client([peer.target]);
  await found.opened;
  return { peer, found };
}

for (const [name, said] of [
  ["421", "S: 421 idle for too long\nCLOSE"],
  ["a close", "CLOSE"],
  ["a reset", "RESET"],
  ["a reply nobody asked for", "S: 250 ok\nHANG"],
  ["half a line", "SENT: 25\nHANG"],
] as const) {
  test(`${name} while idle closes the connection and harms no mail`, async () => {
    const { peer, found } = await idlePeer(`${piped}\nWAIT\n${said}`);
    await using _ = peer;
    peer.go();
    await found.closed;
    assert.equal(found.connection.idle, false);
    assert.deepEqual(found.happened, ["ready", "closed"]);
    assert.equal(inShort(await found.send()), "mail closed [?]");
  });
}

test("close() during a transaction waits for its result, destroy() does not", async () => {
  const script = `${piped}\nC: MAIL*\nC: RCPT*\nC: DATA\nS: 250 m\nS: 250 r\nWAIT\nS: 354 go\nBODY\nS: 250 ok`;
  const first = await idlePeer(script);
  await using _ = first.peer;
  const result = first.found.send();
  first.found.connection.close();
  first.peer.go();
  assert.equal(inShort(await result), "250");
  await first.found.closed;
  const second = await idlePeer(script);
  await using __ = second.peer;
  const cut = second.found.send();
  second.found.connection.destroy();
  assert.match(inShort(await cut), /closed \[\?\]/);
  await second.found.closed;
  assert.deepEqual(second.found.happened, ["ready", "done fault", "closed"]);
});

test("close() does not wait for a peer that does not answer QUIT", async () => {
  const { peer, found } = await idlePeer(`${piped}\nC: QUIT\nHANG`);
  await using _ = peer;
  const quick = client([peer.target], { timeouts: hasty });
  await quick.opened;
  quick.connection.close();
  await quick.closed;
  found.connection.destroy();
  await found.closed;
});

test("committed is true from the final dot to its reply", async () => {
  const { peer, found } = await idlePeer(
    `${piped}\nC: MAIL*\nC: RCPT*\nC: DATA\nS: 250 m\nS: 250 r\nS: 354 go\nBODY\nWAIT\nS: 250 ok`,
  );
  await using _ = peer;
  const result = found.send();
  assert.equal(found.connection.committed, false);
  await until("the message", () => peer.bodies.length > 0);
  assert.equal(found.connection.committed, true);
  peer.go();
  await result;
  assert.equal(found.connection.committed, false);
});
