/** Local mode: state, NATS, configuration, pods, in that order, and back. Everything it starts ends with it. */
import { randomBytes } from "node:crypto";
import { rm } from "node:fs/promises";
import { hostname } from "node:os";
import { type Config, createConfig } from "./config.ts";
import type { Demo } from "./demo.ts";
import { type Endpoint, poolLines, readyJson, readyLine } from "./endpoint.ts";
import { type LocalNats, startLocalNats } from "./nats-process.ts";
import type { LocalOptions } from "./options.ts";
import { type PoolRunner, type PoolSettings, startPool } from "./pool-runner.ts";
import { openStateDir, readOrCreate, type StateDir, writeAtomic } from "./state-dir.ts";
import { stopRequests } from "./stop-requests.ts";
import { ensureTlsFiles, namesOf } from "./tls-files.ts";
import { watchPaths } from "./watch.ts";

const editQuietMs = 250;

/** Runs until a signal. @returns the exit code: 0 stopped in order, 1 could not start, 130 stopped at once */
export async function runLocal(options: LocalOptions): Promise<number> {
  const stop = stopRequests();
  const undo: (() => Promise<void>)[] = [];
  try {
    const state = await openStateDir(options.state);
    undo.push(() => state.release());
    await runIn(state, { options, stop, undo });
    return 0;
  } finally {
    stop.end();
    for (const step of undo.reverse()) await step();
  }
}

interface Run {
  readonly options: LocalOptions;
  readonly stop: ReturnType<typeof stopRequests>;
  /** What takes things apart again, last first. */
  readonly undo: (() => Promise<void>)[];
}

async function runIn(state: StateDir, run: Run): Promise<void> {
  const { options, stop, undo } = run;
  void stop.first.then(
    () =>
      options.json || options.print("stopping: pods finish what they have begun; Ctrl-C again stops at once"),
  );
  const demo = options.demo ? await openDemo(state, run) : undefined;
  const files = [...options.files, ...(demo === undefined ? [] : [demo.folder])];
  const nats = await startLocalNats(options, state);
  undo.push(() => nats.stop());
  stop.onForce(() => nats.kill());
  const config = await createConfig(files, { options, state, nats });
  const shared = await sharedSettings(state, options, nats);

  const runners: PoolRunner[] = [];
  const endpoint = (): Endpoint => ({
    pools: runners.map((runner) => runner.endpoint()),
    nats: nats.url,
    adminTokenFile: shared.adminTokenFile,
    credentialsFile: state.file("credentials.json"),
    ca: shared.ca,
    pids: {
      runner: process.pid,
      nats: nats.pid(),
      pods: Object.assign({}, ...runners.map((runner) => runner.pids())) as Record<string, number>,
    },
  });
  const publish = (): void => {
    if (runners.length < config.pools().length) return;
    const text = `${readyJson(endpoint())}\n`;
    writeAtomic(state.file("endpoint.json"), text).catch((error: unknown) => options.complain(String(error)));
  };
  undo.push(async () => {
    await Promise.all(runners.map((runner) => runner.stop()));
  });
  stop.onForce(() => runners.forEach((runner) => runner.kill()));
  for (const [place, compiled] of config.pools().entries()) {
    if (stop.requested()) return;
    runners.push(await startPool({ ...shared, onChange: publish }, compiled, place));
  }
  await writeAtomic(state.file("endpoint.json"), `${readyJson(endpoint())}\n`);
  undo.push(() => rm(state.file("endpoint.json"), { force: true }));
  announce(options, endpoint());
  undo.push(watchFiles(files, { options, config, runners }));
  if (demo !== undefined) undo.push(await demo.begin(endpoint()));
  await stop.first;
}

function announce(options: LocalOptions, endpoint: Endpoint): void {
  if (options.json) return options.print(readyJson(endpoint));
  if (!options.demo) options.print(`trust the certificate authority ${endpoint.ca}`);
  for (const line of poolLines(endpoint)) options.print(line);
  options.print(readyLine(endpoint));
}

async function openDemo(state: StateDir, { options, undo }: Run): Promise<Demo> {
  const { prepareDemo } = await import("./demo.ts");
  const demo = await prepareDemo(state, options);
  undo.push(() => demo.close());
  return demo;
}

async function sharedSettings(
  state: StateDir,
  options: LocalOptions,
  nats: LocalNats,
): Promise<Omit<PoolSettings, "onChange"> & { readonly ca: string }> {
  const names = [...new Set([...namesOf(options.bind), hostname().toLowerCase()])];
  const tls = await ensureTlsFiles(state.file("tls"), names, Date.now());
  const adminTokenFile = state.file("admin.token");
  await readOrCreate(adminTokenFile, () => randomBytes(24).toString("base64url"));
  return { options, state, nats: nats.url, tlsDir: tls.dir, ca: tls.ca, adminTokenFile };
}

interface Watched {
  readonly options: LocalOptions;
  readonly config: Config;
  readonly runners: readonly PoolRunner[];
}

/** @returns what ends the watching and waits for a change that is being taken over */
function watchFiles(files: readonly string[], { options, config, runners }: Watched): () => Promise<void> {
  let working: Promise<void> = Promise.resolve();
  const take = async (): Promise<void> => {
    const pools = await config.reload();
    if (pools === undefined)
      return options.complain("the files have errors: the last good configuration stays");
    for (const { pool, manifest } of pools)
      if (!runners.some((runner) => runner.pool === pool))
        options.complain(`pool ${pool} (generation ${manifest.generation}) is new: it runs after a restart`);
    for (const runner of runners) {
      const compiled = pools.find(({ pool }) => pool === runner.pool);
      if (compiled === undefined)
        options.complain(`pool ${runner.pool} is gone from the files: it runs until a restart`);
      else if ((await runner.apply(compiled)) && !options.json)
        options.print(`pool ${runner.pool} takes over generation ${compiled.manifest.generation}`);
    }
  };
  const end = watchPaths({
    paths: files,
    quietMs: editQuietMs,
    onChange: () =>
      void (working = working.then(take).catch((error: unknown) => options.complain(String(error)))),
    onError: (error) => options.complain(`Cannot watch the files: ${error.message}`),
  });
  return () => {
    end();
    return working;
  };
}
