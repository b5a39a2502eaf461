import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect as connectTls } from "node:tls";
import { test } from "node:test";
import { findNatsServer } from "#operator/local/nats-binary.ts";
import { startNatsServer } from "#operator/local/nats-server.ts";
import { createStreams } from "#operator/streams/streams.ts";
import { systemTimers } from "#mta-pod/spool/timers.ts";
import { createAuthority } from "#operator/provider/certificate.ts";
import { testCertificate } from "#test/kit/certificates.ts";
import { startTestNats } from "#test/kit/nats-server.ts";
import { until } from "#test/kit/until.ts";
import { podFolder, type PodProcess, poolOf, startPodProcess } from "./pod-process.ts";

async function ready(pod: PodProcess): Promise<void> {
  await says(pod, /^ok$/m);
}

async function says(pod: PodProcess, pattern: RegExp): Promise<void> {
  let last = "";
  try {
    await until(
      `/readyz to say ${pattern}`,
      async () => {
        last = (await pod.ask("/readyz"))?.text ?? "nothing";
        return pattern.test(last);
      },
      20_000,
    );
  } catch (error) {
    throw new Error(`${String(error)}; it says ${last}; log:\n${pod.log()}`, { cause: error });
  }
}

test("a pod without a configuration is alive, says what it waits for, and is ready once it and NATS are there", async () => {
  await using nats = await startTestNats();
  await nats.kill();
  using folder = podFolder();
  await using pod = await startPodProcess(folder);
  await says(pod, /^waits for a configuration: pool\.json: file: expected .*, got no such file$/m);
  assert.equal((await pod.ask("/healthz"))?.status, 200);
  assert.equal((await pod.ask("/metrics"))?.status, 200);
  await folder.project("config", poolOf(nats.url));
  await says(pod, /^waits for NATS at nats:\/\/127\.0\.0\.1:\d+: .*connection refused/m);
  assert.deepEqual(JSON.parse((await pod.ask("/statusz"))?.text ?? "").pod, "mailboat-shared-abc");
  await nats.restart();
  await ready(pod);
  const status = JSON.parse((await pod.ask("/statusz"))?.text ?? "") as { pod: string; generation: number };
  assert.deepEqual([status.pod, status.generation], ["mailboat-shared-abc", 1]);
});

test("a pod whose streams JetStream refuses tells the operator so, in JetStream's words", async () => {
  await using nats = await startTestNats({ maxStoreBytes: 20_000_000 });
  using folder = podFolder();
  await folder.project("config", poolOf(nats.url));
  await using pod = await startPodProcess(folder);
  const refused =
    /Cannot make stream MB_\w+_1: expected the server to hold 16777216 bytes x 1, got ".+" \(100(23|47)\)/;
  await says(pod, refused);
  const streams = createStreams({ name: "test", after: systemTimers.after });
  try {
    const queue = streams.pool("mail/shared", { servers: [nats.url], login: { kind: "none" }, shards: 2 });
    const told = async (): Promise<string> => {
      const answer = await queue.report({
        pods: new Set(["mailboat-shared-abc"]),
        tenants: [],
        timeoutMs: 500,
      });
      return answer.kind === "away" ? answer.text : (answer.waiting.get("mailboat-shared-abc") ?? "");
    };
    await until("it to be told", async () => refused.test(await told()));
  } finally {
    await streams.close();
  }
});

test("SIGTERM ends a pod that waits, with 0 and at once", async () => {
  using folder = podFolder();
  await using pod = await startPodProcess(folder);
  await says(pod, /^waits for a configuration/m);
  pod.signal("SIGTERM");
  assert.equal(await pod.exited, 0);
});

test("after SIGTERM a pod is not ready, takes connections for a while yet, and ends with 0", async () => {
  await using nats = await startTestNats();
  using folder = podFolder();
  await folder.project("config", poolOf(nats.url));
  await using pod = await startPodProcess(folder, ["--lame-duck-ms", "2000"]);
  await ready(pod);
  pod.signal("SIGTERM");
  await says(pod, /^stopping$/m);
  assert.match(await greeting(pod.ports.smtp), /^220 out\.example\.net/);
  assert.equal(await pod.exited, 0);
});

