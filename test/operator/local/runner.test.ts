import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { type Endpoint, parseEndpoint } from "#operator/local/endpoint.ts";
import { stopRequests, stopSignals } from "#operator/local/stop-requests.ts";
import { until } from "#test/kit/until.ts";

const fakePod = fileURLToPath(new URL("fake-pod.ts", import.meta.url));
const runnerMain = fileURLToPath(new URL("run-local.ts", import.meta.url));

const pool = (replicas: number, more = ""): string => `apiVersion: mailboat.dev/v1alpha1
kind: SendingPool
metadata: {name: shared, namespace: mail}
spec:
  replicas: ${replicas}
  hostname: out.example.net
  queue: {servers: ["nats://elsewhere:4222"], replicas: 3}
${more}`;

const tenant = (more = ""): string => `apiVersion: mailboat.dev/v1alpha1
kind: Tenant
metadata: {name: acme, namespace: mail}
spec:
  poolRef: {name: shared}
  domains: [{name: acme.example}]
  ${more}
`;

interface Runner extends AsyncDisposable {
  readonly lines: string[];
  readonly folder: string;
  readonly process: ChildProcess;
  readonly exited: Promise<number | null>;
  endpoint(): Promise<Endpoint | undefined>;
  ready(): Promise<Endpoint>;
  said(pattern: RegExp): Promise<string>;
}

