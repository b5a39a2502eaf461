/** Clients that people have: nodemailer, Python's smtplib, curl. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { createTransport } from "nodemailer";
import { type TestCertificate, testCertificate } from "#test/kit/certificates.ts";
import { programFor } from "#test/kit/programs.ts";
import { recordingHooks, running, type Running } from "./kit.ts";

const run = promisify(execFile);
let certificate: TestCertificate;
let folder: string;
before(async () => {
  certificate = await testCertificate(["localhost", "127.0.0.1"]);
  folder = await mkdtemp(join(tmpdir(), "mailboat-clients-"));
  await writeFile(join(folder, "ca.pem"), certificate.ca);
  await writeFile(join(folder, "mail.txt"), "From: a@acme.example\r\nSubject: curl\r\n\r\n.dot\r\nend\r\n");
});
after(() => rm(folder, { recursive: true, force: true }));

function strict(implicitTls: boolean): Promise<Running> {
  const hooks = recordingHooks({ trusted: () => null });
  return running({ tls: certificate, implicitTls, plaintextAuthFrom: "nobody", hooks });
}

for (const secure of [false, true])
  for (const method of ["PLAIN", "LOGIN"])
    test(`nodemailer sends with AUTH ${method} over ${secure ? "implicit TLS" : "STARTTLS"}`, async () => {
      await using server = await strict(secure);
      const transport = createTransport({
        host: "localhost",
        port: server.listener.port,
        secure,
        requireTLS: true,
        authMethod: method,
        auth: { user: "user", pass: "secret" },
        tls: { ca: certificate.ca },
        pool: true,
        maxConnections: 1,
      });
      for (let index = 1; index <= 3; index++) {
        const sent = await transport.sendMail({
          from: "a@acme.example",
          to: "b@b.example, c@b.example",
          subject: "grüße",
          text: `.dots\n..and more\n${"long ".repeat(5000)}`,
        });
        assert.match(sent.response, new RegExp(`queued as M${index}$`));
      }
      transport.close();
      assert.deepEqual(server.hooks.messages[2]?.to, ["b@b.example", "c@b.example"]);
      assert.equal(server.hooks.messages[2]?.session.protocol, "ESMTPSA");
    });

test("nodemailer is told why it is refused", async () => {
  await using server = await strict(false);
  const transport = createTransport({
    host: "localhost",
    port: server.listener.port,
    auth: { user: "user", pass: "wrong" },
    tls: { ca: certificate.ca },
  });
  await assert.rejects(transport.sendMail({ from: "a@acme.example", to: "b@b.example", text: "x" }), /535/);
});

const python = `
import smtplib, ssl, sys
context = ssl.create_default_context(cafile=sys.argv[2])
with smtplib.SMTP("localhost", int(sys.argv[1]), timeout=10) as client:
    client.starttls(context=context)
    client.login("user", "secret")
    refused = client.sendmail("a@acme.example", ["b@b.example", "bounce-550-5.1.1@b.example"], "Subject: one\\n\\n.dot\\nend")
    assert list(refused) == ["bounce-550-5.1.1@b.example"], refused
    client.sendmail("a@acme.example", ["c@b.example"], "Subject: gr\\u00fc\\u00dfe\\r\\n\\r\\nx".encode(), ["BODY=8BITMIME", "SMTPUTF8"])
`;

test("Python's smtplib sends over STARTTLS, with one recipient refused", async (context) => {
  const python3 = programFor(context, "python3");
  if (python3 === undefined) return;
  await using server = await strict(false);
  await run(python3, ["-c", python, String(server.listener.port), join(folder, "ca.pem")], {
    timeout: 20_000,
  });
  const [first, second] = server.hooks.messages;
  assert.equal(first?.body.toString(), "Subject: one\r\n\r\n.dot\r\nend\r\n");
  assert.deepEqual(first?.to, ["b@b.example"]);
  assert.equal(first?.eightBit, false);
  assert.equal(second?.eightBit, true);
  assert.equal(second?.smtpUtf8, true);
});

for (const scheme of ["smtp", "smtps"])
  test(`curl sends over ${scheme}`, async (context) => {
    const curl = programFor(context, "curl");
    if (curl === undefined) return;
    await using server = await strict(scheme === "smtps");
    const url = `${scheme}://localhost:${server.listener.port}/app.test`;
    const who = ["--mail-from", "a@acme.example", "--mail-rcpt", "b@b.example", "--user", "user:secret"];
    const tls = ["--ssl-reqd", "--cacert", join(folder, "ca.pem")];
    await run(curl, ["-sS", url, ...tls, ...who, "--upload-file", join(folder, "mail.txt")], {
      timeout: 20_000,
    });
    assert.match(server.hooks.messages[0]?.body.toString() ?? "", /\r\n\r\n\.dot\r\nend\r\n$/);
    assert.equal(server.hooks.messages[0]?.session.helo, "app.test");
  });
