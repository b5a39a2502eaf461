/** Smuggling, cut-up input and random bytes: only a proper DATA or BDAT makes a message, and always the same one. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { systemClock } from "#mta-pod/runtime/clock.ts";
import { silentLog } from "#mta-pod/runtime/log.ts";
import { createBufferBudget } from "#mta-pod/smtp-in/buffer-budget.ts";
import { Session } from "#mta-pod/smtp-in/session.ts";
import { type Carrier, SessionState } from "#mta-pod/smtp-in/session-state.ts";
import { listenerOptions, type Recorder, RawClient, recordingHooks, running } from "./kit.ts";

/** A session without a socket. */
function sessionOf(hooks: Recorder): { session: Session; said: () => string; ended: () => boolean } {
  let said = "";
  let ended = false;
  const carrier: Carrier = {
    write(text) {
      said += text;
    },
    pause: () => {},
    resume: () => {},
    startTls: () => {},
    end() {
      ended = true;
    },
    destroy() {
      ended = true;
    },
  };
  const options = listenerOptions({ hooks });
  const context = {
    options,
    budget: createBufferBudget(options.maxBufferedBytes),
    log: silentLog,
    now: systemClock.monotonic(),
    draining: false,
    hasTls: true,
  };
  const peer = { id: "s", remoteAddress: "127.0.0.1", remotePort: 1, mayAuthInClear: true };
  const session = new Session(new SessionState(context, carrier, peer));
  session.greet();
  return { session, said: () => said, ended: () => ended };
}

const envelope = "MAIL FROM:<a@acme.example>\r\nRCPT TO:<b@b.example>\r\n";
const wholeSession = Buffer.from(
  [
    "EHLO app\r\n",
    `${envelope}DATA\r\nSubject: one\r\n\r\n..dot\r\n.x\r\n\r\n.\r\n`,
    `${envelope}RCPT TO:<c@b.example>\r\nBDAT 7\r\nx: y\r\n\r`,
    "BDAT 6 LAST\r\n\n.\r\nz.",
    "RSET\r\nNOOP\r\n",
    `${envelope}DATA\r\n.\r\n`,
    `${envelope}DATA\r\nbare\nline\r\n.\r\n`,
    "QUIT\r\n",
  ].join(""),
);

function play(chunks: readonly Buffer[]): { said: string; bodies: string[] } {
  const hooks = recordingHooks();
  const { session, said } = sessionOf(hooks);
  for (const chunk of chunks) session.feed(chunk);
  return {
    said: said(),
    bodies: hooks.messages.map(({ body, to }) => `${to.join()} ${body.toString("latin1")}`),
  };
}

test("a pipelined session means the same however its bytes are cut", () => {
  const whole = play([wholeSession]);
  assert.equal(whole.bodies.length, 3);
  assert.match(whole.said, /550 5\.6\.0[^\r]*\r\n221 2\.0\.0 bye\r\n$/);
  fc.assert(
    fc.property(fc.array(fc.nat(wholeSession.length), { maxLength: 40 }), (cuts) => {
      const ends = [...cuts.toSorted((a, b) => a - b), wholeSession.length];
      let start = 0;
      const chunks = ends.map((end) => {
        const chunk = wholeSession.subarray(start, end);
        start = end;
        return chunk;
      });
      assert.deepEqual(play(chunks.filter((chunk) => chunk.length > 0)), whole);
    }),
    { numRuns: 1000 },
  );
  assert.deepEqual(play([...wholeSession].map((byte) => Buffer.from([byte]))), whole);
});

test("random bytes never throw and never make a message", () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 10 }), (chunks) => {
      const { bodies } = play(chunks.map((chunk) => Buffer.from(chunk)));
      assert.deepEqual(bodies, []);
    }),
    { numRuns: 1000 },
  );
});

test("random commands make a message only by MAIL, RCPT and DATA or BDAT in this order", () => {
  const command = fc.constantFrom(
    "EHLO a\r\n",
    "HELO a\r\n",
    "MAIL FROM:<a@acme.example>\r\n",
    "MAIL FROM:<a@other.example>\r\n",
    "RCPT TO:<b@b.example>\r\n",
    "RCPT TO:<bounce-550-5.1.1@b.example>\r\n",
    "DATA\r\n",
    "x: y\r\n",
    ".\r\n",
    "BDAT 3\r\nabc",
    "BDAT 3 LAST\r\nabc",
    "BDAT 0 LAST\r\n",
    "RSET\r\n",
    "VRFY b\r\n",
    "AUTH LOGIN\r\n",
    "*\r\n",
    "\r\n",
    "\0\r\n",
    "MAIL\r\n",
  );
  fc.assert(
    fc.property(fc.array(command, { maxLength: 40 }), (commands) => {
      const hooks = recordingHooks();
      const { session, said, ended } = sessionOf(hooks);
      for (const line of commands) session.feed(Buffer.from(line));
      const text = said();
      assert.match(text, /^(?:\d{3}[ -][^\r\n]*\r\n)*$/);
      const queued = text.match(/queued as/g)?.length ?? 0;
      assert.equal(hooks.messages.length, queued);
      for (const { from, to } of hooks.messages) {
        assert.equal(from, "a@acme.example");
        assert.ok(to.length > 0 && to.every((address) => address === "b@b.example"));
      }
      if (ended()) assert.match(text, /(?:421|501|554)[^\r\n]*\r\n$/);
    }),
    { numRuns: 2000 },
  );
});

/** Sequences that some server or other takes for the end of data. */
const smuggles = [
  "\n.\n",
  "\n.\r\n",
  "\r\n.\n",
  "\r.\r",
  "\r.\r\n",
  "\r\n.\r",
  "\n.\r",
  "\r.\n",
  "\r\n\r.\r\n",
  "\r\n.\r\r\n",
  "\n\n.\r\n",
  "\r\r\n.\r\r\n",
  "\r\n\0.\r\n",
  "\r\n.\0\r\n",
  "\r\n\x1a.\r\n",
];

for (const sequence of smuggles)
  test(`a second message behind ${JSON.stringify(sequence)} is not taken`, async () => {
    await using server = await running();
    await using client = await RawClient.open(server.listener.port);
    client.send(`EHLO app\r\n${envelope}DATA\r\nx: y\r\n\r\nfirst${sequence}`);
    client.send(`${envelope.replace("b@b", "victim@b")}DATA\r\nx: forged\r\n\r\nsecond\r\n.\r\nQUIT\r\n`);
    const said = await client.untilClosed();
    assert.match(said, /221 2\.0\.0 bye\r\n$/);
    assert.equal(said.match(/^(?:250 2\.0\.0 queued|550 5\.6\.0)/gm)?.length, 1);
    assert.equal(said.match(/^354/gm)?.length, 1);
    assert.ok(server.hooks.messages.length <= 1);
    for (const { to } of server.hooks.messages) assert.deepEqual(to, ["b@b.example"]);
    // What was taken all the same (a lone control character is content) has no line end others could read differently.
    for (const { body } of server.hooks.messages)
      assert.doesNotMatch(body.toString("latin1"), /\r(?!\n)|(?<!\r)\n/);
  });
