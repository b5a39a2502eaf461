/** The HTTP front over real requests: composing, envelopes, refusals. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { request as httpRequest } from "node:http";
import { connect, type Socket } from "node:net";
import { test } from "node:test";
import { type InjectionOptions, startInjection } from "#mta-pod/http-in/injection.ts";
import { fromAddresses, headerFields } from "#mta-pod/smtp/header.ts";
import type { Inbound, InboundHooks } from "#mta-pod/smtp/inbound.ts";
import { type Reply, reply } from "#mta-pod/smtp/reply.ts";
import { until } from "#test/kit/until.ts";
import { recordingHooks } from "#test/mta-pod/smtp-in/kit.ts";

interface Running extends AsyncDisposable {
  readonly url: string;
  readonly port: number;
  readonly messages: readonly Inbound[];
  post(body: unknown, headers?: Record<string, string>): Promise<Response>;
  close(graceMs: number): Promise<void>;
}

const basic = `Basic ${Buffer.from("user:secret").toString("base64")}`;

async function start(
  overrides: Partial<InboundHooks> = {},
  options: Partial<InjectionOptions> = {},
): Promise<Running> {
  const recorder = recordingHooks(overrides);
  const hooks = {
    ...recorder,
    explain: async (tenant: string, id: string) => (id === "M1" ? { id, tenant } : null),
  };
  const address = { host: "127.0.0.1", port: 0, reusePort: false };
  const server = await startInjection({ ...address, hooks, maxMessageBytes: () => 26_214_400, ...options });
  const url = `http://127.0.0.1:${server.port}/v1/messages`;
  return {
    url,
    port: server.port,
    messages: recorder.messages,
    post: (body, headers = {}) =>
      fetch(url, {
        method: "POST",
        headers: { authorization: basic, "content-type": "application/json", ...headers },
        body: typeof body === "string" ? body : JSON.stringify(body),
      }),
    close: (graceMs) => server.close(graceMs),
    [Symbol.asyncDispose]: () => server.close(5000),
  };
}

const simple = { from: "Acme <a@acme.example>", to: "b@b.example", subject: "Hi", text: "one\ntwo" };

function field(message: Inbound | undefined, wanted: string): string | undefined {
  return headerFields(message?.body ?? Buffer.alloc(0), 100_000).find(({ name }) => name === wanted)?.value;
}

test("a path that cannot be decoded is refused as everything is: an error with a code", async () => {
  await using server = await start();
  const answer = await fetch(`${server.url}/%zz`);
  const { error, ...others } = (await answer.json()) as { error: { code?: string } };
  assert.deepEqual([answer.status, error.code, others], [400, "bad-request", {}]);
});

test("another method than a resource takes is 405, which says what it takes; what does not exist is 404", async () => {
  await using server = await start();
  const headers = { authorization: basic };
  const ask = (url: string, method: string): Promise<Response> => fetch(url, { method, headers });
  for (const [path, method, allow] of [
    ["", "GET", "POST"],
    ["?x=1", "PUT", "POST"],
    ["/M1", "DELETE", "GET, HEAD"],
  ] as const) {
    const answer = await ask(`${server.url}${path}`, method);
    assert.deepEqual([answer.status, answer.headers.get("allow")], [405, allow], `${method} ${path}`);
    const message = `expected ${allow}, got ${method}`;
    assert.deepEqual(await answer.json(), { error: { code: "method-not-allowed", message } });
  }
  for (const path of ["/", "/M1/x", "s"])
    assert.equal((await ask(`${server.url}${path}`, "GET")).status, 404, path);
});

test("JSON becomes a message with CRLF line ends, through the hooks of SMTP", async () => {
  await using server = await start();
  const answer = await server.post({
    ...simple,
    to: ["B <b@b.example>", "c@bücher.example"],
    cc: "d@b.example",
    bcc: ["e@b.example", "d@b.example"],
    replyTo: "r@acme.example",
    subject: "Grüße",
    html: "<p>one</p>",
    headers: { "X-Order": "12", "List-Unsubscribe": "<https://acme.example/u>" },
    attachments: [
      { filename: "a.txt", content: Buffer.from("hello").toString("base64"), contentType: "text/plain" },
    ],
    stream: "newsletter",
  });
  assert.equal(answer.status, 202);
  assert.deepEqual(await answer.json(), { id: "M1", recipients: 4 });
  const [message] = server.messages;
  assert.equal(message?.from, "a@acme.example");
  assert.deepEqual(message?.to, ["b@b.example", "c@xn--bcher-kva.example", "d@b.example", "e@b.example"]);
  assert.doesNotMatch(message?.body.toString("latin1") ?? "", /\r(?!\n)|(?<!\r)\n/);
  assert.deepEqual(fromAddresses(field(message, "from") ?? ""), ["a@acme.example"]);
  assert.equal(field(message, "subject"), "=?UTF-8?Q?Gr=C3=BC=C3=9Fe?=");
  assert.equal(field(message, "x-order"), "12");
  assert.equal(field(message, "x-mailboat-stream"), "newsletter");
  assert.equal(field(message, "bcc"), undefined);
  assert.doesNotMatch(message?.body.toString() ?? "", /e@b\.example/);
  assert.equal(message?.session.listener, "http");
  assert.equal(message?.session.protocol, "ESMTPA");
  assert.equal(message?.eightBit, false);
});

test("Bearer user:password is as good as Basic, anything else is 401", async () => {
  await using server = await start();
  assert.equal((await server.post(simple, { authorization: "Bearer user:secret" })).status, 202);
  const proxied = { authorization: "", "x-mailboat-authorization": basic };
  assert.equal((await server.post(simple, proxied)).status, 202);
  for (const authorization of [
    "",
    "Basic !!!",
    "Bearer user",
    basic.replace("Basic", "Digest"),
    "Bearer user:wrong",
  ]) {
    const answer = await server.post(simple, { authorization });
    assert.equal(answer.status, 401, authorization);
    assert.match(answer.headers.get("www-authenticate") ?? "", /^Basic/);
    assert.equal(typeof ((await answer.json()) as { error: { code: string } }).error.code, "string");
  }
  assert.equal((await server.post(simple, { authorization: "Bearer broken:x" })).status, 503);
});

/** As curl sends what is typed: its bytes, which HTTP libraries take for one character each. */
function asBytes(text: string): string {
  return Buffer.from(text).toString("latin1");
}

