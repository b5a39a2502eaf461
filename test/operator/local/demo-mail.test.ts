import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { SMTPServer } from "smtp-server";
import { ensureDemoFiles } from "#operator/local/demo-files.ts";
import { prepareDemo } from "#operator/local/demo.ts";
import type { Endpoint } from "#operator/local/endpoint.ts";
import type { LocalOptions } from "#operator/local/options.ts";
import { openStateDir } from "#operator/local/state-dir.ts";
import { testCertificate } from "#test/kit/certificates.ts";
import { until } from "#test/kit/until.ts";

const certificate = await testCertificate(["127.0.0.1"]);

interface Door extends AsyncDisposable {
  /** HOST:PORT. */
  readonly address: string;
  /** Of each message. */
  readonly logins: string[];
}

/** The submission port of a pool. */
async function door(): Promise<Door> {
  const logins: string[] = [];
  const server = new SMTPServer({
    key: certificate.key,
    cert: certificate.cert,
    logger: false,
    onAuth: ({ username = "" }, _session, done) => done(null, { user: username }),
    onData(stream, { user }, done) {
      stream.on("data", () => {});
      stream.on("end", () => {
        logins.push(String(user));
        done();
      });
    },
  });
  server.on("error", () => {});
  server.listen(0, "127.0.0.1");
  await once(server.server, "listening");
  const bound = server.server.address();
  return {
    address: `127.0.0.1:${typeof bound === "object" && bound !== null ? bound.port : 0}`,
    logins,
    [Symbol.asyncDispose]: () => new Promise<void>((resolve) => server.close(() => resolve())),
  };
}

test("the provider's port changes in the demo's rules alone, which stay as they were edited", async () => {
  const folder = await mkdtemp(join(tmpdir(), "mailboat-test-demo-files-"));
  const state = await openStateDir(folder);
  const file = state.file("demo", "resources", "shape.yaml");
  const { providerPort: former } = await ensureDemoFiles(state);
  const edited = (await readFile(file, "utf8")).replace("messageRate: 5/s", "messageRate: 3/s");
  assert.match(edited, /3\/s/);
  await writeFile(file, edited);
  const other = createServer().listen(former, "127.0.0.1");
  await once(other, "listening");
  try {
    const { providerPort } = await ensureDemoFiles(state);
    assert.notEqual(providerPort, former);
    assert.equal(await readFile(file, "utf8"), edited.replaceAll(String(former), String(providerPort)));
    await rm(file);
    await ensureDemoFiles(state);
    assert.match(await readFile(file, "utf8"), new RegExp(`port: ${providerPort}[^0-9]`));
  } finally {
    other.close();
    await rm(folder, { recursive: true });
  }
});

test("the demo's mail is its own tenants', through their pool, whatever else runs beside them", async () => {
  const folder = await mkdtemp(join(tmpdir(), "mailboat-test-demo-mail-"));
  await using first = await door();
  await using demos = await door();
  const [credentialsFile, ca] = [join(folder, "credentials.json"), join(folder, "ca.crt")];
  const login = (tenant: string, pool: string): object => {
    const username = tenant.replace("/", "-");
    return { tenant, pool, username, password: "x", from: `test@${username}.example` };
  };
  const logins = [
    login("shop/acme", "a/first"),
    login("mail/acme", "mail/demo"),
    login("mail/globex", "mail/demo"),
  ];
  await writeFile(credentialsFile, JSON.stringify(logins));
  await writeFile(ca, certificate.ca);
  const pool = (name: string, submission: string): Endpoint["pools"][number] => {
    const nowhere = "127.0.0.1:1";
    return {
      pool: name,
      submission,
      smtp: nowhere,
      submissions: nowhere,
      http: nowhere,
      admin: nowhere,
      metrics: [],
    };
  };
  const endpoint: Endpoint = {
    pools: [pool("a/first", first.address), pool("mail/demo", demos.address)],
    nats: "nats://127.0.0.1:1",
    adminTokenFile: join(folder, "admin.token"),
    credentialsFile,
    ca,
    pids: { runner: process.pid, pods: {} },
  };
  const lines: string[] = [];
  const options = {
    state: folder,
    json: false,
    print: (line: string) => void lines.push(line),
    complain: (line: string) => void lines.push(line),
  } as unknown as LocalOptions;
  const demo = await prepareDemo(await openStateDir(folder), options);
  try {
    const stop = demo.begin(endpoint);
    await until("some mail", () => first.logins.length + demos.logins.length >= 8);
    await stop();
    assert.deepEqual([first.logins, new Set(demos.logins)], [[], new Set(["mail-acme", "mail-globex"])]);
    assert.match(lines.join("\n"), /mailboat send --to you@slow\.example --count 100 --pool mail\/demo/);
  } finally {
    await demo.close();
    await rm(folder, { recursive: true });
  }
});
