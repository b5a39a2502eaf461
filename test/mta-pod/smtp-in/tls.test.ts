/** STARTTLS and implicit TLS: what was said in clear must be forgotten. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { before, test } from "node:test";
import { connect as connectTls } from "node:tls";
import { type TestCertificate, testCertificate } from "#test/kit/certificates.ts";
import { RawClient, recordingHooks, running, until } from "./kit.ts";

let certificate: TestCertificate;
before(async () => {
  certificate = await testCertificate(["mx.test"]);
});

const login = "AUTH PLAIN AHVzZXIAc2VjcmV0\r\n";
const message = "MAIL FROM:<a@acme.example>\r\nRCPT TO:<b@b.example>\r\nDATA\r\n";

/** The client goes on in TLS over its socket. */
async function secure(client: RawClient, ca = certificate.ca): Promise<void> {
  const raw = client.socket;
  raw.removeAllListeners("data");
  const socket = connectTls({ socket: raw, ca, servername: "mx.test" });
  client.attach(socket);
  await once(socket, "secureConnect");
}

test("STARTTLS is offered, done once, and makes AUTH possible", async () => {
  const hooks = recordingHooks({ trusted: () => null });
  await using server = await running({ tls: certificate, plaintextAuthFrom: "nobody", hooks });
  await using client = await RawClient.open(server.listener.port);
  await client.reply();
  const offered = await client.ask("EHLO app\r\n");
  assert.match(offered, /STARTTLS/);
  assert.doesNotMatch(offered, /AUTH/);
  assert.equal(await client.ask(login), "538 5.7.11 encryption required: STARTTLS first");
  assert.equal(await client.ask("MAIL FROM:<a@acme.example>\r\n"), "530 5.7.0 must issue STARTTLS first");
  assert.equal(await client.ask("STARTTLS\r\n"), "220 2.0.0 ready for TLS");
  await secure(client);
  // RFC 3207 §4.2: the greeting is forgotten too.
  assert.equal(await client.ask("MAIL FROM:<a@acme.example>\r\n"), "503 5.5.1 EHLO first");
  const again = await client.ask("EHLO app\r\n");
  assert.doesNotMatch(again, /STARTTLS/);
  assert.match(again, /AUTH PLAIN LOGIN/);
  assert.equal(await client.ask("STARTTLS\r\n"), "503 5.5.1 TLS is on already");
  assert.equal(await client.ask(login), "235 2.7.0 authenticated");
  client.send(`${message}x: y\r\n.\r\nQUIT\r\n`);
  assert.match(await client.untilClosed(), /queued as M1\r\n221 2\.0\.0 bye\r\n$/);
  const session = server.hooks.messages[0]?.session;
  assert.equal(session?.protocol, "ESMTPSA");
  assert.match(session?.tls ?? "", /^TLSv1\.[23] \w+/);
});

test("commands injected behind STARTTLS are never run", async () => {
  await using server = await running({ tls: certificate });
  await using client = await RawClient.open(server.listener.port);
  await client.reply();
  await client.ask("EHLO app\r\n");
  client.send(`STARTTLS\r\nEHLO evil\r\n${message}x: y\r\n.\r\nRSET\r\n`);
  assert.equal(await client.reply(), "220 2.0.0 ready for TLS");
  await secure(client);
  // The very next reply belongs to the first command inside TLS.
  assert.equal(await client.ask("NOOP\r\n"), "250 2.0.0 ok");
  assert.equal(await client.ask("MAIL FROM:<a@acme.example>\r\n"), "503 5.5.1 EHLO first");
  assert.equal(server.hooks.messages.length, 0);
});

test("a login made in clear does not survive STARTTLS", async () => {
  const hooks = recordingHooks({ trusted: () => null });
  await using server = await running({ tls: certificate, hooks });
  await using client = await RawClient.open(server.listener.port);
  await client.reply();
  await client.ask("EHLO app\r\n");
  assert.match(await client.ask(login), /^235/);
  await client.ask("STARTTLS\r\n");
  await secure(client);
  await client.ask("EHLO app\r\n");
  assert.equal(await client.ask("MAIL FROM:<a@acme.example>\r\n"), "530 5.7.0 authentication required");
});

test("STARTTLS is refused inside a transaction", async () => {
  await using server = await running({ tls: certificate });
  await using client = await RawClient.open(server.listener.port);
  await client.reply();
  await client.ask("EHLO app\r\n");
  await client.ask("MAIL FROM:<a@acme.example>\r\n");
  assert.equal(await client.ask("STARTTLS\r\n"), "503 5.5.1 not inside a transaction");
});

test("plain commands in place of a handshake end the connection", async () => {
  await using server = await running({ tls: certificate });
  await using client = await RawClient.open(server.listener.port);
  await client.reply();
  await client.ask("EHLO app\r\n");
  await client.ask("STARTTLS\r\n");
  client.send(`EHLO app\r\n${message}x: y\r\n.\r\n`);
  await client.untilClosed();
  await until(() => server.listener.connections() === 0);
  assert.equal(server.hooks.messages.length, 0);
});

test("a handshake that never comes is given up", async () => {
  const clock = { ms: 0, now: () => clock.ms, monotonic: () => clock.ms };
  await using server = await running({ tls: certificate, implicitTls: true, clock, sweepMs: 2 });
  await using client = await RawClient.open(server.listener.port);
  await until(() => server.listener.connections() === 1);
  clock.ms += 31_000;
  assert.equal(await client.untilClosed(), "");
});

test("implicit TLS greets inside TLS, and setTls() changes the certificate for the next connection", async () => {
  await using server = await running({ name: "submissions", tls: certificate, implicitTls: true });
  const { port } = server.listener;
  await using first = await RawClient.open(port);
  await secure(first);
  assert.equal(await first.reply(), "220 mx.test ESMTP");
  const renewed = await testCertificate(["mx.test"]);
  assert.throws(() => server.listener.setTls({ key: "no key", cert: "no certificate" }));
  server.listener.setTls(renewed);
  await using second = await RawClient.open(port);
  await secure(second, renewed.ca);
  assert.equal(await second.reply(), "220 mx.test ESMTP");
  assert.equal(await first.ask("NOOP\r\n"), "250 2.0.0 ok");
});

test("TLS below 1.2 is refused", async () => {
  await using server = await running({ tls: certificate, implicitTls: true });
  const socket = connectTls({
    port: server.listener.port,
    host: "127.0.0.1",
    ca: certificate.ca,
    servername: "mx.test",
    minVersion: "TLSv1",
    maxVersion: "TLSv1.1",
    ciphers: "DEFAULT@SECLEVEL=0",
  });
  const [error] = await once(socket, "error");
  assert.match(String(error), /alert|version|unsupported/i);
  socket.destroy();
});

test("a listener with implicit TLS closes what connects until it has a certificate", async () => {
  await using server = await running({ name: "submissions", tls: null, implicitTls: true });
  const { port } = server.listener;
  await using early = await RawClient.open(port);
  assert.equal(await early.untilClosed(), "");
  server.listener.setTls(certificate);
  await using client = await RawClient.open(port);
  await secure(client);
  assert.equal(await client.reply(), "220 mx.test ESMTP");
});
