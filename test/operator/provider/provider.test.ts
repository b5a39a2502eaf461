import assert from "node:assert/strict";
import { readFile, mkdtemp, rm } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { createTransport } from "nodemailer";
import { type Provider, type ProviderOptions, startProvider } from "#operator/provider/provider.ts";
import { parseRules, type ProviderRulesInput } from "#operator/provider/rules.ts";
import { until } from "#test/kit/until.ts";

interface Reply {
  readonly code: number | undefined;
  readonly text: string;
}

async function start(rules: ProviderRulesInput, options: ProviderOptions = {}): Promise<Provider> {
  const parsed = parseRules(rules);
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.issues));
  return startProvider({ ...options, rules: parsed.value });
}

/** Sends with nodemailer, a connection for each call unless a transport is passed. */
async function send(
  provider: Provider,
  to: string | string[],
  headers: Record<string, string> = {},
): Promise<Reply> {
  const transport = openTransport(provider);
  try {
    return await sendOver(transport, to, headers);
  } finally {
    transport.close();
  }
}

function openTransport(provider: Provider): ReturnType<typeof createTransport> {
  return createTransport({
    host: provider.host,
    port: provider.port,
    pool: true,
    maxConnections: 1,
    tls: { rejectUnauthorized: false },
  });
}

async function sendOver(
  transport: ReturnType<typeof createTransport>,
  to: string | string[],
  headers: Record<string, string> = {},
): Promise<Reply> {
  try {
    const { response } = await transport.sendMail({
      from: "sender@here.example",
      to,
      subject: "s",
      text: "t",
      headers,
    });
    return { code: 250, text: response };
  } catch (error) {
    const { responseCode, response, message } = error as Error & { responseCode?: number; response?: string };
    return { code: responseCode, text: response ?? message };
  }
}

test("a provider without rules accepts everything and counts it", async () => {
  await using provider = await start({});
  assert.equal((await send(provider, "a@one.example", { "X-Mailboat-Id": "id-1" })).code, 250);
  assert.equal((await send(provider, ["b@one.example", "c@two.example"])).code, 250);
  const stats = provider.audit.stats();
  assert.equal(stats.total.messages, 2);
  assert.equal(stats.total.recipients, 3);
  assert.equal(stats.domains["one.example"]?.recipients, 2);
  assert.equal(stats.domains["two.example"]?.messages, 1);
  assert.equal(stats.sources["127.0.0.1"]?.messages, 2);
  assert.equal(stats.ids.unique, 3);
  assert.equal(provider.audit.ids.get("id-1", "A@one.example")?.count, 1);
});

test("a message that comes twice is counted as repeated, and only for the recipient that it came twice for", async () => {
  await using provider = await start({}, { idHeader: "X-Audit" });
  await send(provider, ["a@x.example", "b@x.example"], { "X-Audit": "7" });
  await send(provider, "b@x.example", { "X-Audit": "7" });
  const { ids } = provider.audit.stats();
  assert.deepEqual([ids.unique, ids.repeated], [2, 1]);
  assert.deepEqual(
    ids.repeats.map(({ id, recipient, count }) => [id, recipient, count]),
    [["7", "b@x.example", 2]],
  );
});

test("the id of Mailboat's Received header identifies a message without another id", async () => {
  await using provider = await start({});
  const id = "01arz3ndektsv4rrffq69g5fav";
  await send(provider, "a@x.example", {
    Received: `from app (1.2.3.4) by out.example with ESMTP id ${id}; now`,
  });
  assert.equal(provider.audit.ids.get(id, "a@x.example")?.count, 1);
});

test("tarpit lets clients wait: for the greeting, MAIL, RCPT and the final dot, or where a rule says so", async () => {
  const timed = async (provider: Provider, to: string): Promise<readonly [number | undefined, number]> => {
    const startedAt = performance.now();
    const { code } = await send(provider, to);
    return [code, performance.now() - startedAt];
  };
  const took = (
    [code, ms]: readonly [number | undefined, number],
    expected: number,
    leastMs: number,
  ): void => {
    assert.equal(code, expected);
    // A timer may be a millisecond early.
    assert.ok(ms >= leastMs - 10, `${ms} ms, expected ${leastMs}`);
  };
  await using whole = await start({ tarpit: { delayMs: 60 } });
  took(await timed(whole, "a@x.example"), 250, 240);
  await using some = await start({
    rules: [
      { domains: ["slow.example"], tarpit: { delayMs: 120 } },
      { domains: ["gone.example"], tarpit: { delayMs: 240 }, bounce: {} },
    ],
  });
  took(await timed(some, "a@slow.example"), 250, 240);
  took(await timed(some, "a@gone.example"), 550, 240);
});

