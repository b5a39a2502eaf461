import assert from "node:assert/strict";
import { createServer } from "node:net";
import { test } from "node:test";
import type { Fault, Target } from "#mta-pod/smtp/transaction.ts";
import { tellingFault } from "#mta-pod/smtp-out/opening.ts";
import { createTlsPolicy } from "#mta-pod/smtp-out/tls-policy.ts";
import { testCertificate } from "#test/kit/certificates.ts";
import { startPeer } from "#test/kit/smtp-peer.ts";
import { client, hasty, inShort } from "./client.ts";

const fine = "S: 220 peer\nC: EHLO me.test\nS: 250-peer\nS: 250 PIPELINING";
const withTls = "S: 220 peer\nC: EHLO me.test\nS: 250-peer\nS: 250 STARTTLS";
const inTls = `${withTls}\nC: STARTTLS\nS: 220 go\nSTARTTLS\nC: EHLO me.test\nS: 250-peer\nS: 250 PIPELINING`;
const onceRefused = "C: MAIL*\nC: RCPT*\nC: DATA\nS: 550 no\nS: 503 no\nS: 503 no";

async function closedPort(): Promise<Target> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  await new Promise((resolve) => server.close(resolve));
  return { host: "gone.test", address: "127.0.0.1", port };
}

const unwilling: readonly (readonly [string, string, string])[] = [
  ["a greeting of 421", "S: 421 too many\nCLOSE", "greeting refused 421"],
  ["a greeting of 554", "S: 554 go away\nHANG", "greeting refused 554"],
  ["a greeting of 354", "S: 354 what\nHANG", "greeting protocol 354"],
  ["a greeting that is none", "S: SSH-2.0-OpenSSH\nHANG", "greeting protocol"],
  ["a close before the greeting", "CLOSE", "greeting closed"],
  ["no greeting", "HANG", "greeting timeout"],
  ["EHLO refused for now", "S: 220 peer\nC: EHLO*\nS: 450 later\nHANG", "ehlo refused 450"],
  ["EHLO answered with 421", "S: 220 peer\nC: EHLO*\nS: 421 bye\nHANG", "ehlo refused 421"],
  [
    "EHLO and HELO refused",
    "S: 220 peer\nC: EHLO*\nS: 550 no\nC: HELO me.test\nS: 550 no\nHANG",
    "ehlo refused 550",
  ],
  ["a close at EHLO", "S: 220 peer\nC: EHLO*\nCLOSE", "ehlo closed"],
  ["no answer to EHLO", "S: 220 peer\nC: EHLO*\nHANG", "ehlo timeout"],
  [
    "a multi-line EHLO without an end",
    `S: 220 peer\nC: EHLO*\n${"S: 250-x\n".repeat(101)}HANG`,
    "ehlo protocol",
  ],
];
for (const [name, script, expected] of unwilling) {
  test(`openConnection() goes on to the next target, and fails with the reason without one: ${name}`, async () => {
    await using bad = await startPeer([script]);
    await using good = await startPeer([fine]);
    const alone = client([bad.target], { timeouts: { ...hasty, connectMs: 5000 } });
    const fault = await alone.opened;
    assert.ok("kind" in fault);
    assert.equal(`${fault.stage} ${fault.kind} ${fault.reply?.code ?? ""}`.trim(), expected);
    assert.deepEqual(fault.target, bad.target);
    assert.deepEqual(alone.happened, ["failed"]);
    const both = client([bad.target, good.target], { timeouts: { ...hasty, connectMs: 5000 } });
    const facts = await both.opened;
    assert.deepEqual("target" in facts && facts.target, good.target);
    both.connection.close();
    await both.closed;
  });
}

const words: readonly (readonly [string, string, string])[] = [
  ["a greeting", "S: 421-4.7.0 too many\nS: 421 4.7.0 connections", "421 4.7.0 too many connections"],
  [
    "a greeting for good",
    "S: 554 5.7.1 blocked,\x07see https://x.example",
    "554 5.7.1 blocked, see https://x.example",
  ],
  ["a greeting without a word", "S: 554", "554 "],
  ["EHLO", "S: 220 peer\nC: EHLO*\nS: 450 4.3.2 later", "450 4.3.2 later"],
  ["HELO", "S: 220 peer\nC: EHLO*\nS: 502 what\nC: HELO*\nS: 550 5.7.1 not you", "550 5.7.1 not you"],
  ["STARTTLS", `${withTls}\nC: STARTTLS\nS: 454 4.7.0 no TLS today`, "454 4.7.0 no TLS today"],
  ["STARTTLS, as it closes", `${withTls}\nC: STARTTLS\nS: 421 4.3.2 bye`, "421 4.3.2 bye"],
  ["a greeting that means nothing", "S: 221 bye", "unexpected reply 221 bye"],
  ["a greeting out of place", "S: 354 go", "unexpected reply 354 go"],
];
for (const [at, script, said] of words) {
  test(`openConnection() fails with what the peer said, bounded and printable: ${at}`, async () => {
    await using peer = await startPeer([`${script}\nHANG`]);
    const fault = await client([peer.target], { tls: "Required" }).opened;
    assert.ok("kind" in fault);
    assert.equal(fault.text, said);
  });
}