test("addresses and passwords in request headers are UTF-8 where they are that", async () => {
  await using server = await start({
    authenticate: async (_session, username, password) =>
      username === "jörg" && password === "pässwort"
        ? { ok: true, login: { tenant: "mail/acme", username } as never }
        : { ok: false, reply: reply(535, "5.7.8", "no") },
  });
  const message = "From: a@acme.example\r\nSubject: Hi\r\n\r\ntext\r\n";
  for (const to of [asBytes("anna@bücher.example, jörg@b.example"), "anna@b\xfccher.example"]) {
    const answer = await server.post(message, {
      authorization: asBytes("Bearer jörg:pässwort"),
      "content-type": "message/rfc822",
      "x-mailboat-from": asBytes("Jörg <a@acme.example>"),
      "x-mailboat-to": to,
    });
    assert.equal(answer.status, 202, await answer.text());
  }
  assert.deepEqual(
    server.messages.map(({ to }) => to),
    [["anna@xn--bcher-kva.example", "jörg@b.example"], ["anna@xn--bcher-kva.example"]],
  );
});

const malformed: readonly (readonly [name: string, change: Record<string, unknown>, where: RegExp])[] = [
  ["no recipients", { to: [] }, /^to: expected at least 1 items, got a list of 0$/],
  ["an unknown field", { too: "x" }, /too/],
  ["a line break in an address", { to: "b@b.example\r\nBcc: x@y.example" }, /^to: /],
  [
    "a line break in the subject",
    { subject: "a\nBcc: x@y.example" },
    /^subject: expected one line, got "a\\nBcc/,
  ],
  [
    "a line break in a header",
    { headers: { "X-A": "1\r\nBcc: x@y.example" } },
    /^headers\["X-A"\]: expected one line/,
  ],
  ["a colon in a header's name", { headers: { "X-A: 1\r\nB": "2" } }, /^headers/],
  [
    "a header that is not the sender's",
    { headers: { From: "ceo@bank.example" } },
    /^headers\.From: expected a header field that no other field of the request makes, got "From"$/,
  ],
  ["a signature of its own", { headers: { "DKIM-Signature": "v=1" } }, /^headers/],
  [
    "a path for an attachment",
    { attachments: [{ filename: "a", path: "/etc/passwd" }] },
    /^attachments\[0\]/,
  ],
  ["no base64", { attachments: [{ filename: "a", content: "%" }] }, /^attachments\[0\]\.content: /],
  ["nothing to say", { text: undefined }, /^expected text, html or attachments, got none of them$/],
  [
    "no such field of recipients",
    { to: undefined },
    /^to: expected an address, or a list of 1 to 1000 of them, got nothing$/,
  ],
  ["no sender", { from: undefined }, /^from: expected a string, got nothing$/],
  ["a bad stream", { stream: "a b" }, /^stream: /],
];

