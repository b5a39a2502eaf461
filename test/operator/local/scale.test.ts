import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { compile, type CompiledPool } from "#operator/compile/compile.ts";
import { readResources } from "#operator/gather/folder.ts";
import { type PoolRunner, startPool } from "#operator/local/pool-runner.ts";
import { freePorts } from "#operator/local/ports.ts";
import { openStateDir } from "#operator/local/state-dir.ts";

const fakePod = fileURLToPath(new URL("fake-pod.ts", import.meta.url));

/** Three ports in a row that nobody has now. */
async function portsInARow(): Promise<number> {
  for (;;) {
    const [first = 0] = await freePorts(1);
    const held = [1, 2].map((offset) => createServer().listen(first + offset, "127.0.0.1"));
    const outcomes = await Promise.allSettled(held.map((server) => once(server, "listening")));
    for (const server of held) server.close();
    if (outcomes.every(({ status }) => status === "fulfilled")) return first;
  }
}

/** The pool `shared` of a namespace, by way of a file. */
async function compiledIn(
  file: string,
  { namespace = "mail", replicas }: { namespace?: string; replicas: number },
): Promise<CompiledPool> {
  const spec = `{hostname: out.example.net, replicas: ${replicas}, queue: {servers: ["nats://n:4222"]}}`;
  const head = `{apiVersion: mailboat.dev/v1alpha1, kind: SendingPool, metadata: {name: shared, namespace: ${namespace}}`;
  await writeFile(file, `${head}, spec: ${spec}}`);
  const [pool] = compile(readResources([file]).snapshot, { generation: replicas }).pools;
  assert.ok(pool !== undefined);
  return pool;
}

test("pods of pools with one name in two namespaces have names of their own, by which logs and process ids go", async () => {
  const folder = await mkdtemp(join(tmpdir(), "mailboat-test-scale-"));
  const file = join(folder, "pool.yaml");
  const state = await openStateDir(folder);
  const ports = { smtp: 0, submission: 0, submissions: 0, http: 0, admin: 0, metrics: 0 };
  const options = { bind: "127.0.0.1", ports, resolvers: [], podMain: fakePod, complain: () => {} };
  const paths = { nats: "nats://127.0.0.1:1", tlsDir: folder, adminTokenFile: file };
  const settings = { ...paths, options, state, onChange: () => {} };
  const pools = ["mail/shared", "shop/shared"];
  const runners: PoolRunner[] = [];
  try {
    for (const namespace of ["mail", "shop"])
      runners.push(await startPool(settings, await compiledIn(file, { namespace, replicas: 1 }), pools));
    const names = runners.flatMap((runner) => Object.keys(runner.pids()));
    assert.deepEqual(names, ["mail.shared-0", "shop.shared-0"]);
  } finally {
    for (const runner of runners) await runner.stop();
    await rm(folder, { recursive: true });
  }
});

test("after a pod that could not be started the next edit starts that one, not another with a name that is taken", async () => {
  const folder = await mkdtemp(join(tmpdir(), "mailboat-test-scale-"));
  const file = join(folder, "pool.yaml");
  const compiled = (replicas: number): Promise<CompiledPool> => compiledIn(file, { replicas });
  const [state, metrics, admin] = await Promise.all([openStateDir(folder), portsInARow(), freePorts(1)]);
  const any = { smtp: 0, submission: 0, submissions: 0, http: 0, admin: admin[0] ?? 0 };
  const options = { bind: "127.0.0.1", ports: { ...any, metrics }, resolvers: [], podMain: fakePod };
  const runner = await startPool(
    {
      options: { ...options, complain: () => {} },
      state,
      nats: "nats://127.0.0.1:1",
      tlsDir: folder,
      adminTokenFile: file,
      onChange: () => {},
    },
    await compiled(1),
    ["mail/shared"],
  );
  try {
    const other = createServer().listen(metrics + 1, "127.0.0.1");
    await once(other, "listening");
    await assert.rejects(runner.apply(await compiled(3)), /--metrics-port changes it/);
    assert.deepEqual(Object.keys(runner.pids()).toSorted(), ["shared-0", "shared-2"]);
    other.close();
    await once(other, "close");
    assert.equal(await runner.apply(await compiled(3)), true);
    assert.deepEqual(Object.keys(runner.pids()), ["shared-0", "shared-1", "shared-2"]);
    await runner.apply(await compiled(2));
    assert.deepEqual(Object.keys(runner.pids()), ["shared-0", "shared-1"], "the last ones go first");
  } finally {
    await runner.stop();
    await rm(folder, { recursive: true });
  }
});
