import assert from "node:assert/strict";
import { once } from "node:events";
import { test } from "node:test";
import { SMTPServer, type SMTPServerOptions } from "smtp-server";
import { testCertificate } from "#test/kit/certificates.ts";
import { client, inShort } from "./client.ts";

const certificate = await testCertificate(["mx.test"]);

async function server(
  options: SMTPServerOptions,
  run: (port: number, messages: string[]) => Promise<void>,
): Promise<void> {
  const messages: string[] = [];
  const found = new SMTPServer({
    authOptional: true,
    disabledCommands: ["AUTH"],
    logger: false,
    onRcptTo({ address }, _session, done) {
      done(
        address.startsWith("nobody") ? Object.assign(new Error("no such user"), { responseCode: 550 }) : null,
      );
    },
    onData(stream, _session, done) {
      const pieces: Buffer[] = [];
      stream.on("data", (piece: Buffer) => pieces.push(piece));
      stream.on("end", () => {
        messages.push(Buffer.concat(pieces).toString());
        done();
      });
    },
    ...options,
  });
  found.on("error", () => {});
  found.listen(0, "127.0.0.1");
  await once(found.server, "listening");
  const address = found.server.address();
  try {
    await run(typeof address === "object" && address !== null ? address.port : 0, messages);
  } finally {
    await new Promise<void>((resolve) => found.close(() => resolve()));
  }
}

for (const [name, options] of [
  ["with PIPELINING and STARTTLS", { key: certificate.key, cert: certificate.cert }],
  ["in clear", { disabledCommands: ["AUTH", "STARTTLS"] }],
  ["without PIPELINING", { hidePIPELINING: true, disabledCommands: ["AUTH", "STARTTLS"] }],
  ["without PIPELINING, in TLS", { hidePIPELINING: true, key: certificate.key, cert: certificate.cert }],
  ["that knows only HELO", { disabledCommands: ["AUTH", "STARTTLS", "EHLO"] }],
] as const satisfies readonly (readonly [string, SMTPServerOptions])[]) {
  test(`several messages over one connection to smtp-server ${name}`, async () => {
    await server({ ...options }, async (port, messages) => {
      const target = { host: "mx.test", address: "127.0.0.1", port };
      const { opened, send, connection, closed } = client([target], { tls: "Opportunistic" });
      await opened;
      const text = "Subject: x\r\n\r\n.dot\r\n..\r\n.\r\nend\r\n";
      for (let sent = 1; sent <= 5; sent++) {
        const result = await send({
          to: ["b@y.test", "nobody@y.test", "c@y.test"],
          message: [Buffer.from(text)],
        });
        assert.equal(inShort(result), "250 550 250");
        assert.equal(connection.sent, 2 * sent - 1);
        assert.equal(inShort(await send({ to: ["nobody@y.test"] })), "550");
      }
      connection.close();
      await closed;
      assert.deepEqual(
        messages,
        Array.from({ length: 5 }, () => text),
      );
    });
  });
}

test("a message above smtp-server's SIZE is not sent", async () => {
  await server({ size: 1000, disabledCommands: ["AUTH", "STARTTLS"] }, async (port, messages) => {
    const { opened, send, connection, closed } = client([{ host: "mx.test", address: "127.0.0.1", port }]);
    await opened;
    assert.equal(inShort(await send({ message: [Buffer.alloc(2000, "x")] })), "552");
    assert.equal(inShort(await send()), "250");
    connection.close();
    await closed;
    assert.equal(messages.length, 1);
  });
});

test("a megabyte through TLS arrives as it is", async () => {
  await server({ key: certificate.key, cert: certificate.cert }, async (port, messages) => {
    const { opened, send, connection, closed } = client([{ host: "mx.test", address: "127.0.0.1", port }], {
      tls: "Required",
    });
    await opened;
    const text = `Subject: x\r\n\r\n${".line of text\r\n".repeat(80_000)}`;
    assert.equal(inShort(await send({ message: [Buffer.from(text)] })), "250");
    connection.close();
    await closed;
    assert.equal(messages[0], text);
  });
});