for (const [name, change, where] of malformed)
  test(`JSON with ${name} is 400 and says where`, async () => {
    await using server = await start();
    const answer = await server.post({ ...simple, ...change });
    assert.equal(answer.status, 400);
    const { error } = (await answer.json()) as { error: { code: string; message: string } };
    assert.equal(error.code, "bad-request");
    assert.match(error.message, where);
    assert.equal(server.messages.length, 0);
  });

test("what is no JSON, no known type or no resource is refused in JSON", async () => {
  await using server = await start();
  assert.equal((await server.post("{")).status, 400);
  assert.equal((await server.post('{"__proto__": 1}')).status, 400);
  assert.equal((await server.post("x", { "content-type": "text/plain" })).status, 415);
  const answer = await fetch(`${server.url}/../nothing`, { headers: { authorization: basic } });
  assert.equal(answer.status, 404);
  assert.equal(((await answer.json()) as { error: { code: string } }).error.code, "not-found");
});

for (const value of ["nobody", "a@b@c.example", "<a@acme.example", "a@acme.example, b@acme.example"])
  test(`a sender like ${JSON.stringify(value)} is 422`, async () => {
    await using server = await start();
    assert.equal((await server.post({ ...simple, from: value })).status, 422);
  });

test("a reply address that cannot be read is 422, not left out: the answers would go to the sender", async () => {
  await using server = await start();
  for (const replyTo of ["nobody", "Support <support@acme.example", "a@b@c.example"]) {
    const answer = await server.post({ ...simple, replyTo });
    assert.equal(answer.status, 422, replyTo);
    const { error } = (await answer.json()) as { error: { message: string } };
    assert.equal(error.message, "replyTo: expected addresses, got something else");
  }
  assert.equal((await server.post({ ...simple, replyTo: "Support <s@bücher.example>" })).status, 202);
  assert.equal(field(server.messages[0], "reply-to"), "Support <s@xn--bcher-kva.example>");
});

test("a sender whose name is its address is one sender", async () => {
  await using server = await start();
  assert.equal((await server.post({ ...simple, from: "a@ACME.example <a@acme.example>" })).status, 202);
  assert.equal(server.messages[0]?.from, "a@acme.example");
});

