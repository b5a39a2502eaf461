/** The doors of a pod hold a message to its tenant's limit, to the byte, up to the largest there is, and what they refuse is counted. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { maxMessageBytes } from "#crds/values/message-bounds.ts";
import type { EventFacts } from "#crds/wire/event.ts";
import { type Admission, createAdmission } from "#mta-pod/admit/admission.ts";
import { type Front, type FrontDeps, openFront } from "#mta-pod/front.ts";
import type { InboundHooks } from "#mta-pod/smtp/inbound.ts";
import { createReceive } from "#mta-pod/receive.ts";
import { readPodOptions } from "#mta-pod/options.ts";
import { systemClock } from "#mta-pod/runtime/clock.ts";
import { silentLog } from "#mta-pod/runtime/log.ts";
import { configOf, tenantOf } from "./admit/pod-config.ts";
import { acme, RawClient, recordingHooks } from "./smtp-in/kit.ts";

interface Opened extends AsyncDisposable {
  readonly ports: Front["ports"];
  /** Sizes of what came through. */
  readonly sizes: number[];
}

function admissionOf(messageSizeBytes: number): Admission {
  return createAdmission(configOf(tenantOf({ limits: { recipientsPerMessage: 3, messageSizeBytes } })));
}

async function open(
  messageSizeBytes: number,
  { message, ...hooks }: InboundHooks = recordingHooks(),
  more: readonly string[] = [],
): Promise<Opened> {
  const admission = admissionOf(messageSizeBytes);
  const sizes: number[] = [];
  const args = ["--config", "c", "--keys", "k", "--bind", "127.0.0.1", "--local", "--smtp-port", "0"];
  const others = ["--submission-port=-1", "--submissions-port=-1", "--http-port", "0", "--admin-port=-1"];
  const front = await openFront({
    options: readPodOptions([...args, ...others, ...more], "pod-0"),
    clock: systemClock,
    log: silentLog,
    signal: AbortSignal.abort(),
    hostname: "out.example.net",
    hooks: {
      ...hooks,
      message(inbound, answer) {
        sizes.push(inbound.body.length);
        message(inbound, answer);
      },
    },
    explain: {} as unknown as FrontDeps["explain"],
    sunk: { list: async () => [], find: async () => undefined },
    admission: () => admission,
    witness: async () => undefined,
  });
  return { ports: front.ports, sizes, [Symbol.asyncDispose]: () => front.close(0) };
}

/** A message of so many bytes, which ends in CRLF. */
function messageOf(bytes: number): Buffer {
  const message = Buffer.alloc(bytes, `${"x".repeat(998)}\r\n`);
  message.write("From: a@acme.example\r\nTo: b@b.example\r\n\r\n");
  message.write("xx\r\n", bytes - 4);
  return message;
}

async function post({ ports }: Opened, bytes: number): Promise<number> {
  const answer = await fetch(`http://127.0.0.1:${ports["http"]}/v1/messages`, {
    method: "POST",
    headers: {
      authorization: `Basic ${Buffer.from("user:secret").toString("base64")}`,
      "content-type": "message/rfc822",
    },
    body: messageOf(bytes),
  });
  await answer.text();
  return answer.status;
}

/** The reply to MAIL with that size, or to the dot. */
async function send({ ports }: Opened, bytes: number, isAnnounced: boolean): Promise<string> {
  await using client = await RawClient.open(ports["smtp"] ?? 0);
  const size = isAnnounced ? ` SIZE=${bytes}` : "";
  client.send(`EHLO app\r\nMAIL FROM:<a@acme.example>${size}\r\n`);
  const [, greeted = "", taken = ""] = await client.replies(3);
  assert.match(greeted, new RegExp(`SIZE \\d+`));
  if (!taken.startsWith("250")) return taken;
  await client.ask("RCPT TO:<b@b.example>\r\n");
  await client.ask("DATA\r\n");
  await new Promise((resolve) => client.socket.write(messageOf(bytes), resolve));
  return await client.ask(".\r\n");
}

// 25 MiB is what a tenant has that says nothing: one on each side of it.
for (const limit of [100_000, maxMessageBytes])
  test(`a tenant's limit of ${limit} bytes is its limit over SMTP and over HTTP`, async () => {
    await using opened = await open(limit);
    assert.equal(await post(opened, limit), 202);
    assert.equal(await post(opened, limit + 1), 413);
    assert.match(await send(opened, limit, true), /^250 2\.0\.0/);
    assert.match(await send(opened, limit, false), /^250 2\.0\.0/);
    assert.match(await send(opened, limit + 1, true), /^552 5\.3\.4/);
    assert.match(await send(opened, limit + 1, false), /^552 5\.3\.4/);
    assert.deepEqual(opened.sizes, [limit, limit, limit]);
  });