test("bounce refuses for good, at the recipient or after the dot", async () => {
  await using provider = await start({
    rules: [
      { domains: ["gone.example"], bounce: {} },
      { domains: ["spam.example"], bounce: { code: 554, text: "5.7.1 no", stage: "data" } },
    ],
  });
  assert.deepEqual(await send(provider, "a@gone.example"), {
    code: 550,
    text: "550 5.1.1 no such user here",
  });
  assert.deepEqual(await send(provider, "a@spam.example"), { code: 554, text: "554 5.7.1 no" });
  assert.equal(provider.audit.stats().total.messages, 0);
  assert.deepEqual(
    provider.audit.refusals(10).map(({ to, code }) => [to, code]),
    [
      ["a@spam.example", 554],
      ["a@gone.example", 550],
    ],
  );
});

test("one refused recipient of several leaves the others", async () => {
  await using provider = await start({ rules: [{ mailboxes: ["bad-*@x.example"], bounce: {} }] });
  assert.equal((await send(provider, ["good@x.example", "bad-1@x.example"])).code, 250);
  assert.deepEqual(provider.messages.list({ limit: 1 })[0]?.to, ["good@x.example"]);
});

test("defer refuses the first attempts of a sender and recipient, or of a message", async () => {
  await using provider = await start({
    rules: [
      { domains: ["later.example"], defer: { times: 2 } },
      { domains: ["data.example"], defer: { times: 1, code: 452, text: "4.2.2 full", stage: "data" } },
    ],
  });
  const codes = async (to: string, id: string): Promise<number | undefined> =>
    (await send(provider, to, { "X-Mailboat-Id": id })).code;
  assert.deepEqual(
    [
      await codes("a@later.example", "1"),
      await codes("a@later.example", "1"),
      await codes("a@later.example", "1"),
    ],
    [451, 451, 250],
  );
  assert.deepEqual([await codes("a@data.example", "1"), await codes("a@data.example", "1")], [452, 250]);
  assert.equal(await codes("a@data.example", "2"), 452, "another message starts again");
});

test("throttle refuses what is over the rate, by the half-open second", async () => {
  let now = 5000;
  await using provider = await start(
    { rules: [{ domains: ["slow.example"], throttle: { messagesPerSecond: 2 } }] },
    { clock: { now: () => now, monotonic: () => now } },
  );
  const transport = openTransport(provider);
  const code = async (): Promise<number | undefined> => (await sendOver(transport, "a@slow.example")).code;
  assert.deepEqual([await code(), await code(), await code()], [250, 250, 451]);
  now += 999;
  assert.equal(await code(), 451);
  now += 1;
  assert.deepEqual([await code(), await code(), await code()], [250, 250, 451]);
  assert.equal(provider.audit.stats().domains["slow.example"]?.busiestSecond, 2);
  transport.close();
});

test("a connection over the rule's limit gets 421 and is closed; one that ends makes room", async () => {
  await using provider = await start({
    rules: [{ domains: ["slow.example"], throttle: { connections: 1 } }],
  });
  const first = openTransport(provider);
  assert.equal((await sendOver(first, "a@slow.example")).code, 250);
  assert.equal((await send(provider, "a@slow.example")).code, 421);
  assert.equal((await send(provider, "a@other.example")).code, 250, "other domains are not concerned");
  first.close();
  await until(
    "the first connection to end",
    async () => (await send(provider, "a@slow.example")).code === 250,
  );
  await until(
    "the last connection to end",
    () => provider.audit.stats().domains["slow.example"]?.connections.open === 0,
  );
});