const refusals: readonly (readonly [refusal: Reply, status: number, code: string, retry: string | null])[] = [
  [reply(550, "5.7.1", "not yours"), 403, "550 5.7.1", null],
  [reply(550, "5.1.2", "no such domain"), 422, "550 5.1.2", null],
  [reply(552, "5.3.4", "too large"), 413, "552 5.3.4", null],
  [reply(451, "4.7.1", "too fast"), 429, "451 4.7.1", "1"],
  [{ ...reply(451, "4.7.1", "too fast"), retrySeconds: 60 }, 429, "451 4.7.1", "60"],
  [reply(452, "4.3.1", "full"), 503, "452 4.3.1", "10"],
  [reply(451, "4.3.0", "away"), 503, "451 4.3.0", "10"],
  [reply(452, "4.5.3", "too many recipients"), 422, "452 4.5.3", null],
];

for (const [refusal, status, code, retry] of refusals)
  test(`a hook's ${code} becomes ${status}`, async () => {
    const overrides: Partial<InboundHooks>[] = [
      { mail: () => refusal },
      { recipient: () => refusal },
      { message: (_inbound, answer) => answer(refusal) },
    ];
    for (const hooks of overrides) {
      await using server = await start(hooks);
      const answer = await server.post(simple);
      assert.equal(answer.status, status);
      assert.equal(answer.headers.get("retry-after"), retry);
      const { error } = (await answer.json()) as { error: { code: string; message: string } };
      assert.equal(error.code, code);
      assert.ok(error.message.endsWith(refusal.text));
    }
  });

const raw =
  "From: A <a@acme.example>\nTo: b@b.example\nBcc: secret@b.example,\n c@b.example\nSubject: x\n\nline\n.\nend";

test("message/rfc822 takes its envelope from the header, Bcc included", async () => {
  await using server = await start();
  const answer = await server.post(raw, { "content-type": "message/rfc822" });
  assert.deepEqual(await answer.json(), { id: "M1", recipients: 3 });
  const [message] = server.messages;
  assert.equal(message?.body.toString(), `${raw.replaceAll("\n", "\r\n")}\r\n`);
  assert.deepEqual(message?.to, ["b@b.example", "secret@b.example", "c@b.example"]);
});

test("an empty group is a list of nobody: mail to Bcc alone has its usual form", async () => {
  await using server = await start();
  const type = { "content-type": "message/rfc822" };
  const hidden =
    "From: a@acme.example\nTo: undisclosed-recipients:;\nCc: G: c@b.example, d@b.example;\nBcc: b@b.example\n\nx";
  assert.equal((await server.post(hidden, type)).status, 202);
  assert.deepEqual(server.messages[0]?.to, ["c@b.example", "d@b.example", "b@b.example"]);
  const nobody = await server.post("From: a@acme.example\nTo: undisclosed-recipients:;\n\nx", type);
  assert.equal(nobody.status, 422);
  assert.match(await nobody.text(), /to: expected addresses, got none/);
  assert.equal((await server.post("From: nobody:;\nTo: b@b.example\n\nx", type)).status, 422);
});

test("message/rfc822 takes its envelope from X-Mailboat-From and -To when they are there", async () => {
  await using server = await start();
  const answer = await server.post(raw, {
    "content-type": "message/rfc822",
    "x-mailboat-from": "bounces@acme.example",
    "x-mailboat-to": "one@b.example, two@b.example",
    "x-mailboat-stream": "newsletter",
  });
  assert.equal(answer.status, 202);
  const [message] = server.messages;
  assert.equal(message?.from, "bounces@acme.example");
  assert.deepEqual(message?.to, ["one@b.example", "two@b.example"]);
  assert.match(message?.body.toString() ?? "", /^X-Mailboat-Stream: newsletter\r\nFrom: /);
});

for (const text of [
  "no header\n\nx",
  "\n\nx",
  "From: a@acme.example\n\nno recipients",
  "To: b@b.example\n\nx",
  "From: a@acme.example\nTo: b@b.example\n\n\0",
])
  test(`message/rfc822 of ${JSON.stringify(text)} is 422`, async () => {
    await using server = await start();
    assert.equal((await server.post(text, { "content-type": "message/rfc822" })).status, 422);
  });

