/** Bounds, time-outs, back-pressure and shutdown, over real sockets with a clock that the test moves. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { recipientBytes } from "#crds/wire/envelope.ts";
import { type Reply, reply } from "#mta-pod/smtp/reply.ts";
import type { Inbound } from "#mta-pod/smtp/inbound.ts";
import { bounds } from "#mta-pod/smtp-in/options.ts";
import { accepted, RawClient, recordingHooks, running, until } from "./kit.ts";

const envelope = "MAIL FROM:<a@acme.example>\r\nRCPT TO:<b@b.example>\r\n";

function testClock(): { now(): number; monotonic(): number; ms: number } {
  const clock = { ms: 1000, now: () => clock.ms, monotonic: () => clock.ms };
  return clock;
}

/** Hooks that keep messages unanswered. */
function holdingHooks(): {
  hooks: ReturnType<typeof recordingHooks>;
  held: { inbound: Inbound; answer: (reply: Reply) => void }[];
} {
  const held: { inbound: Inbound; answer: (reply: Reply) => void }[] = [];
  const hooks = recordingHooks({ message: (inbound, answer) => void held.push({ inbound, answer }) });
  return { hooks, held };
}

test("a silent client is told 421 when its time is up", async () => {
  const clock = testClock();
  await using server = await running({ clock, sweepMs: 2, idleMs: 60_000 });
  await using client = await RawClient.open(server.listener.port);
  await client.reply();
  // One byte now and then is no activity: only whole commands are.
  client.send("NOO");
  clock.ms += 61_000;
  assert.equal(await client.untilClosed(), "421 4.4.2 timeout\r\n");
});

test("a body that trickles is cut off although bytes keep coming", async () => {
  const clock = testClock();
  await using server = await running({ clock, sweepMs: 2, idleMs: 60_000 });
  await using client = await RawClient.open(server.listener.port);
  await client.reply();
  client.send(`HELO app\r\n${envelope}DATA\r\n`);
  await client.replies(4);
  for (let minute = 0; minute < 4 && !client.isClosed; minute++) {
    client.send("x\r\n");
    await new Promise((resolve) => setTimeout(resolve, 10));
    clock.ms += 30_000;
  }
  assert.match(await client.untilClosed(), /^421 4\.4\.2 timeout\r\n$/);
  assert.equal(server.hooks.messages.length, 0);
});

test("waiting for the hook is not the client's silence, and what it pipelined meanwhile is kept", async () => {
  const clock = testClock();
  const { hooks, held } = holdingHooks();
  await using server = await running({ clock, sweepMs: 2, hooks });
  await using client = await RawClient.open(server.listener.port);
  await client.reply();
  client.send(`HELO app\r\n${envelope}DATA\r\nx: y\r\n.\r\n`);
  await client.replies(4);
  await until(() => held.length === 1);
  client.send(`${envelope}DATA\r\nx: z\r\n.\r\n`);
  clock.ms += 600_000;
  await new Promise((resolve) => setTimeout(resolve, 20));
  assert.equal(client.received, "");
  held[0]?.answer(accepted("queued as 1"));
  held[0]?.answer(accepted("never said"));
  assert.deepEqual(
    (await client.replies(4)).map((line) => line.slice(0, 3)),
    ["250", "250", "250", "354"],
  );
  await until(() => held.length === 2);
  held[1]?.answer(reply(451, "4.3.0", "later"));
  assert.equal(await client.reply(), "451 4.3.0 later");
});

test("a hook that throws is a local error", async () => {
  const hooks = recordingHooks({
    message() {
      throw new Error("bug");
    },
    recipient() {
      throw new Error("bug");
    },
  });
  await using server = await running({ hooks });
  await using client = await RawClient.open(server.listener.port);
  client.send(`HELO app\r\n${envelope}`);
  const replies = await client.replies(4);
  assert.match(replies[3] ?? "", /^451 4\.3\.0/);
});

test("connections are bounded in all and per address", async () => {
  await using server = await running({ maxConnectionsPerAddress: 2 });
  await using one = await RawClient.open(server.listener.port);
  await using two = await RawClient.open(server.listener.port);
  await one.reply();
  await two.reply();
  await using three = await RawClient.open(server.listener.port);
  assert.equal(await three.untilClosed(), "421 4.7.0 too many connections, try again later\r\n");
  assert.equal(server.listener.connections(), 2);
  one.socket.destroy();
  await until(() => server.listener.connections() === 1);
  await using four = await RawClient.open(server.listener.port);
  assert.match(await four.reply(), /^220/);
});

test("who talks before the banner is refused", async () => {
  await using server = await running({ bannerDelayMs: 60_000 });
  await using client = await RawClient.open(server.listener.port);
  client.send("EHLO app\r\n");
  assert.equal(await client.untilClosed(), "554 5.5.1 you talk before the greeting\r\n");
});

