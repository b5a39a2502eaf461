import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readdir, readFile, readlink, rm, stat, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { connect, createServer as createTlsServer } from "node:tls";
import { promisify } from "node:util";
import { openLogFile } from "#operator/local/log-file.ts";
import { freePorts, pickPorts } from "#operator/local/ports.ts";
import { writeProjected } from "#operator/local/projected-folder.ts";
import { openStateDir, readOrCreate } from "#operator/local/state-dir.ts";
import { ensureTlsFiles } from "#operator/local/tls-files.ts";

async function temporaryFolder(): Promise<AsyncDisposable & { readonly path: string }> {
  const path = await mkdtemp(join(tmpdir(), "mailboat-test-local-"));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
}

function files(content: Readonly<Record<string, string>>): Map<string, Buffer> {
  return new Map(Object.entries(content).map(([name, text]) => [name, Buffer.from(text)]));
}

test("writeProjected() swaps all files at once, through ..data, as kubelet does", async () => {
  await using folder = await temporaryFolder();
  const dir = join(folder.path, "config");
  assert.equal(await writeProjected(dir, files({ "pool.json": "1", "00.json.gz": "1" })), true);
  const before = await readlink(join(dir, "..data"));
  assert.equal(await readlink(join(dir, "pool.json")), "..data/pool.json");
  assert.equal(await writeProjected(dir, files({ "pool.json": "2", "63.json.gz": "2" })), true);
  assert.notEqual(await readlink(join(dir, "..data")), before);
  assert.equal(await readFile(join(dir, "pool.json"), "utf8"), "2");
  assert.deepEqual((await readdir(dir)).filter((name) => !name.startsWith("..")).sort(), [
    "63.json.gz",
    "pool.json",
  ]);
  assert.equal(await readFile(join(dir, before, "pool.json"), "utf8"), "1", "a reader may still be there");
  await writeProjected(dir, files({ "pool.json": "3" }));
  assert.equal((await readdir(dir)).includes(before), false);
});

test("writeProjected() touches nothing when the files are the same", async () => {
  await using folder = await temporaryFolder();
  await writeProjected(folder.path, files({ a: "1" }));
  const before = await readlink(join(folder.path, "..data"));
  assert.equal(await writeProjected(folder.path, files({ a: "1" })), false);
  assert.equal(await readlink(join(folder.path, "..data")), before);
});

test("writeProjected() never shows a mixture to a reader", async () => {
  await using folder = await temporaryFolder();
  const dir = join(folder.path, "c");
  const write = (round: number): Promise<boolean> =>
    writeProjected(dir, files({ a: String(round), b: String(round) }));
  await write(0);
  const writing = { done: false };
  const reading = (async () => {
    for (let reads = 0; !writing.done || reads === 0; reads++) {
      const data = await readlink(join(dir, "..data"));
      const read = (name: string): Promise<string> =>
        readFile(join(dir, data, name), "utf8").catch(() => "gone");
      const pair = [await read("a"), await read("b")];
      if (!pair.includes("gone")) assert.equal(pair[0], pair[1]);
    }
  })();
  for (let round = 1; round <= 30; round++) await write(round);
  writing.done = true;
  await reading;
});

test("openStateDir() refuses a folder that a living runner holds, and names it", async () => {
  await using folder = await temporaryFolder();
  const state = await openStateDir(folder.path);
  await assert.rejects(openStateDir(folder.path), new RegExp(`process id ${process.pid} \\(--state`));
  await state.release();
  await (await openStateDir(folder.path)).release();
});

test("openStateDir() takes over the lock of a process that is gone, or of another one with its number", async () => {
  await using folder = await temporaryFolder();
  const child = spawn(process.execPath, ["-e", ""]);
  await once(child, "exit");
  for (const holder of [`${child.pid} 1`, "nonsense", "", `${process.pid} 1`]) {
    await writeFile(join(folder.path, "lock"), holder);
    const state = await openStateDir(folder.path);
    assert.match(await readFile(state.file("lock"), "utf8"), new RegExp(`^${process.pid} `));
    await state.release();
  }
});

test("readOrCreate() makes a private file once", async () => {
  await using folder = await temporaryFolder();
  const path = join(folder.path, "token");
  assert.equal(await readOrCreate(path, () => "first"), "first");
  assert.equal(await readOrCreate(path, () => "second"), "first");
  assert.equal((await stat(path)).mode & 0o777, 0o600);
});