test("a message may have UTF-8 wherever it likes; whether it is 8-bit is told", async () => {
  await using server = await start();
  const type = { "content-type": "message/rfc822" };
  await server.post("From: a@acme.example\nTo: b@b.example\n\ngrüße", type);
  await server.post("From: a@acme.example\nTo: b@b.example\n\nx", type);
  await server.post({ ...simple, to: "jürgen@b.example" });
  assert.deepEqual(
    server.messages.map(({ smtpUtf8, eightBit }) => [smtpUtf8, eightBit]),
    [
      [true, true],
      [true, false],
      [true, true],
    ],
  );
});

/** RFC 2047's Q encoding, as we make it. */
function decoded(text: string): string {
  return text
    .replace(/\?=\s+=\?/g, "?==?")
    .replace(/=\?UTF-8\?Q\?(.*?)\?=/gi, (_all, word: string) =>
      decodeURIComponent(word.replace(/_/g, " ").replace(/%/g, "=25").replace(/=/g, "%")),
    );
}

test("no line of a composed header is longer than 998 octets: a subject is encoded where it cannot be folded, other fields are refused", async () => {
  await using server = await start();
  const words = `${"word ".repeat(300)}end`;
  const subjects = ["x".repeat(997), "x".repeat(998), `a ${"50%=_?".repeat(300)} z`, words, "ü".repeat(2000)];
  for (const subject of subjects) {
    const response = await server.post({ ...simple, subject });
    assert.equal(response.status, 202, await response.text());
  }
  for (const [at, message] of server.messages.entries()) {
    const lines = message.body.toString("latin1").split("\r\n");
    assert.ok(
      lines.every(({ length }) => length <= 998),
      subjects[at] ?? "",
    );
    assert.equal(decoded(field(message, "subject") ?? ""), subjects[at]);
  }
  const headers = { "List-Unsubscribe": `<https://acme.example/${"x".repeat(1000)}>` };
  const refused = await server.post({ ...simple, headers });
  assert.equal(refused.status, 422);
  assert.match(
    await refused.text(),
    /List-Unsubscribe: expected white space every 997 octets, to fold it at/,
  );
  assert.equal((await server.post({ ...simple, headers: { "X-Words": words.repeat(5) } })).status, 202);
});

test("a message above the bound is 413, composed or raw", async () => {
  await using server = await start({}, { maxMessageBytes: () => 5000 });
  assert.equal((await server.post({ ...simple, text: "x".repeat(6000) })).status, 413);
  assert.equal((await server.post({ ...simple, text: "x".repeat(600_000) })).status, 413);
  assert.equal(server.messages.length, 0);
});

test("bodies under way are bounded together, and one without a length is not read", async () => {
  const held: ((reply: Reply) => void)[] = [];
  await using server = await start(
    { message: (_inbound, answer) => void held.push(answer) },
    { maxBufferedBytes: 1500 },
  );
  const first = server.post({ ...simple, text: "x".repeat(1000) });
  while (held.length === 0) await new Promise((resolve) => setTimeout(resolve, 2));
  const second = await server.post({ ...simple, text: "x".repeat(1000) });
  assert.equal(second.status, 503);
  assert.equal(second.headers.get("retry-after"), "10");
  held[0]?.(reply(250, "2.0.0", "queued as M1"));
  assert.equal((await first).status, 202);
  const chunked = await new Promise<number>((resolve, reject) => {
    const request = httpRequest(
      server.url,
      { method: "POST", headers: { authorization: basic, "content-type": "application/json" } },
      (answer) => {
        answer.resume();
        resolve(answer.statusCode ?? 0);
      },
    );
    request.on("error", reject);
    request.write("{");
    request.end("}");
  });
  assert.equal(chunked, 411);
});