test("a pod logs in at NATS with what is mounted, over TLS with a client's certificate, and waits until it may", async () => {
  const store = await mkdtemp(join(tmpdir(), "mailboat-nats-tls-"));
  const { key, cert, ca } = await testCertificate(["localhost"]);
  const client = await createAuthority("pods", 1, Date.now());
  const paths = { key: join(store, "k.pem"), cert: join(store, "c.pem"), ca: join(store, "clients.pem") };
  await writeFile(paths.key, key);
  await writeFile(paths.cert, cert);
  await writeFile(paths.ca, client.cert);
  const nats = await startNatsServer({
    binary: (await findNatsServer({ env: process.env })).path,
    storeDir: join(store, "js"),
    host: "127.0.0.1",
    port: 0,
    moreConfig: [
      `tls { cert_file: "${paths.cert}", key_file: "${paths.key}", ca_file: "${paths.ca}", verify: true }`,
      'authorization { user: "pods", password: "pa$$word" }',
    ],
  });
  try {
    using folder = podFolder();
    await folder.project("config", poolOf(nats.url.replace("nats://127.0.0.1", "tls://localhost")));
    await using pod = await startPodProcess(folder, ["--nats-dir", folder.path("nats")]);
    await says(pod, /^waits for NATS at tls:.*certificate/m);
    const certificates = { "ca.crt": ca, "tls.crt": client.cert, "tls.key": client.key };
    await folder.project("nats", certificates);
    await says(pod, /^waits for NATS at tls:.*Authorization/im);
    await folder.project("nats", { ...certificates, username: "pods", password: "pa$$word\n" });
    await ready(pod);
  } finally {
    await nats.stop();
    await rm(store, { recursive: true, force: true });
  }
});

test("a renewed certificate is for the next handshake, and the admin port goes by the token that is mounted now", async () => {
  await using nats = await startTestNats();
  using folder = podFolder();
  await folder.project("config", poolOf(nats.url));
  const mounts = ["--tls-dir", folder.path("tls"), "--admin-token-file", join(folder.path("admin"), "token")];
  await using pod = await startPodProcess(folder, mounts);
  await ready(pod);
  await assert.rejects(subjectOf(pod.ports.submissions));
  assert.equal(await adminStatus(pod, "anything"), 401);
  const first = await testCertificate(["first.example"]);
  await folder.project("tls", { "tls.key": first.key, "tls.crt": first.cert });
  await folder.project("admin", { token: "a-token-of-the-operator" });
  await until(
    "the first certificate",
    async () => (await subjectOf(pod.ports.submissions).catch(String)) === "first.example",
  );
  assert.equal(await adminStatus(pod, "a-token-of-the-operator"), 200);
  const second = await testCertificate(["second.example"]);
  // Not a pair: said, and the last good one stays.
  await folder.project("tls", { "tls.key": first.key, "tls.crt": second.cert });
  await until("a complaint", () => pod.log().includes("no certificate that can be used"));
  assert.equal(await subjectOf(pod.ports.submissions), "first.example");
  await folder.project("tls", { "tls.key": second.key, "tls.crt": second.cert });
  await until(
    "the second",
    async () => (await subjectOf(pod.ports.submissions).catch(String)) === "second.example",
  );
});

async function adminStatus(pod: PodProcess, token: string): Promise<number> {
  const url = `http://127.0.0.1:${pod.ports.admin}/v1/top`;
  return (await fetch(url, { headers: { authorization: `Bearer ${token}` } })).status;
}

function greeting(port: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: "127.0.0.1", port }, () => {});
    socket.once("data", (data) => {
      socket.destroy();
      resolve(data.toString());
    });
    socket.once("error", reject);
    socket.once("close", () => reject(new Error("closed without a greeting")));
  });
}

function subjectOf(port: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connectTls({ host: "127.0.0.1", port, rejectUnauthorized: false }, () => {
      resolve(String(socket.getPeerCertificate().subject.CN));
      socket.destroy();
    });
    socket.once("error", reject);
    socket.once("close", () => reject(new Error("closed")));
  });
}
