/** One real pod as a container runs it: its folders projected, told by environment and options, asked over its metrics port. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { writeProjected } from "#operator/local/projected-folder.ts";
import { freePorts } from "#operator/local/ports.ts";
import { compile } from "#operator/compile/compile.ts";
import { poolFiles } from "#operator/compile/files.ts";
import { documentsOf } from "#operator/gather/documents.ts";
import { gatherResources } from "#operator/gather/resources.ts";

const main = join(import.meta.dirname, "../../mta-pod/main.ts");

type Volume = "config" | "keys" | "tls" | "nats" | "admin";

export interface PodFolder extends Disposable {
  /** As a kubelet swaps a volume. */
  project(volume: Volume, files: Readonly<Record<string, string | Buffer>>): Promise<unknown>;
  path(volume: string): string;
}

export function podFolder(): PodFolder {
  const root = mkdtempSync(join(tmpdir(), "mailboat-pod-"));
  for (const volume of ["config", "keys", "tls", "nats", "admin"]) mkdirSync(join(root, volume));
  return {
    project: (volume, files) =>
      writeProjected(
        join(root, volume),
        new Map(Object.entries(files).map(([name, content]) => [name, Buffer.from(content)])),
      ),
    path: (volume) => join(root, volume),
    [Symbol.dispose]: () => rmSync(root, { recursive: true, force: true }),
  };
}

/** Files of the configuration of the pool `mail/shared` with the tenant `acme`. */
export function poolOf(server: string): Record<string, Buffer> {
  const { documents } = documentsOf(
    "pool.yaml",
    `
apiVersion: mailboat.dev/v1alpha1
kind: SendingPool
metadata: {name: shared, namespace: mail}
spec:
  hostname: out.example.net
  queue: {servers: ["${server}"], replicas: 1, shards: 2, maxBytesPerShard: 16777216}
  drain: {timeoutSeconds: 30}
---
apiVersion: mailboat.dev/v1alpha1
kind: Tenant
metadata: {name: acme, namespace: mail}
spec: {poolRef: {name: shared}, domains: [{name: acme.example}]}
`,
  );
  const [pool] = compile(gatherResources(documents).snapshot, { generation: 1 }).pools;
  if (pool === undefined) throw new Error("expected a pool");
  return Object.fromEntries(poolFiles(pool).config);
}

export interface PodProcess extends AsyncDisposable {
  readonly ports: { readonly smtp: number; readonly submissions: number; readonly admin: number };
  readonly exited: Promise<number | null>;
  /** Status and text of a path of the metrics port; undefined while nobody listens. */
  ask(path: string): Promise<{ status: number; text: string } | undefined>;
  signal(name: NodeJS.Signals): void;
  log(): string;
}

export async function startPodProcess(folder: PodFolder, more: readonly string[] = []): Promise<PodProcess> {
  const [smtp = 0, submissions = 0, admin = 0, metrics = 0] = await freePorts(4);
  const ports = { smtp, submissions, admin, metrics, submission: -1, http: -1 };
  const args = Object.entries(ports).map(([name, port]) => `--${name}-port=${port}`);
  args.push("--config", folder.path("config"), "--keys", folder.path("keys"), "--bind", "127.0.0.1");
  const child: ChildProcess = spawn(process.execPath, [main, ...args, ...more], {
    env: { ...process.env, POD_NAME: "mailboat-shared-abc" },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let log = "";
  for (const stream of [child.stdout, child.stderr])
    stream?.setEncoding("utf8").on("data", (text: string) => void (log += text));
  const exited = once(child, "exit").then(([code]: unknown[]) => (typeof code === "number" ? code : null));
  return {
    ports: { smtp, submissions, admin },
    exited,
    async ask(path) {
      try {
        const answer = await fetch(`http://127.0.0.1:${metrics}${path}`);
        return { status: answer.status, text: await answer.text() };
      } catch {
        return undefined;
      }
    },
    signal: (name) => void child.kill(name),
    log: () => log,
    async [Symbol.asyncDispose]() {
      child.kill("SIGKILL");
      await exited;
    },
  };
}