test("connections beyond the provider's own limit are greeted with 421", async () => {
  await using provider = await start({ connections: 1 });
  const first = openTransport(provider);
  assert.equal((await sendOver(first, "a@x.example")).code, 250);
  assert.equal((await send(provider, "a@x.example")).code, 421);
  first.close();
  assert.equal(provider.audit.stats().refusedConnections, 1);
});

test("closeAfter answers the next MAIL with 421, or hangs up after the last reply", async () => {
  await using provider = await start({
    rules: [
      { domains: ["polite.example"], closeAfter: { messages: 2 } },
      { domains: ["rude.example"], closeAfter: { messages: 1, how: "close" } },
    ],
  });
  const polite = openTransport(provider);
  const codes = [];
  for (let count = 0; count < 3; count++) codes.push((await sendOver(polite, "a@polite.example")).code);
  assert.deepEqual(codes.slice(0, 2), [250, 250]);
  polite.close();
  assert.equal(provider.audit.stats().domains["polite.example"]?.messages, codes[2] === 250 ? 3 : 2);
  assert.equal((await send(provider, "a@rude.example")).code, 250);
  await until("the provider to hang up", () => provider.audit.total.open() === 0);
});

test("dropAfterDot closes without a reply; the message is recorded or not, as asked", async () => {
  await using provider = await start(
    {
      rules: [
        { domains: ["kept.example"], dropAfterDot: { times: 1 } },
        { domains: ["lost.example"], dropAfterDot: { ratio: 0.5, record: false } },
      ],
    },
    { random: () => 0.4 },
  );
  assert.equal((await send(provider, "a@kept.example", { "X-Mailboat-Id": "1" })).code, undefined);
  assert.equal((await send(provider, "a@kept.example", { "X-Mailboat-Id": "1" })).code, 250);
  assert.equal(provider.audit.ids.get("1", "a@kept.example")?.count, 2);
  assert.equal((await send(provider, "a@lost.example")).code, undefined);
  const stats = provider.audit.stats();
  assert.equal(stats.domains["lost.example"]?.messages, 0);
  assert.equal(stats.droppedAfterDot, 2);
});

test("greylist lets a known pair in once the time has passed", async () => {
  let now = 0;
  await using provider = await start(
    { rules: [{ domains: ["grey.example"], greylist: { seconds: 60 } }] },
    { clock: { now: () => now, monotonic: () => now } },
  );
  assert.equal((await send(provider, "a@grey.example")).code, 451);
  now = 59_999;
  assert.equal((await send(provider, "a@grey.example")).code, 451);
  now = 60_000;
  assert.equal((await send(provider, "a@grey.example")).code, 250);
  assert.equal((await send(provider, "b@grey.example")).code, 451);
});

test("hang never answers, and the client can leave", async () => {
  await using provider = await start({ rules: [{ domains: ["dead.example"], hang: { stage: "rcpt" } }] });
  const socket = connect(provider.port, provider.host).on("error", () => {});
  let heard = "";
  socket.on("data", (bytes: Buffer) => (heard += bytes.toString()));
  await until("the greeting", () => heard.includes("220 "));
  socket.write("EHLO me\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<x@dead.example>\r\n");
  await until("the hanging recipient", () => provider.audit.refusals(1)[0]?.code === 0);
  assert.equal(heard.match(/^250 /gm)?.length, 2, "EHLO and MAIL only");
  socket.destroy();
  await until("the connection to end", () => provider.audit.total.open() === 0);
});

test("a message that breaks off is not counted", async () => {
  await using provider = await start({});
  const socket = connect(provider.port, provider.host).on("error", () => {});
  let heard = "";
  socket.on("data", (bytes: Buffer) => (heard += bytes.toString()));
  await until("the greeting", () => heard.includes("220 "));
  socket.write("EHLO me\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<x@y.example>\r\nDATA\r\n");
  await until("354", () => heard.includes("354 "));
  socket.write("Subject: half\r\n\r\nbut th");
  socket.destroy();
  await until(
    "the connection to end",
    () => provider.audit.total.read().connections.total === 1 && provider.audit.total.open() === 0,
  );
  assert.equal(provider.audit.stats().total.messages, 0);
});