test("openConnection() keeps 512 characters of what the peer said", async () => {
  await using peer = await startPeer([`S: 554 ${"x".repeat(2000)}\nHANG`]);
  const fault = await client([peer.target]).opened;
  assert.ok("kind" in fault);
  assert.equal(fault.text, `554 ${"x".repeat(508)}`);
});

test("openConnection() goes on from a port where nobody listens, and from an address it cannot bind", async () => {
  await using good = await startPeer([fine]);
  const gone = await closedPort();
  const both = client([gone, good.target]);
  const facts = await both.opened;
  assert.deepEqual("tls" in facts && [facts.target, facts.tls, facts.localAddress], [
    good.target,
    "",
    "127.0.0.1",
  ]);
  both.connection.destroy();
  await both.closed;
  const fault = await client([gone]).opened;
  assert.ok("kind" in fault && fault.kind === "network" && fault.stage === "connect", JSON.stringify(fault));
  const unbound = await client([good.target], { localAddress: "192.0.2.1" }).opened;
  assert.ok("kind" in unbound && unbound.kind === "network", JSON.stringify(unbound));
});

test("openConnection() with no target fails", async () => {
  const fault = await client([]).opened;
  assert.ok("kind" in fault && fault.kind === "network");
});

test("a multi-line greeting and a peer that knows only HELO are fine", async () => {
  await using peer = await startPeer([
    "S: 220-peer\nS: 220 welcome\nC: EHLO*\nS: 502 what\nC: HELO me.test\nS: 250 hi\nC: MAIL FROM:<a@x.test>\nS: 550 no",
  ]);
  const { opened, send } = client([peer.target], { tls: "Opportunistic" });
  await opened;
  assert.equal(inShort(await send()), "550");
});

test("destroy() and close() before it is ready end in failed", async () => {
  await using peer = await startPeer(["HANG"]);
  for (const end of ["destroy", "close"] as const) {
    const waiting = client([peer.target, peer.target]);
    waiting.connection[end]();
    const fault = await waiting.opened;
    assert.ok("kind" in fault && fault.kind === "closed");
    assert.deepEqual(waiting.happened, ["failed"]);
  }
});

test("more than was asked for right after EHLO's reply is a peer that is not used", async () => {
  await using peer = await startPeer([`${fine}\nS: 250 and more\nHANG`]);
  const { opened, closed, happened } = client([peer.target]);
  assert.ok("kind" in (await opened));
  await closed;
  assert.deepEqual(happened, ["failed"]);
});

const certificate = await testCertificate(["mx.test"]);

for (const mode of ["Opportunistic", "Required"] as const) {
  test(`${mode}: STARTTLS is taken with a certificate nobody vouches for, EHLO comes again, mail flows`, async () => {
    await using peer = await startPeer([`${inTls}\n${onceRefused}`], { tls: certificate });
    const { opened, send, connection, closed } = client([peer.target], { tls: mode });
    const facts = await opened;
    assert.match("tls" in facts ? facts.tls : "", /^TLSv1\.3 TLS_/);
    assert.equal(inShort(await send()), "550");
    connection.close();
    await closed;
    assert.deepEqual(peer.mismatches, []);
  });
}

test("None: STARTTLS is not taken", async () => {
  await using peer = await startPeer([`${withTls}\nC: MAIL*\nS: 550 no`]);
  const { opened, send } = client([peer.target], { tls: "None" });
  await opened;
  assert.equal(inShort(await send()), "550");
});

test("what a peer offers in clear is forgotten: PIPELINING before STARTTLS only is not used", async () => {
  const script =
    "S: 220 peer\nC: EHLO*\nS: 250-peer\nS: 250-PIPELINING\nS: 250 STARTTLS\nC: STARTTLS\nS: 220 go\nSTARTTLS\nC: EHLO*\nS: 250 peer";
  await using peer = await startPeer([`${script}\nC: MAIL*\nS: 250 m\nC: RCPT*\nS: 550 r\nC: QUIT`], {
    tls: certificate,
  });
  const { opened, send, connection } = client([peer.target], { tls: "Required" });
  await opened;
  assert.equal(inShort(await send()), "550");
  assert.equal(peer.heard[0]?.at(-1), "RCPT TO:<b@y.test>");
  connection.destroy();
});