test("pickPorts() picks different free ports and keeps fixed ones", async () => {
  const [probe = 0] = await pickPorts("127.0.0.1", [{ option: "--a", port: 0 }]);
  const ports = await pickPorts("127.0.0.1", [
    { option: "--a", port: 0 },
    { option: "--b", port: probe },
    { option: "--c", port: 0 },
  ]);
  assert.equal(ports[1], probe);
  assert.equal(new Set(ports).size, 3);
});

test("freePorts() gives none that a connection could have as its own: those begin at 32768", async () => {
  const ports = await freePorts(50);
  assert.equal(new Set(ports).size, 50);
  assert.deepEqual(
    ports.filter((port) => port < 1024 || port >= 32_768),
    [],
  );
});

test("freePorts() gives a port once, also while nothing listens there yet and to another process", async () => {
  // So many choices that a server on one of them does no harm.
  const choices = Array.from({ length: 100 }, (_, index) => 40 * index);
  const source = JSON.stringify(new URL("../../../operator/local/ports.ts", import.meta.url).href);
  const script = `const { freePorts } = await import(${source});
    const choices = ${JSON.stringify(choices)};
    console.log(JSON.stringify(await freePorts(10, "127.0.0.1", () => choices.shift())));`;
  const pick = (from: number[]) => freePorts(5, "127.0.0.1", () => from.shift() ?? 0);
  const mine = [...(await pick([...choices])), ...(await pick([...choices]))];
  assert.equal(new Set(mine).size, 10);
  const { stdout } = await promisify(execFile)(process.execPath, ["--input-type=module", "-e", script]);
  const others = JSON.parse(stdout) as number[];
  assert.equal(new Set([...mine, ...others]).size, 20);
});

test("pickPorts() waits for a port that becomes free, and names the option of one that does not", async () => {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  const refused = pickPorts("127.0.0.1", [{ option: "--smtp-port", port }]);
  await assert.rejects(
    refused,
    /127\.0\.0\.1 port \d+: expected a free port, got EADDRINUSE \(--smtp-port changes it/,
  );
  const waiting = pickPorts("127.0.0.1", [{ option: "--smtp-port", port }]);
  server.close();
  assert.deepEqual(await waiting, [port]);
});

test("ensureTlsFiles() makes a certificate that clients who trust the authority accept, and keeps it", async () => {
  await using folder = await temporaryFolder();
  const names = ["localhost", "127.0.0.1", "::1", "host.example"];
  const { dir, ca } = await ensureTlsFiles(folder.path, names, Date.now());
  const read = (name: string): Promise<string> => readFile(join(dir, name), "utf8");
  const [key, cert] = [await read("tls.key"), await read("tls.crt")];
  assert.equal((await stat(join(dir, "tls.key"))).mode & 0o777, 0o600);
  const server = createTlsServer({ key, cert }, (socket) => socket.end()).listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  for (const options of [{ servername: "host.example" }, { servername: "localhost" }, {}]) {
    const client = connect({ host: "127.0.0.1", port, ca: await readFile(ca), ...options });
    await once(client, "secureConnect");
    assert.equal(client.authorized, true);
    client.destroy();
  }
  const stranger = connect({ host: "127.0.0.1", port, ca: await readFile(ca), servername: "other.example" });
  await assert.rejects(once(stranger, "secureConnect"), /altnames/);
  const untrusting = connect({ host: "127.0.0.1", port });
  await assert.rejects(once(untrusting, "secureConnect"), /certificate/);
  server.close();
  await ensureTlsFiles(folder.path, names, Date.now());
  assert.equal(await read("tls.crt"), cert);
  await ensureTlsFiles(folder.path, [...names, "new.example"], Date.now());
  assert.notEqual(await read("tls.crt"), cert, "a name that it does not cover");
  const covering = await read("tls.crt");
  await ensureTlsFiles(folder.path, names, Date.now() + 360 * 86_400_000);
  assert.notEqual(await read("tls.crt"), covering, "it runs out soon");
});

test("openLogFile() appends in order and starts anew when the file is large", async () => {
  await using folder = await temporaryFolder();
  const path = join(folder.path, "logs", "pod.log");
  const log = openLogFile(path);
  for (let line = 0; line < 100; line++) log.append(`${line}\n`);
  await log.flush();
  assert.equal((await readFile(path, "utf8")).split("\n").length, 101);
  const big = "x".repeat(3_000_000);
  for (let part = 0; part < 8; part++) {
    log.append(big);
    await log.flush();
  }
  assert.ok((await stat(path)).size < 16_000_000);
  assert.ok((await stat(`${path}.1`)).size > 16_000_000);
});