/** The runner in a process of its own, with pods that only listen. */
async function run(
  resources: string,
  options: { folder?: string; fails?: boolean; bind?: string } = {},
): Promise<Runner> {
  const folder = options.folder ?? (await mkdtemp(join(tmpdir(), "mailboat-test-runner-")));
  await mkdir(join(folder, "resources"), { recursive: true });
  await writeFile(join(folder, "resources", "all.yaml"), resources);
  const args = [
    runnerMain,
    join(folder, "state"),
    join(folder, "resources"),
    fakePod,
    options.bind ?? "127.0.0.1",
  ];
  const env = { ...process.env, ...(options.fails === true ? { FAKE_POD_FAILS: "1" } : {}) };
  const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "pipe"], env });
  const exited = new Promise<number | null>((resolve) => child.once("exit", (code) => resolve(code)));
  const lines: string[] = [];
  for (const stream of [child.stdout, child.stderr])
    createInterface({ input: stream }).on("line", (line) => lines.push(line));
  const endpoint = async (): Promise<Endpoint | undefined> =>
    parseEndpoint(await readFile(join(folder, "state", "endpoint.json"), "utf8").catch(() => ""));
  const said = (pattern: RegExp): Promise<string> =>
    until(
      `${String(pattern)} in ${JSON.stringify(lines)}`,
      () => lines.find((line) => pattern.test(line)),
      20_000,
    );
  return {
    lines,
    folder,
    process: child,
    exited,
    endpoint,
    said,
    async ready() {
      await said(/^ready /);
      return until("the endpoint file", endpoint);
    },
    async [Symbol.asyncDispose]() {
      child.kill("SIGTERM");
      await exited;
      await rm(folder, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}

/** A zombie, which only waits for its parent to look, is dead. */
function isAlive(pid: number | undefined): boolean {
  if (pid === undefined) return false;
  try {
    process.kill(pid, 0);
    return !/\) Z /.test(readFileSync(`/proc/${pid}/stat`, "utf8"));
  } catch {
    return false;
  }
}

function banner(address: string): Promise<string> {
  const [host = "", port = ""] = address.split(":");
  return new Promise((resolve, reject) => {
    connect(Number(port), host)
      .once("data", (bytes: Buffer) => resolve(bytes.toString()))
      .once("error", reject);
  });
}

test("the runner starts the pods, says where they are, and stops all of it at SIGINT", async () => {
  await using runner = await run(pool(2));
  const { pools, pids } = await runner.ready();
  assert.deepEqual(Object.keys(pids.pods), ["shared-0", "shared-1"]);
  assert.equal(pools[0]?.metrics.length, 2);
  assert.match(await banner(pools[0]?.smtp ?? ""), /^220 shared-/);
  const config = await readFile(
    join(runner.folder, "state", "pools", "mail.shared", "config", "pool.json"),
    "utf8",
  );
  const { queue } = JSON.parse(config) as { queue: { servers: string[]; replicas: number } };
  assert.match(queue.servers[0] ?? "", /^nats:\/\/127\.0\.0\.1:/);
  assert.equal(queue.replicas, 1);
  runner.process.kill("SIGINT");
  runner.process.kill("SIGTERM");
  assert.equal(await runner.exited, 0);
  for (const pid of [...Object.values(pids.pods), pids.nats]) assert.equal(isAlive(pid), false);
  assert.equal(await runner.endpoint(), undefined);
});

test("stopRequests() takes what comes together for one request, and a later signal for insisting", (t) => {
  t.mock.timers.enable({ apis: ["setTimeout", "setImmediate"] });
  const exit = t.mock.method(process, "exit", () => undefined as never);
  const kill = t.mock.fn();
  const stop = stopRequests();
  stop.onForce(kill);
  // Ctrl-C of a terminal, then the launcher's and npm's.
  for (const signal of ["SIGINT", "SIGINT", "SIGTERM"] as const) process.emit(signal);
  assert.equal(stop.requested(), true);
  assert.equal(kill.mock.callCount(), 0);
  t.mock.timers.tick(1000);
  process.emit("SIGINT");
  stop.end();
  t.after(() => stopSignals.forEach((name) => process.removeAllListeners(name)));
  assert.equal(kill.mock.callCount(), 1);
  assert.deepEqual(exit.mock.calls[0]?.arguments, [130]);
});

test("with --bind 0.0.0.0 the commands are told an address to connect to, which the certificate covers", async () => {
  await using runner = await run(pool(1), { bind: "0.0.0.0" });
  const { pools, ca } = await runner.ready();
  const [first] = pools;
  assert.match(first?.submission ?? "", /^127\.0\.0\.1:\d+$/);
  assert.match(await banner(first?.submission ?? ""), /^220 shared-/);
  for (const address of [first?.admin, first?.http, ...(first?.metrics ?? [])])
    assert.match(address ?? "", /^127\.0\.0\.1:/);
  const leaf = new X509Certificate(await readFile(join(dirname(ca), "tls.crt")));
  assert.equal(leaf.checkIP("127.0.0.1"), "127.0.0.1");
  assert.match(await runner.said(/^listening on every address/), /--bind 0\.0\.0\.0/);
  // 127.0.0.2 is this machine too: whoever listens on 127.0.0.1 alone does not answer there.
  const elsewhere = (address = ""): Promise<string> => banner(address.replace("127.0.0.1", "127.0.0.2"));
  assert.match(await elsewhere(first?.http), /^220 shared-/);
  await assert.rejects(elsewhere(first?.admin), /ECONNREFUSED/);
  assert.match(await banner(first?.admin ?? ""), /^220 shared-/);
});

test("a pod or nats-server that is killed comes back, and the endpoint file says so", async () => {
  await using runner = await run(pool(1));
  const before = (await runner.ready()).pids;
  process.kill(before.pods["shared-0"] ?? 0, "SIGKILL");
  await runner.said(/pod shared-0 .* ended: SIGKILL/);
  await until("another pod", async () => {
    const now = (await runner.endpoint())?.pids.pods["shared-0"];
    return now !== undefined && now !== before.pods["shared-0"] && isAlive(now);
  });
  process.kill(before.nats ?? 0, "SIGKILL");
  await runner.said(/nats-server .* ended/);
});

test("a second runner in the same state folder is refused", async () => {
  await using runner = await run(pool(1));
  await runner.ready();
  const second = await run(pool(1), { folder: runner.folder });
  assert.equal(await second.exited, 1);
  assert.match(
    second.lines.join("\n"),
    /Cannot use .*: expected no other "mailboat local" there, got one with process id \d+/,
  );
});

test("kill -9 of the runner leaves no pods, and the next one goes on with the same NATS store", async () => {
  await using runner = await run(pool(1));
  const { pids } = await runner.ready();
  runner.process.kill("SIGKILL");
  await runner.exited;
  await until("the pod to leave", () => !isAlive(pids.pods["shared-0"]));
  await using second = await run(pool(1), { folder: runner.folder });
  await second.ready();
  assert.equal(isAlive(pids.nats), false, "the survivor was stopped");
});

test("edits are taken over, errors in them are printed and change nothing", async () => {
  await using runner = await run(pool(1));
  await runner.ready();
  const file = join(runner.folder, "resources", "all.yaml");
  await writeFile(file, pool(2));
  await runner.said(/pool mail\/shared takes over generation 2/);
  await until(
    "a second pod",
    async () => Object.keys((await runner.endpoint())?.pids.pods ?? {}).length === 2,
  );
  await writeFile(file, pool(2).replace("out.example.net", "not_a_name"));
  await runner.said(/all\.yaml.*hostname/);
  await runner.said(/the last good configuration stays in force/);
  assert.equal(Object.keys((await runner.endpoint())?.pids.pods ?? {}).length, 2);
});

test("resources without a pool that can run are refused with every issue", async () => {
  await using runner = await run(
    "kind: SendingPool\napiVersion: mailboat.dev/v1alpha1\nmetadata: {name: x}\nspec: {}\n",
  );
  assert.equal(await runner.exited, 1);
  assert.match(runner.lines.join("\n"), /spec\.hostname: expected/);
  assert.match(
    runner.lines.join("\n"),
    /Cannot start: expected resources that can all be used .* got 2 issues,/,
  );
});

test("resources without a pool are refused, kinds of others do not count", async () => {
  await using runner = await run("{apiVersion: v1, kind: Namespace, metadata: {name: mail}}");
  assert.equal(await runner.exited, 1);
  assert.match(runner.lines.join("\n"), /Cannot start: expected a SendingPool that can be used/);
});

test("a tenant with a mistake is named and keeps the runner from starting, rather than count as removed", async () => {
  await using runner = await run(`${pool(1)}---\n${tenant()}`);
  await runner.ready();
  runner.process.kill("SIGINT");
  await runner.exited;
  const known = join(runner.folder, "state", "tenants.json");
  const before = await readFile(known, "utf8");
  await using second = await run(`${pool(1)}---\n${tenant("weight: heavy")}`, { folder: runner.folder });
  assert.equal(await second.exited, 1);
  const issue = /all\.yaml\[doc 2\] Tenant mail\/acme: spec\.weight: expected a number, got "heavy"/;
  assert.match(second.lines.join("\n"), issue);
  assert.equal(await readFile(known, "utf8"), before);
});

test("a pod that does not come up ends the runner with what the pod said", async () => {
  await using runner = await run(pool(1), { fails: true });
  assert.equal(await runner.exited, 1);
  assert.match(
    runner.lines.join("\n"),
    /Cannot start pod shared-0: expected its ready line, got exit code 3/,
  );
});
