/** Local mode: state, NATS, configuration, pods, in that order, and back. Everything it starts ends with it. */
import { randomBytes } from "node:crypto";
import { rm } from "node:fs/promises";
import { hostname } from "node:os";
import { type Config, createConfig } from "./config.ts";
import type { Demo } from "./demo.ts";
import { followEdits } from "./edits.ts";
import { type Endpoint, isWildcard, poolLines, readyJson, readyLine } from "./endpoint.ts";
import { type LocalNats, startLocalNats } from "./nats-process.ts";
import type { LocalOptions } from "./options.ts";
import { type PoolRunner, type PoolSettings, startPool } from "./pool-runner.ts";
import { sharesPorts } from "./resources.ts";
import { openStateDir, readOrCreate, type StateDir, writeAtomic } from "./state-dir.ts";
import { type StopRequests, stopRequests } from "./stop-requests.ts";
import { ensureTlsFiles, namesOf } from "./tls-files.ts";
import { signatureOf } from "./watch.ts";

interface Run {
  readonly options: LocalOptions;
  readonly stop: StopRequests;
  readonly state: StateDir;
  /** What takes things apart again; last first. */
  readonly undo: (() => Promise<void>)[];
}

/**
 * Runs until a signal; the process exits with 130 when it is told to stop twice.
 * @throws Error when it cannot start; what had been started is stopped then
 */
export async function runLocal(options: LocalOptions): Promise<number> {
  const stop = stopRequests();
  const undo: Run["undo"] = [];
  void stop.first.then(() => {
    if (!options.json)
      options.print("stopping: pods finish what they have begun; Ctrl-C again stops at once");
  });
  try {
    const state = await openStateDir(options.state);
    undo.push(() => state.release());
    await runIn({ options, stop, state, undo });
    return 0;
  } finally {
    for (const step of undo.reverse())
      await step().catch((error: unknown) => options.complain(`Cannot stop in order: ${String(error)}`));
    stop.end();
  }
}

async function runIn(run: Run): Promise<void> {
  const { options, stop, state, undo } = run;
  const demo = options.demo ? await openDemo(run) : undefined;
  const files = [...options.files, ...(demo === undefined ? [] : [demo.folder])];
  const nats = await startLocalNats(options, state);
  undo.push(() => nats.stop());
  stop.onForce(() => nats.kill());
  const seen = signatureOf(files);
  const config = await createConfig(files, { options, state, nats });
  const shared = await sharedSettings(run, nats);
  const runners: PoolRunner[] = [];
  const record = endpointRecord({
    state,
    nats,
    ca: shared.ca,
    adminTokenFile: shared.adminTokenFile,
    runners,
  });
  undo.push(async () => {
    await Promise.all(runners.map((runner) => runner.stop()));
    await record.remove();
  });
  stop.onForce(() => runners.forEach((runner) => runner.kill()));
  const onChange = (): void => {
    if (record.isWritten()) void record.write().catch((error: unknown) => options.complain(String(error)));
  };
  nats.onRestart(onChange);
  await startPools(run, { config, shared: { ...shared, onChange }, runners });
  if (stop.requested()) return;
  await record.write();
  announce(options, record.read());
  undo.push(followEdits(files, { options, config, runners, seen, onTaken: onChange }));
  if (demo !== undefined) undo.push(demo.begin(record.read()));
  await stop.first;
}

async function startPools(
  { stop }: Run,
  { config, shared, runners }: { config: Config; shared: PoolSettings; runners: PoolRunner[] },
): Promise<void> {
  const pools = config.pools();
  const names = pools.map(({ pool }) => pool);
  for (const compiled of pools) if (!stop.requested()) runners.push(await startPool(shared, compiled, names));
}

interface EndpointRecord {
  read(): Endpoint;
  write(): Promise<void>;
  isWritten(): boolean;
  remove(): Promise<void>;
}

interface EndpointFacts {
  readonly state: StateDir;
  readonly nats: LocalNats;
  readonly ca: string;
  readonly adminTokenFile: string;
  readonly runners: readonly PoolRunner[];
}

/** STATE/endpoint.json: there while everything runs, written again when a process is another one. */
function endpointRecord({ state, nats, ca, adminTokenFile, runners }: EndpointFacts): EndpointRecord {
  const file = state.file("endpoint.json");
  let written = false;
  let working: Promise<void> = Promise.resolve();
  const read = (): Endpoint => {
    const pods = runners.flatMap((runner) => Object.entries(runner.pids()));
    return {
      pools: runners.map((runner) => runner.endpoint()),
      nats: nats.url,
      adminTokenFile,
      credentialsFile: state.file("credentials.json"),
      ca,
      pids: { runner: process.pid, nats: nats.pid(), pods: Object.fromEntries(pods) },
    };
  };
  return {
    read,
    write() {
      written = true;
      // One after another: all of them use one temporary file.
      const next = working.then(() => writeAtomic(file, `${readyJson(read())}\n`));
      working = next.catch(() => {});
      return next;
    },
    isWritten: () => written,
    async remove() {
      written = false;
      await working;
      await rm(file, { force: true });
    },
  };
}

function announce(options: LocalOptions, endpoint: Endpoint): void {
  if (options.json) return options.print(readyJson(endpoint));
  if (!options.demo) {
    options.print(`certificate authority to trust: ${endpoint.ca}`);
    options.print(
      "mail is kept through any kill -9; the disk is not synced, so a loss of power may cost mail",
    );
  }
  if (!sharesPorts)
    options.print(
      "this system cannot share ports among processes: each pool has one pod, whatever --pods says",
    );
  if (isWildcard(options.bind))
    options.print(
      `listening on every address of this machine, admin on loopback alone (--bind ${options.bind}); from here:`,
    );
  for (const line of poolLines(endpoint)) options.print(line);
  options.print(readyLine(endpoint));
}

async function openDemo({ options, state, undo }: Run): Promise<Demo> {
  const { prepareDemo } = await import("./demo.ts");
  const demo = await prepareDemo(state, options);
  undo.push(() => demo.close());
  return demo;
}

async function sharedSettings(
  { options, state }: Run,
  nats: LocalNats,
): Promise<Omit<PoolSettings, "onChange"> & { readonly ca: string }> {
  const names = [...new Set([...namesOf(options.bind), hostname().toLowerCase()])];
  const tls = await ensureTlsFiles(state.file("tls"), names, Date.now());
  const adminTokenFile = state.file("admin.token");
  await readOrCreate(adminTokenFile, () => randomBytes(24).toString("base64url"));
  return { options, state, nats: nats.url, tlsDir: tls.dir, ca: tls.ca, adminTokenFile };
}