test("commands without a message are bounded, and a message starts the count anew", async () => {
  await using server = await running();
  await using client = await RawClient.open(server.listener.port);
  const half = "NOOP\r\n".repeat(bounds.idleCommands / 2);
  client.send(`HELO app\r\n${half}${envelope}DATA\r\nx: y\r\n.\r\n${half}QUIT\r\n`);
  assert.match(await client.untilClosed(), /221 2\.0\.0 bye\r\n$/);
  await using other = await RawClient.open(server.listener.port);
  other.send(`HELO app\r\n${"RSET\r\n".repeat(bounds.idleCommands + 1)}`);
  assert.match(await other.untilClosed(), /421 4\.7\.0 too many commands without a message\r\n$/);
});

test("a command line is bounded", async () => {
  await using server = await running();
  await using client = await RawClient.open(server.listener.port);
  await client.reply();
  assert.equal(await client.ask(`NOOP ${"x".repeat(bounds.commandBytes)}\r\n`), "500 5.5.2 line too long");
  client.send("x".repeat(bounds.authLineBytes + 1));
  assert.equal(await client.untilClosed(), "500 5.5.2 line too long\r\n");
});

test("recipients are bounded whatever the hook says", async () => {
  await using server = await running();
  await using client = await RawClient.open(server.listener.port);
  const many = Array.from(
    { length: bounds.recipients + 1 },
    (_, index) => `RCPT TO:<r${index}@b.example>\r\n`,
  );
  client.send(`HELO app\r\nMAIL FROM:<a@acme.example>\r\n${many.join("")}`);
  const replies = await client.replies(bounds.recipients + 4);
  assert.match(replies.at(-2) ?? "", /^250 2\.1\.5/);
  assert.match(replies.at(-1) ?? "", /^452 4\.5\.3/);
});

test("a hook whose limit is the most there may be is asked before the bound, so that it can count", async () => {
  const hooks = recordingHooks({
    recipient: (_session, _from, { length }) =>
      length < bounds.recipients ? null : reply(452, "4.5.3", "counted"),
  });
  await using server = await running({ hooks });
  await using client = await RawClient.open(server.listener.port);
  const many = "RCPT TO:<r@b.example>\r\n".repeat(bounds.recipients + 1);
  client.send(`HELO app\r\nMAIL FROM:<a@acme.example>\r\n${many}`);
  assert.equal((await client.replies(bounds.recipients + 4)).at(-1), "452 4.5.3 counted");
});

test("recipients that are too long for one message together are refused at RCPT, where the rest can go in another", async () => {
  await using server = await running();
  await using client = await RawClient.open(server.listener.port);
  const domain = Array.from({ length: 4 }, () => "d".repeat(60)).join(".");
  const fit = Math.floor(bounds.recipientBytes / recipientBytes(`r000@${domain}`));
  const many = Array.from(
    { length: fit + 1 },
    (_, index) => `RCPT TO:<r${String(index).padStart(3, "0")}@${domain}>\r\n`,
  );
  client.send(`HELO app\r\nMAIL FROM:<a@acme.example>\r\n${many.join("")}DATA\r\n`);
  const replies = await client.replies(fit + 5);
  assert.match(replies.at(-3) ?? "", /^250 2\.1\.5/);
  assert.match(replies.at(-2) ?? "", /^452 4\.5\.3/);
  assert.equal(await client.ask("Subject: x\r\n\r\nx\r\n.\r\n"), "250 2.0.0 queued as M1");
  assert.equal(server.hooks.messages[0]?.to.length, fit);
});

test("a message far above the limit is not read to its end", async () => {
  await using server = await running({ maxMessageBytes: () => 1000 });
  await using client = await RawClient.open(server.listener.port);
  client.send(`HELO app\r\n${envelope}DATA\r\n`);
  await client.replies(5);
  const line = `${"x".repeat(998)}\r\n`;
  for (let sent = 0; sent < 3_000_000 && !client.isClosed; sent += 100_000) client.send(line.repeat(100));
  assert.match(await client.untilClosed(), /^552 5\.3\.4 message far too big\r\n$/);
});