test("replies injected in clear behind STARTTLS's are dropped", async () => {
  const injected = `${withTls}\nC: STARTTLS\nS: 220 go\nS: 250-evil\nS: 250 PIPELINING\nS: 250 more\nSTARTTLS\nC: EHLO*\nS: 250 peer\nC: MAIL*\nS: 550 no`;
  await using peer = await startPeer([injected], { tls: certificate });
  const { opened, send } = client([peer.target], { tls: "Required" });
  await opened;
  assert.equal(inShort(await send()), "550");
  assert.deepEqual(peer.heard[0], ["EHLO me.test", "STARTTLS", "EHLO me.test", "MAIL FROM:<a@x.test>"]);
});

const broken: readonly (readonly [string, string])[] = [
  ["no TLS behind 220", `${withTls}\nC: STARTTLS\nS: 220 go\nBADTLS`],
  ["a close at the handshake", `${withTls}\nC: STARTTLS\nS: 220 go\nCLOSE`],
  ["a reset at STARTTLS", `${withTls}\nC: STARTTLS\nRESET`],
  ["silence at the handshake", `${withTls}\nC: STARTTLS\nS: 220 go\nHANG`],
  ["a close after the handshake", `${withTls}\nC: STARTTLS\nS: 220 go\nSTARTTLS\nC: EHLO*\nCLOSE`],
];
const soon = { ...hasty, connectMs: 5000, bannerMs: 5000, commandMs: 300 };
for (const [name, script] of broken) {
  test(`Opportunistic: the same target again in clear, and remembered: ${name}`, async () => {
    let now = 1;
    const tlsPolicy = createTlsPolicy({ clock: { now: () => 0, monotonic: () => now }, brokenMs: 1000 });
    const options = { tls: "Opportunistic", timeouts: soon, tlsPolicy } as const;
    await using peer = await startPeer([script, withTls, withTls, script, withTls], { tls: certificate });
    const open = async () => {
      const found = client([peer.target], options);
      const facts = await found.opened;
      assert.ok("tls" in facts, JSON.stringify(facts));
      assert.equal(facts.tls, "");
      found.connection.destroy();
      await found.closed;
      return peer.heard.length;
    };
    assert.equal(await open(), 2);
    assert.equal(tlsPolicy.isBroken("mx.test"), true);
    assert.equal(await open(), 3, "TLS is not tried while it is known to fail");
    now = 1002;
    assert.equal(tlsPolicy.isBroken("mx.test"), false);
    assert.equal(await open(), 5, "and is again when that is long ago");
  });

  test(`Required: the next target, and a fault of kind tls without one: ${name}`, async () => {
    await using bad = await startPeer([script], { tls: certificate });
    await using good = await startPeer([inTls], { tls: certificate });
    const options = { tls: "Required", timeouts: soon } as const;
    const fault = await client([bad.target], options).opened;
    assert.ok("kind" in fault && fault.kind === "tls" && fault.stage === "tls", JSON.stringify(fault));
    assert.equal(bad.heard.length, 1);
    const both = client([bad.target, good.target], options);
    const facts = await both.opened;
    assert.deepEqual("target" in facts && facts.target, good.target);
    both.connection.destroy();
  });
}

test("Opportunistic: a peer that is away in clear as well is not remembered as one whose TLS fails", async () => {
  const tlsPolicy = createTlsPolicy({ clock: { now: () => 1, monotonic: () => 1 } });
  await using peer = await startPeer([`${withTls}\nC: STARTTLS\nRESET`, "CLOSE"]);
  const fault = await client([peer.target], { tls: "Opportunistic", tlsPolicy }).opened;
  assert.ok("kind" in fault && fault.stage === "greeting");
  assert.equal(tlsPolicy.isBroken("mx.test"), false);
});

test("STARTTLS refused: Opportunistic goes on in clear, Required goes on to the next target", async () => {
  const refused = `${withTls}\nC: STARTTLS\nS: 454 not now`;
  await using peer = await startPeer([refused]);
  const clear = client([peer.target], { tls: "Opportunistic" });
  const facts = await clear.opened;
  assert.equal("tls" in facts && facts.tls, "");
  clear.connection.destroy();
  const fault = await client([peer.target], { tls: "Required" }).opened;
  assert.ok("kind" in fault && fault.stage === "tls" && fault.reply?.code === 454, JSON.stringify(fault));
});

