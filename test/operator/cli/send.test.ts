/** `mailboat send` at a server that `--url` names: the login that it is given, by options or in the URL, and no part of one. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { test } from "node:test";
import { SMTPServer } from "smtp-server";
import { testCertificate } from "#test/kit/certificates.ts";
import { mailboat } from "#test/kit/command-line.ts";

interface Server extends AsyncDisposable {
  readonly host: string;
  /** `USER PASSWORD` of each login. */
  readonly logins: string[];
}

/** Takes any login and any mail. */
async function startServer(): Promise<Server> {
  const { key, cert } = await testCertificate(["localhost"]);
  const logins: string[] = [];
  const server = new SMTPServer({
    secure: true,
    key,
    cert,
    authOptional: true,
    onAuth: ({ username = "", password = "" }, _, done) => {
      logins.push(`${username} ${password}`);
      done(null, { user: username });
    },
    onData: (stream, _, done) => {
      stream.resume();
      stream.on("end", () => done(null, "2.0.0 queued as 1"));
    },
  });
  const listening = server.listen(0, "127.0.0.1");
  await once(listening, "listening");
  const address = listening.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  return {
    host: `127.0.0.1:${port}`,
    logins,
    [Symbol.asyncDispose]: () => new Promise((resolve) => server.close(() => resolve())),
  };
}

const send = (...args: string[]) =>
  mailboat("send", "--insecure", "--to", "a@b.example", "--from", "c@d.example", ...args);

test("send --url logs in as --user and --password say, else as the URL does, else not at all", async () => {
  await using server = await startServer();
  const { host, logins } = server;
  const login = ["--user", "acme", "--password", "correct horse"];
  const cases: [string[], string[]][] = [
    [["--url", `smtps://${host}`], []],
    [["--url", `smtps://${host}`, ...login], ["acme correct horse"]],
    [["--url", `smtps://anna%40acme.example:p%3A%C3%A4@${host}`], ["anna@acme.example p:ä"]],
    [["--url", `smtps://anna:p@${host}`, ...login], ["acme correct horse"]],
    [["--url", `smtps://anna@${host}`, "--password", "q"], ["anna q"]],
  ];
  for (const [args, expected] of cases) {
    logins.length = 0;
    const { code, out, err } = await send(...args);
    assert.deepEqual([code, logins], [0, expected], `${args.join(" ")}: ${out} ${err}`);
  }
});

test("send --url refuses half a login, and repeats no password", async () => {
  for (const [url, ...more] of [
    ["smtp://127.0.0.1:1", "--user", "acme"],
    ["smtp://127.0.0.1:1", "--password", "secret"],
    ["smtp://acme@127.0.0.1:1"],
    ["http://acme:secret@127.0.0.1:1"],
    ["smtp://acme:%E0secret@127.0.0.1:1"],
  ]) {
    const { code, err } = await send("--url", url ?? "", ...more);
    assert.equal(code, 2, err);
    assert.match(
      err,
      /^Cannot (send: expected --user with --password, got one of them|use --url: expected smtp)/,
    );
    assert.doesNotMatch(err, /secret/);
  }
});
