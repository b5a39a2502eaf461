/** The product as a contender: `mailboat local` with a state of its own, resources of resources.ts. Throws Error when it does not get ready. */
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { z } from "zod";
import { startChild } from "./child.ts";
import { findNatsServer } from "#operator/local/nats-binary.ts";
import { type NatsServer, startNatsServer } from "#operator/local/nats-server.ts";
import type { Contender, RunningPath, StartOptions } from "./contender.ts";
import { writeResources } from "./resources.ts";
import { ageSeconds } from "./usage.ts";

const launcher = fileURLToPath(new URL("../operator/cli/mailboat.mjs", import.meta.url));
/** With 10,000 tenants on a machine that is loaded, too. */
const readyMs = 240_000;

const readySchema = z.object({
  ready: z.literal(true),
  smtp: z.string(),
  metrics: z.array(z.string()),
  pids: z.object({ nats: z.number().optional(), pods: z.record(z.string(), z.number()) }),
});

export interface RunningProduct extends RunningPath {
  /** `host:port` of each pod's metrics and health. */
  readonly metrics: readonly string[];
  /** Of each pod, from its start until all were ready. */
  readonly readySeconds: readonly number[];
  /** The folder of resources, which may be edited. */
  readonly resources: string;
}

interface Product extends Contender {
  start(options: StartOptions): Promise<RunningProduct>;
}

export const product: Product = {
  name: "mailboat",
  async start(options): Promise<RunningProduct> {
    const resources = await writeResources(options);
    const ports = ["smtp", "submission", "submissions", "http", "admin", "metrics"].flatMap((name) => [
      `--${name}-port`,
      "0",
    ]);
    const args = [
      "local",
      "-f",
      resources,
      "--state",
      join(options.folder, "state"),
      "--pods",
      String(options.pods),
    ];
    const ownNats = await startSyncedNats(options);
    const child = startChild(
      process.execPath,
      [launcher, ...args, "--json", ...ports, ...(ownNats === undefined ? [] : ["--nats", ownNats.url])],
      options.env === undefined ? {} : { env: options.env },
    );
    const stop = async (): Promise<void> => {
      await child.stop();
      await ownNats?.stop();
    };
    const ready = await readyOf(() => child.nextLine(readyMs)).catch(async (error: unknown) => {
      await stop();
      throw error;
    });
    const podPids = Object.values(ready.pids.pods);
    return {
      smtpPort: Number(ready.smtp.slice(ready.smtp.lastIndexOf(":") + 1)),
      podPids,
      natsPid: ownNats?.pid ?? ready.pids.nats,
      metrics: ready.metrics,
      longCollections: () => longCollectionsOf(ready.metrics),
      readySeconds: podPids.map(ageSeconds),
      resources,
      stop,
    };
  },
};

/** Those of more than 50 ms, of each kind, by the pods' own histogram. */
async function longCollectionsOf(metrics: readonly string[]): Promise<number> {
  const texts = await Promise.all(metrics.map(async (at) => (await fetch(`http://${at}/metrics`)).text()));
  const sum = (line: RegExp): number =>
    [...texts.join("\n").matchAll(line)].reduce((total, [, count]) => total + Number(count), 0);
  return (
    sum(/^nodejs_gc_duration_seconds_count\{[^}]*\} (\d+)/gm) -
    sum(/^nodejs_gc_duration_seconds_bucket\{[^}]*le="0\.05"[^}]*\} (\d+)/gm)
  );
}

/** The launcher's own server leaves syncing to the kernel. */
async function startSyncedNats({ durability, folder }: StartOptions): Promise<NatsServer | undefined> {
  if (durability === "os") return undefined;
  const { path: binary } = await findNatsServer({ env: process.env });
  return startNatsServer({
    binary,
    storeDir: join(folder, "nats"),
    host: "127.0.0.1",
    port: 0,
    sync: "always",
  });
}

async function readyOf(nextLine: () => Promise<string>): Promise<z.infer<typeof readySchema>> {
  for (;;) {
    const line = await nextLine();
    if (!line.startsWith("{")) continue;
    const { data } = readySchema.safeParse(JSON.parse(line));
    if (data !== undefined) return data;
  }
}
