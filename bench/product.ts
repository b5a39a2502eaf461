/** The product as a contender: `mailboat local` with a state of its own, resources written here. Throws Error when it does not get ready. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { z } from "zod";
import { startChild } from "./child.ts";
import { findNatsServer } from "#operator/local/nats-binary.ts";
import { type NatsServer, startNatsServer } from "#operator/local/nats-server.ts";
import type { Contender, RunningPath, StartOptions } from "./contender.ts";
import { senderDomain } from "./keys.ts";

const launcher = fileURLToPath(new URL("../operator/cli/mailboat.mjs", import.meta.url));
const readyMs = 60_000;

const readySchema = z.object({
  ready: z.literal(true),
  smtp: z.string(),
  pids: z.object({ nats: z.number().optional(), pods: z.record(z.string(), z.number()) }),
});

export const product: Contender = {
  name: "mailboat",
  async start(options): Promise<RunningPath> {
    const resources = join(options.folder, "resources.yaml");
    await writeFile(resources, resourcesFor(options));
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
    return {
      smtpPort: Number(ready.smtp.slice(ready.smtp.lastIndexOf(":") + 1)),
      podPids: Object.values(ready.pids.pods),
      natsPid: ownNats?.pid ?? ready.pids.nats,
      stop,
    };
  },
};

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

/** One tenant without a rate, whom loopback is; one rule for all mail. JSON is YAML. */
function resourcesFor({ scenario, keys: { dkim }, sinkPort, pods }: StartOptions): string {
  const metadata = { name: "bench", namespace: "mail" };
  const kind = (name: string, spec: object): string =>
    JSON.stringify({ apiVersion: "mailboat.dev/v1alpha1", kind: name, metadata, spec });
  const signed =
    dkim === undefined
      ? {}
      : { dkim: [{ selector: dkim.selector, secretRef: { name: metadata.name, key: "tls.key" } }] };
  const rule = {
    name: "all",
    match: { domains: ["*"] },
    limits: { connections: scenario.nextHopConnections, messagesPerConnection: 1_000_000 },
    ...(scenario.tls ? { tls: { mode: "Required" } } : {}),
    // A 4xx of the next hop is tried again soon: the benchmark waits for it.
    retry: { first: "1s", max: "2s" },
    routes: [{ host: "127.0.0.1", port: sinkPort }],
  };
  return [
    kind("SendingPool", {
      replicas: pods,
      hostname: "out.bench.test",
      queue: { servers: ["nats://nats:4222"], replicas: 1 },
      egress: { mode: "PodNetwork", allowDestinations: ["127.0.0.0/8"] },
      listeners: [{ name: "smtp", trust: [{ cidr: "127.0.0.0/8", tenantRef: { name: "bench" } }] }],
      trafficShapeRefs: [{ name: "bench" }],
    }),
    kind("TrafficShape", { rules: [rule] }),
    kind("Tenant", { poolRef: { name: "bench" }, domains: [{ name: senderDomain, ...signed }] }),
    ...(dkim === undefined
      ? []
      : [
          JSON.stringify({
            apiVersion: "v1",
            kind: "Secret",
            metadata,
            stringData: { "tls.key": dkim.pem },
          }),
        ]),
  ].join("\n---\n");
}
