/** The doors of a pod hold a message to its tenant's limit, to the byte, up to the largest there is. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { maxMessageBytes } from "#crds/values/message-bounds.ts";
import { createAdmission } from "#mta-pod/admit/admission.ts";
import { type Front, type FrontDeps, openFront } from "#mta-pod/front.ts";
import { readPodOptions } from "#mta-pod/options.ts";
import { systemClock } from "#mta-pod/runtime/clock.ts";
import { silentLog } from "#mta-pod/runtime/log.ts";
import { configOf, tenantOf } from "./admit/pod-config.ts";
import { RawClient, recordingHooks } from "./smtp-in/kit.ts";

interface Opened extends AsyncDisposable {
  readonly ports: Front["ports"];
  /** Sizes of what came through. */
  readonly sizes: number[];
}

async function open(messageSizeBytes: number): Promise<Opened> {
  const limits = { recipientsPerMessage: 3, messageSizeBytes };
  const admission = createAdmission(configOf(tenantOf({ limits })));
  const sizes: number[] = [];
  const { message, ...hooks } = recordingHooks();
  const args = ["--config", "c", "--keys", "k", "--bind", "127.0.0.1", "--local", "--smtp-port", "0"];
  const others = ["--submission-port=-1", "--submissions-port=-1", "--http-port", "0", "--admin-port=-1"];
  const front = await openFront({
    options: readPodOptions([...args, ...others], "pod-0"),
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