test("what one tenant announces leaves room for the others, and one large message is taken all the same", async () => {
  let asked = 0;
  await using server = await start(
    {
      authenticate: async (_session, username) => {
        asked++;
        return { ok: true, login: { tenant: `mail/${username}`, username } as never };
      },
    },
    { maxBufferedBytes: 10_000 },
  );
  /** A request that has come to where its length counts; what it is answered before its body comes. */
  const announce = async (user: string, length: number) => {
    const socket = connect(server.port, "127.0.0.1");
    const answer = { text: "" };
    socket.on("error", () => {}).on("data", (bytes: Buffer) => (answer.text += bytes.toString()));
    const login = Buffer.from(`${user}:x`).toString("base64");
    const head = `POST /v1/messages HTTP/1.1\r\nHost: x\r\nAuthorization: Basic ${login}\r\nContent-Type: application/json`;
    const before = asked;
    socket.write(`${head}\r\nContent-Length: ${length}\r\n\r\n`);
    await until("it to be looked at", () => asked > before);
    return { answer, end: () => socket.destroy() };
  };
  const refused = async (user: string, length: number): Promise<void> => {
    const { answer, end } = await announce(user, length);
    await until(`${length} of ${user} to be refused`, () => answer.text.startsWith("HTTP/1.1 503 "), 2000);
    end();
  };
  const open = [await announce("acme", 4000)];
  // Above half of the room; above all of it.
  await refused("acme", 2000);
  open.push(await announce("globex", 4000));
  await refused("initech", 4000);
  open.push(await announce("initech", 2000));
  await refused("globex", 1);
  for (const { end } of open) end();
  await until("their room to be free", async () => {
    const { answer, end } = await announce("acme", 9000);
    await until("room or none", () => answer.text !== "", 200).catch(() => {});
    if (answer.text === "") open.push({ answer, end });
    return answer.text === "";
  });
  await refused("globex", 2000);
  for (const { answer, end } of open) {
    assert.equal(answer.text, "");
    end();
  }
});

/** A request whose body is announced and not sent yet. It is refused for its length, on what is said of it. */
async function refusedEarly(server: Running): Promise<Socket> {
  const socket = connect(server.port, "127.0.0.1");
  const head = `POST /v1/messages HTTP/1.1\r\nHost: x\r\nAuthorization: ${basic}\r\nContent-Type: application/json`;
  socket.write(`${head}\r\nContent-Length: ${announced}\r\n\r\n`);
  const [answer] = (await once(socket, "data")) as [Buffer];
  assert.match(answer.toString(), /^HTTP\/1\.1 413 /);
  return socket;
}

const announced = 600_000;

test("closing does not wait for a connection that is kept after a refused body has come in", async () => {
  const server = await start({}, { maxMessageBytes: () => 5000 });
  const socket = await refusedEarly(server);
  const closed = server.close(60_000);
  socket.write(Buffer.alloc(announced));
  await within(closed, 5000);
  socket.destroy();
});

test("closing cuts off what is not through when the time of grace is over", async () => {
  const server = await start({}, { maxMessageBytes: () => 5000 });
  const socket = await refusedEarly(server);
  const startedAt = performance.now();
  await within(server.close(300), 5000);
  assert.ok(performance.now() - startedAt > 290, "it has its time");
  socket.destroy();
});

async function within(done: Promise<void>, ms: number): Promise<void> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(new Error(`not done within ${ms} ms`)), ms);
  await Promise.race([done, late.promise]).finally(() => clearTimeout(timer));
}

test("GET shows a tenant its own message and nothing else", async () => {
  await using server = await start();
  const headers = { authorization: basic };
  const known = await fetch(`${server.url}/M1`, { headers });
  assert.deepEqual(await known.json(), { id: "M1", tenant: "mail/acme" });
  assert.equal((await fetch(`${server.url}/M2`, { headers })).status, 404);
  assert.equal((await fetch(`${server.url}/M1`)).status, 401);
});

test("two servers share a port with reusePort", { skip: process.platform !== "linux" }, async () => {
  await using first = await start({}, { reusePort: true });
  await using second = await start({}, { reusePort: true, port: first.port });
  assert.equal(second.port, first.port);
});