for (const [limit, announced] of [
  [100_000, 26_214_400],
  [maxMessageBytes, maxMessageBytes],
] as const)
  test(`EHLO before a login announces ${announced} when a tenant may send ${limit}, after it the tenant's own`, async () => {
    await using opened = await open(limit, recordingHooks({ trusted: () => null }));
    await using client = await RawClient.open(opened.ports["smtp"] ?? 0);
    const auth = Buffer.from("\0user\0secret").toString("base64");
    client.send("EHLO app\r\n");
    const [, before = ""] = await client.replies(2);
    assert.match(before, new RegExp(`^250.SIZE ${announced}\r$`, "m"));
    assert.match(await client.ask(`AUTH PLAIN ${auth}\r\n`), /^235 /);
    assert.match(await client.ask("EHLO app\r\n"), new RegExp(`^250.SIZE ${limit}\r$`, "m"));
  });

/** The hooks of a pod, and what they count and record. */
function receiving(messageSizeBytes: number) {
  const counted: string[] = [];
  const recorded: [type: string, ofClass: string, from: string, code: number][] = [];
  const admission = admissionOf(messageSizeBytes);
  const pod = {
    name: "pod-0",
    clock: systemClock,
    log: silentLog,
    config: () => ({ manifest: { pool: "mail/p" } }),
    metrics: {
      tenantLabel: (tenant: string) => tenant,
      rejections: {
        inc: ({ tenant, reason }: Record<string, string>) => void counted.push(`${tenant} ${reason}`),
      },
    },
    eventLog: {
      append: (_stamp: object, { type, class: ofClass, from, code }: EventFacts) =>
        void recorded.push([type, ofClass ?? "", from ?? "", code ?? 0]),
    },
  };
  const receive = createReceive({ pod, admission: () => admission } as never);
  return { counted, recorded, hooks: { ...receive, trusted: () => acme } };
}

test("what MAIL refuses and what is found too large or malformed at the dot or in chunks is counted and recorded once, with its reason", async () => {
  const begin = "MAIL FROM:<a@acme.example>\r\nRCPT TO:<b@b.example>\r\n";
  const body = messageOf(2000).toString();
  const cases: [string, string, string, number][] = [
    ["MAIL FROM:<>\r\n", "null-sender", "", 550],
    ["MAIL FROM:<a@b.example>\r\n", "sender-domain", "a@b.example", 550],
    ["MAIL FROM:<a@acme.example> SIZE=2000\r\n", "too-large", "a@acme.example", 552],
    [`${begin}DATA\r\n${body}.\r\n`, "too-large", "a@acme.example", 552],
    [`${begin}BDAT 2000 LAST\r\n${body}`, "too-large", "a@acme.example", 552],
    [`${begin}BDAT 2000\r\n${body}BDAT 2000 LAST\r\n${body}`, "too-large", "a@acme.example", 552],
    [`${begin}BDAT 99000000\r\n`, "too-large", "a@acme.example", 552],
    [`${begin}DATA\r\nFrom: a\n\r\n.\r\n`, "malformed", "a@acme.example", 550],
    [`${begin}BDAT 3 LAST\r\n\0\r\n`, "malformed", "a@acme.example", 550],
    [`${begin}DATA\r\nno header\r\n.\r\n`, "malformed", "a@acme.example", 550],
    [`${begin}DATA\r\n${"received: a\r\n".repeat(101)}\r\n.\r\n`, "loop", "a@acme.example", 554],
  ];
  for (const [said, reason, from, code] of cases) {
    const { counted, recorded, hooks } = receiving(1500);
    await using opened = await open(1500, hooks);
    await using client = await RawClient.open(opened.ports["smtp"] ?? 0);
    client.send(`EHLO app\r\n${said}QUIT\r\n`);
    assert.match(await client.untilClosed(), new RegExp(`^${code} 5\\.`, "m"));
    const name = said.slice(0, 99);
    assert.deepEqual(counted, [`mail/acme ${reason}`], name);
    assert.deepEqual(recorded, [["rejected", reason, from, code]], name);
  }
});

test("the admin port alone listens on --admin-bind", async () => {
  const more = ["--admin-bind", "127.0.0.2", "--admin-port", "0", "--admin-token-file", "none"];
  await using opened = await open(10_000, recordingHooks(), more);
  const status = (host: string): Promise<number> =>
    fetch(`http://${host}:${opened.ports["admin"]}/v1/top`).then((answer) => answer.status);
  assert.equal(await status("127.0.0.2"), 401);
  await assert.rejects(status("127.0.0.1"), (error: Error) => /ECONNREFUSED/.test(String(error.cause)));
  assert.equal(await post(opened, 5000), 202);
});