test("Required: a peer that does not offer STARTTLS is a fault of kind tls", async () => {
  await using peer = await startPeer([fine]);
  const fault = await client([peer.target], { tls: "Required" }).opened;
  assert.ok("kind" in fault && fault.kind === "tls" && fault.stage === "ehlo", JSON.stringify(fault));
});

test("a TLS session is resumed at the next connection to the same host", async () => {
  const tlsPolicy = createTlsPolicy({ clock: { now: () => 1, monotonic: () => 1 } });
  await using peer = await startPeer([`${inTls}\n${onceRefused}`], { tls: certificate });
  for (const expected of [undefined, "object"]) {
    const ticket = tlsPolicy.session("mx.test", peer.target.port);
    assert.equal(ticket === undefined ? undefined : typeof ticket, expected);
    const found = client([peer.target], { tls: "Required", tlsPolicy });
    await found.opened;
    assert.equal(inShort(await found.send()), "550");
    found.connection.close();
    await found.closed;
  }
});

test("a host whose BDAT is not understood gets DATA the next time", async () => {
  const tlsPolicy = createTlsPolicy({ clock: { now: () => 1, monotonic: () => 1 } });
  const offer = "S: 220 peer\nC: EHLO*\nS: 250-peer\nS: 250-CHUNKING\nS: 250 PIPELINING\nC: MAIL*\nC: RCPT*";
  await using peer = await startPeer([
    `${offer}\nC: BDAT*\nCHUNK\nS: 250 m\nS: 250 r\nS: 500 what\nHANG`,
    `${offer}\nC: DATA\nS: 250 m\nS: 250 r\nS: 354 go\nBODY\nS: 250 ok`,
  ]);
  for (const expected of ["final protocol 500 [?]", "250"]) {
    const found = client([peer.target], { tlsPolicy });
    await found.opened;
    assert.equal(inShort(await found.send()), expected);
    found.connection.destroy();
    await found.closed;
  }
});

const at = (code: number | undefined, text: string): Fault => ({
  stage: "greeting",
  kind: code === undefined ? "network" : "refused",
  text,
  ...(code === undefined ? {} : { reply: { code, enhanced: "", text } }),
});
for (const [name, faults, expected] of [
  ["a refusal for now is told rather than silence", [at(421, "a"), at(undefined, "b")], "a"],
  ["silence is told rather than a refusal for good", [at(554, "a"), at(undefined, "b")], "b"],
  ["the last refusal for good, when there is nothing else", [at(554, "a"), at(521, "b")], "b"],
  ["the last of several silences", [at(undefined, "a"), at(undefined, "b")], "b"],
] as const) {
  test(`tellingFault(): ${name}`, () => {
    assert.equal(tellingFault(faults).text, expected);
  });
}

test("openConnection() asks before a target whose connections are counted elsewhere, and says when there was no room", async () => {
  await using own = await startPeer(["S: 421 too busy\nCLOSE"]);
  await using theirs = await startPeer([fine]);
  const asked: string[] = [];
  const foreign = { ...theirs.target, home: "mx:elsewhere.example/mx" };
  const answering = (isAdmitted: boolean) => (target: Target, then: (isAdmitted: boolean) => void) => {
    asked.push(target.home ?? "own");
    then(target.home === undefined || isAdmitted);
  };
  const missed: string[] = [];
  const refused = client([own.target, foreign], {
    admit: answering(false),
    missed: ({ stage, kind, target }) => missed.push(`${stage} ${kind} ${target?.port}`),
  });
  const fault = await refused.opened;
  assert.ok("kind" in fault);
  assert.equal(`${fault.stage} ${fault.kind}`, "connect full");
  assert.equal(theirs.heard.length, 0);
  assert.deepEqual(missed, [`greeting refused ${own.target.port}`], "what is full may be reached");
  await using again = await startPeer(["S: 421 too busy\nCLOSE"]);
  const admitted = client([again.target, foreign], { admit: answering(true) });
  const facts = await admitted.opened;
  assert.deepEqual("target" in facts && facts.target, foreign);
  assert.deepEqual(asked, ["own", foreign.home, "own", foreign.home]);
  admitted.connection.close();
  await admitted.closed;
});

test("openConnection() can be given up while it waits to be let in, and does not connect when it is let in after that", async () => {
  await using theirs = await startPeer([fine]);
  let letIn = (_isAdmitted: boolean): void => {};
  const { connection, opened, happened } = client([{ ...theirs.target, home: "h" }], {
    admit: (_, then) => (letIn = then),
  });
  await new Promise((resolve) => setImmediate(resolve));
  connection.destroy();
  const fault = await opened;
  assert.equal("kind" in fault && fault.kind, "closed");
  letIn(true);
  assert.deepEqual(happened, ["failed"]);
  assert.equal(theirs.heard.length, 0);
});