test("STARTTLS with a certificate made at the start", async () => {
  await using provider = await start({}, { tls: true });
  const transport = createTransport({
    host: provider.host,
    port: provider.port,
    requireTLS: true,
    tls: { rejectUnauthorized: false },
  });
  await transport.sendMail({ from: "a@b.example", to: "c@d.example", text: "t" });
  transport.close();
  assert.equal(provider.messages.list({ limit: 1 })[0]?.tls, true);
  await until("the connection to end", () => provider.audit.total.open() === 0);
});

test("only so many messages are kept, and all of them are in the dump", async () => {
  const folder = await mkdtemp(join(tmpdir(), "mailboat-test-provider-"));
  const dumpFile = join(folder, "all.mbox");
  {
    await using provider = await start({}, { keepMessages: 2, dumpFile });
    for (const name of ["a", "b", "c"]) await send(provider, `${name}@x.example`);
    assert.deepEqual(
      provider.messages.list({ limit: 10 }).map(({ to }) => to[0]),
      ["c@x.example", "b@x.example"],
    );
    assert.deepEqual(
      provider.messages.list({ to: "B@x", limit: 10 }).map(({ number }) => number),
      [2],
    );
    assert.equal(provider.messages.raw(1), undefined);
  }
  assert.equal((await readFile(dumpFile, "utf8")).match(/^From sender@here.example /gm)?.length, 3);
  await rm(folder, { recursive: true });
});

test("the control port shows statistics and messages, and changes rules", async () => {
  await using provider = await start({}, { httpPort: 0 });
  const base = `http://127.0.0.1:${provider.httpPort}`;
  const json = async (path: string): Promise<unknown> => (await fetch(base + path)).json();
  await send(provider, "a@x.example", { "X-Mailboat-Id": "one" });
  assert.equal(((await json("/v1/stats")) as { total: { messages: number } }).total.messages, 1);
  const { messages } = (await json("/v1/messages?to=a@x.example&limit=5")) as {
    messages: { number: number }[];
  };
  assert.equal(messages[0]?.number, 1);
  assert.match(await (await fetch(`${base}/v1/messages/1`)).text(), /^X-Mailboat-Id: one/im);
  assert.match(
    await (await fetch(`${base}/v1/ids`)).text(),
    /"id":"one","recipient":"a@x.example","count":1/,
  );
  const put = (body: unknown): Promise<Response> =>
    fetch(`${base}/v1/rules`, {
      method: "PUT",
      body: JSON.stringify(body),
      headers: { "content-type": "application/json" },
    });
  assert.equal((await put({ rules: [{ domains: ["*"], bounce: {} }] })).status, 200);
  assert.equal((await send(provider, "a@x.example")).code, 550);
  const refused = await put({ rules: [{ domains: ["*"], bounce: { code: 200 } }] });
  assert.equal(refused.status, 422);
  assert.match(await refused.text(), /rules\[0\]\.bounce\.code/);
  assert.equal((await fetch(`${base}/v1/messages`, { method: "DELETE" })).status, 204);
  assert.equal((await fetch(`${base}/v1/messages/1`)).status, 404);
});

test("the control port says what is wrong as the pods' ports do", async () => {
  await using provider = await start({}, { httpPort: 0 });
  const put = (body: string, type = "application/json"): RequestInit => ({
    method: "PUT",
    body,
    headers: { "content-type": type },
  });
  const cases: [string, RequestInit, string][] = [
    ["/v1/nothing", {}, "404 not-found no such resource"],
    ["/v1/messages/7", {}, "404 not-found Cannot find message 7: expected one that is kept"],
    ["/v1/rules", put("rules: []", "application/yaml"), "415 unsupported-media-type "],
    ["/v1/rules", put("{"), "400 bad-request "],
    ["/v1/rules", put(`{"rules": "${"x".repeat(5 * 1024 * 1024)}"}`), "413 too-large "],
    ["/v1/rules", put('{"rules": 1}'), "422 invalid rules: "],
    ["/v1/messages/%zz", {}, "400 bad-request "],
  ];
  for (const [path, request, expected] of cases) {
    const response = await fetch(`http://127.0.0.1:${provider.httpPort}${path}`, request);
    const { error, ...others } = (await response.json()) as { error: { code: string; message: string } };
    const said = `${response.status} ${error.code} ${error.message}`;
    assert.equal(said.slice(0, expected.length), expected);
    assert.deepEqual(others, {});
  }
});