test("the hook hears of whatever is refused for its sender or its size, once, so that it can be counted", async () => {
  const begin = ["MAIL FROM:<a@acme.example>", "RCPT TO:<b@b.example>"];
  const line = "x".repeat(98);
  const cases: [string, string[], [string, number][]][] = [
    ["the null sender", ["MAIL FROM:<>"], [["", 0]]],
    ["the null sender with a size", ["MAIL FROM:<> SIZE=5"], [["", 5]]],
    ["SIZE", ["MAIL FROM:<a@acme.example> SIZE=2000"], [["a@acme.example", 2000]]],
    ["DATA", [...begin, "DATA", ...Array<string>(20).fill(line), "."], [["a@acme.example", 2000]]],
    ["BDAT LAST", [...begin, "BDAT 2000 LAST", ...Array<string>(20).fill(line)], [["a@acme.example", 2000]]],
    [
      "BDAT in chunks",
      [...begin, ...Array<string>(20).fill(`BDAT 100\r\n${line}`)],
      [["a@acme.example", 1100]],
    ],
    ["BDAT far above", [...begin, "BDAT 9000000"], [["a@acme.example", 9_000_000]]],
  ];
  for (const [name, lines, refused] of cases)
    for (const isRefusedByHook of [true, false]) {
      const heard: [string, number][] = [];
      const hooks = recordingHooks({
        mail(_session, from, size) {
          if (from !== "" && size <= 1000) return null;
          heard.push([from, size]);
          return isRefusedByHook ? reply(from === "" ? 550 : 552, "5.0.0", "the hook's words") : null;
        },
      });
      await using server = await running({ hooks, maxMessageBytes: () => 1000 });
      await using client = await RawClient.open(server.listener.port);
      client.send(`HELO app\r\n${lines.join("\r\n")}\r\nQUIT\r\n`);
      const said = await client.untilClosed();
      assert.deepEqual(heard, refused, name);
      assert.match(said, name.startsWith("the null") ? /^550 5/m : /^552 5/m, name);
      assert.equal(/the hook's words/.test(said), isRefusedByHook && name !== "BDAT far above", name);
      assert.equal(server.hooks.messages.length, 0, name);
    }
});

test("a full budget holds sockets back until others are stored", async () => {
  const { hooks, held } = holdingHooks();
  await using server = await running({ hooks, maxBufferedBytes: 50_000 });
  const body = `x: y\r\n\r\n${"z".repeat(998)}\r\n`.padEnd(30_000, `${"w".repeat(98)}\r\n`);
  await using first = await RawClient.open(server.listener.port);
  await using second = await RawClient.open(server.listener.port);
  for (const client of [first, second]) {
    client.send(`HELO app\r\n${envelope}DATA\r\n`);
    await client.replies(5);
  }
  first.send(`${body}\r\n.\r\n`);
  await until(() => held.length === 1);
  second.send(body);
  await new Promise((resolve) => setTimeout(resolve, 20));
  second.send("\r\n.\r\n");
  await new Promise((resolve) => setTimeout(resolve, 20));
  assert.equal(held.length, 1);
  // New messages are not begun.
  await using third = await RawClient.open(server.listener.port);
  third.send(`HELO app\r\n${envelope}`);
  assert.match((await third.replies(3))[2] ?? "", /^452 4\.3\.1/);
  held[0]?.answer(accepted("queued as 1"));
  assert.equal(await first.reply(), "250 2.0.0 queued as 1");
  await until(() => held.length === 2);
  assert.deepEqual(held[1]?.inbound.body, held[0]?.inbound.body);
  held[1]?.answer(accepted("queued as 2"));
  assert.equal(await second.reply(), "250 2.0.0 queued as 2");
});

test("a budget full of unfinished bodies makes one give up, not all wait for ever", async () => {
  await using server = await running({ maxBufferedBytes: 50_000 });
  await using first = await RawClient.open(server.listener.port);
  await using second = await RawClient.open(server.listener.port);
  const part = `${"z".repeat(98)}\r\n`.repeat(300);
  for (const client of [first, second]) {
    client.send(`HELO app\r\n${envelope}DATA\r\n`);
    await client.replies(5);
  }
  first.send(part);
  second.send(part);
  await new Promise((resolve) => setTimeout(resolve, 20));
  first.send(".\r\n");
  second.send(".\r\n");
  const answers = [await first.reply(), await second.reply()].map((line) => line.slice(0, 9));
  assert.deepEqual(answers.toSorted(), ["250 2.0.0", "452 4.3.1"]);
});

test("a client that does not read its replies is not read from, and cut off in time", async () => {
  const clock = testClock();
  await using server = await running({ clock, sweepMs: 2, idleMs: 60_000 });
  const client = await RawClient.open(server.listener.port);
  client.socket.pause();
  // Each round is answered with far more than it asks; a message in it keeps the count of idle commands low.
  const round = `${"EHLO a\r\n".repeat(90)}${envelope}DATA\r\nx: y\r\n.\r\n`;
  let sent = 0;
  for (; sent < 4000 && client.socket.writableLength < 1_000_000; sent++) client.send(round);
  let seen = -1;
  while (seen !== server.hooks.messages.length || seen === 0) {
    seen = server.hooks.messages.length;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  assert.ok(
    server.hooks.messages.length < sent,
    `${server.hooks.messages.length} of ${sent} rounds were read`,
  );
  clock.ms += 61_000;
  await until(() => server.listener.connections() === 0);
  client.socket.destroy();
});

test("a client that half-closes still gets the answers it waits for", async () => {
  const { hooks, held } = holdingHooks();
  await using server = await running({ hooks });
  await using client = await RawClient.open(server.listener.port);
  client.socket.allowHalfOpen = true;
  client.socket.end(`HELO app\r\n${envelope}DATA\r\nx: y\r\n.\r\n`);
  await until(() => held.length === 1);
  held[0]?.answer(accepted("queued as 1"));
  assert.match(await client.untilClosed(), /250 2\.0\.0 queued as 1\r\n$/);
});

test("a client that is gone before the answer changes nothing for the hook", async () => {
  const { hooks, held } = holdingHooks();
  await using server = await running({ hooks });
  await using client = await RawClient.open(server.listener.port);
  client.send(`HELO app\r\n${envelope}DATA\r\nx: y\r\n.\r\n`);
  await until(() => held.length === 1);
  client.socket.resetAndDestroy();
  await until(() => server.listener.connections() === 0);
  held[0]?.answer(accepted("queued as 1"));
});

test("drain() answers what is open, tells the idle 421 and then is done", async () => {
  const { hooks, held } = holdingHooks();
  const server = await running({ hooks });
  await using idle = await RawClient.open(server.listener.port);
  await using busy = await RawClient.open(server.listener.port);
  await using open = await RawClient.open(server.listener.port);
  await idle.reply();
  busy.send(`HELO app\r\n${envelope}DATA\r\nx: y\r\n.\r\n`);
  open.send(`HELO app\r\n${envelope}`);
  await busy.replies(5);
  await open.replies(4);
  const drained = server.listener.drain(60_000);
  assert.equal(await idle.untilClosed(), "421 4.3.2 shutting down, try again\r\n");
  held[0]?.answer(accepted("queued as 1"));
  assert.equal(await busy.untilClosed(), "250 2.0.0 queued as 1\r\n421 4.3.2 shutting down, try again\r\n");
  open.send("DATA\r\nx: y\r\n.\r\n");
  await open.reply();
  await until(() => held.length === 2);
  held[1]?.answer(accepted("queued as 2"));
  assert.match(await open.untilClosed(), /^250 2\.0\.0 queued as 2\r\n421 4\.3\.2/);
  await drained;
  assert.equal(server.listener.connections(), 0);
});

test("drain() cuts what is still open after the grace time", async () => {
  const clock = testClock();
  const { hooks, held } = holdingHooks();
  const server = await running({ hooks, clock, sweepMs: 2 });
  await using client = await RawClient.open(server.listener.port);
  client.send(`HELO app\r\n${envelope}DATA\r\nx: y\r\n.\r\n`);
  await until(() => held.length === 1);
  const drained = server.listener.drain(5000);
  clock.ms += 5001;
  await drained;
  await client.untilClosed();
});

test("a body in many small pieces comes out as it went in", async () => {
  await using server = await running();
  await using client = await RawClient.open(server.listener.port);
  client.send(`HELO app\r\n${envelope}DATA\r\n`);
  await client.replies(5);
  const lines = Array.from({ length: 3000 }, (_, index) => `..${index}\r\n`).join("");
  client.send(`x: y\r\n\r\n${lines}.\r\n`);
  assert.match(await client.reply(), /^250/);
  const body = server.hooks.messages[0]?.body.toString() ?? "";
  assert.equal(body, `x: y\r\n\r\n${lines.replace(/^\.\./gm, ".")}`);
});

test("tells who hands over the last message that can come before somebody is answered", async () => {
  const { hooks, held } = holdingHooks();
  await using server = await running({ hooks });
  await using first = await RawClient.open(server.listener.port);
  await using second = await RawClient.open(server.listener.port);
  for (const client of [first, second]) {
    client.send(`HELO app\r\n${envelope}DATA\r\n`);
    await client.replies(5);
  }
  first.send("x: y\r\n.\r\n");
  await until(() => held.length === 1);
  second.send("x: y\r\n.\r\n");
  await until(() => held.length === 2);
  held[0]?.answer(accepted("queued as 1"));
  await first.reply();
  first.send(`${envelope}DATA\r\nx: y\r\n.\r\n`);
  await until(() => held.length === 3);
  held[1]?.answer(accepted("queued as 2"));
  await second.reply();
  await using third = await RawClient.open(server.listener.port);
  await third.reply();
  second.send(`${envelope}DATA\r\nx: y\r\n.\r\n`);
  await until(() => held.length === 4);
  assert.deepEqual(
    held.map(({ inbound }) => inbound.isLast),
    [false, true, true, false],
  );
});
