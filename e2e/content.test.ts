import assert from "node:assert/strict";
import { test } from "node:test";
import { jetstreamManager } from "@nats-io/jetstream";
import { connect } from "@nats-io/transport-node";
import { createTransport } from "nodemailer";
import { poolNames } from "#crds/wire/subject.ts";
import { type Provider, startProvider } from "#operator/provider/provider.ts";
import { type LocalMode, startLocal } from "#test/kit/local.ts";
import { testPassword, testResources } from "#test/kit/local-resources.ts";
import { until } from "#test/kit/until.ts";
import { ruleTo, settled, submit } from "#test/kit/world.ts";
import { keyPair, signaturesOf } from "./kit/dkim.ts";

test("one message carries an rsa and an ed25519 signature that a verifier takes", async () => {
  const keys = { r1: keyPair("rsa"), e1: keyPair("ed25519") };
  const dkim = [
    { selector: "r1", secretRef: { name: "acme-rsa" } },
    { selector: "e1", secretRef: { name: "acme-ed25519", key: "private.pem" } },
  ];
  await using provider = await startProvider();
  await using local = await startLocal({
    resources: testResources({
      tenants: [{ name: "acme", spec: { domains: [{ name: "acme.example", dkim }] } }],
      rules: [ruleTo("x", provider.port)],
      secrets: {
        "acme-rsa": { "tls.key": keys.r1.secret },
        "acme-ed25519": { "private.pem": keys.e1.secret },
      },
    }),
    pods: 1,
  });
  const html = `<p>${"grüße ".repeat(500)}</p>\r\n.dot at the start\r\n`;
  const id = await submit(local, {
    from: "Acme <a@acme.example>",
    to: "u@x.example",
    subject: "grüße",
    html,
  });
  await settled(local, id, { types: ["received", "delivered"] });
  const raw = provider.messages.raw(1) ?? Buffer.alloc(0);
  const records = new Map([
    ["r1._domainkey.acme.example", keys.r1.record],
    ["e1._domainkey.acme.example", keys.e1.record],
  ]);
  assert.deepEqual(await signaturesOf(raw, records), ["e1 pass acme.example", "r1 pass acme.example"]);
  const header = raw.toString("latin1").replace(/\r\n[ \t]+/g, " ");
  for (const algorithm of ["rsa-sha256", "ed25519-sha256"])
    assert.match(header, new RegExp(`^DKIM-Signature: v=1; a=${algorithm};`, "m"));
});

/** Chunks on the pool's body stream now. */
async function chunks(local: LocalMode): Promise<number> {
  const nc = await connect({ servers: (await local.read()).nats });
  try {
    const manager = await jetstreamManager(nc);
    return (await manager.streams.info(poolNames("mail/shared").bodyStream)).state.messages;
  } finally {
    await nc.close();
  }
}

/** Lines of every length, some with a dot in front, some of 8-bit text; CRLF. */
function bigMessage(bytes: number): Buffer {
  const lines: string[] = ["From: <a@acme.example>", "Subject: big", "MIME-Version: 1.0"];
  lines.push("Content-Type: text/plain; charset=utf-8", "Content-Transfer-Encoding: 8bit", "");
  let size = 0;
  for (let number = 0; size < bytes; number++) {
    const line = `${number % 7 === 0 ? "." : ""}${number} ${"grüße.".repeat(number % 80)}`;
    lines.push(line);
    size += Buffer.byteLength(line) + 2;
  }
  return Buffer.from(`${lines.join("\r\n")}\r\n`);
}

async function sendRaw(local: LocalMode, to: readonly string[], raw: Buffer): Promise<string> {
  const [host = "", port = ""] = local.endpoints.submission.split(":");
  const transport = createTransport({
    host,
    port: Number(port),
    requireTLS: true,
    auth: { user: "acme", pass: testPassword },
    tls: { ca: local.ca },
  });
  const envelope = { from: "a@acme.example", to: [...to], use8BitMime: true };
  const { response } = await transport.sendMail({ envelope, raw });
  transport.close();
  return /queued as (\S+)/.exec(response)?.[1] ?? "";
}

/** What the provider got for an address, without the trace header that every hop puts in front. */
function received(provider: Provider, to: string): Buffer {
  const [got] = provider.messages.list({ to, limit: 1 });
  const raw = provider.messages.raw(got?.number ?? 0) ?? Buffer.alloc(0);
  return raw.subarray(raw.indexOf("From: <a@acme.example>"));
}

test("a message of 3 MB goes in chunks, arrives byte for byte, also after a deferral, and leaves no chunk behind", async () => {
  await using provider = await startProvider({
    rules: {
      rules: [
        {
          domains: ["later.example"],
          mailboxes: [],
          defer: { times: 1, code: 451, text: "4.3.0 later", stage: "data" },
        },
      ],
    },
  });
  await using local = await startLocal({
    resources: testResources({ rules: [ruleTo("x", provider.port), ruleTo("later", provider.port)] }),
    pods: 2,
  });
  const raw = bigMessage(3_000_000);
  const ids = [];
  for (const to of ["u@x.example", "u@later.example"]) ids.push(await sendRaw(local, [to], raw));
  await settled(local, ids[0] ?? "", { types: ["received", "delivered"] });
  await settled(local, ids[1] ?? "", { types: ["received", "deferred", "delivered"] });
  for (const to of ["u@x.example", "u@later.example"]) {
    const got = received(provider, to);
    assert.equal(got.length, raw.length, to);
    assert.ok(got.equals(raw), `${to}: other bytes`);
  }
  await until("the chunks to be gone", async () => (await chunks(local)) === 0);
  // Two sites share one body: kept until its age takes it, and each gets it whole.
  await sendRaw(local, ["both@x.example", "both@later.example"], raw);
  await until("both copies", () => provider.messages.list({ to: "both@", limit: 9 }).length === 2);
  for (const to of ["both@x.example", "both@later.example"])
    assert.ok(received(provider, to).equals(raw), `${to}: other bytes`);
  assert.ok((await chunks(local)) > 0);
});
