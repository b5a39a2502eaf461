/** The demo's resources in STATE/demo: copied once, so that the reader may edit them, with keys and passwords made there. */
import { generateKeyPairSync, randomBytes } from "node:crypto";
import { mkdir, readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import type { ProviderRules } from "#operator/provider/rules.ts";
import { freePorts, pickPorts } from "./ports.ts";
import { type StateDir, writeAtomic } from "./state-dir.ts";

export interface DemoFiles {
  /** Holds the resources. */
  readonly folder: string;
  readonly providerPort: number;
}

const demoTenants = ["acme", "globex"] as const;

/** How the pretend provider behaves by domain; the rules of shape.yaml know about it. */
export const demoProviderRules: ProviderRules = {
  rules: [
    {
      domains: ["slow.example"],
      mailboxes: [],
      throttle: {
        messagesPerSecond: 5,
        connections: 2,
        code: 451,
        text: "4.7.28 rate limit exceeded, slow down",
      },
    },
    {
      domains: ["later.example"],
      mailboxes: [],
      greylist: { seconds: 2, code: 451, text: "4.7.1 greylisted, come back later" },
    },
    {
      domains: ["bounce.example"],
      mailboxes: [],
      bounce: { code: 550, text: "5.1.1 no such user here", stage: "rcpt" },
    },
  ],
};

export async function ensureDemoFiles(state: StateDir): Promise<DemoFiles> {
  const folder = state.file("demo", "resources");
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const portFile = state.file("demo", "provider.port");
  const former = Number(await readFile(portFile, "utf8").catch(() => "0"));
  const providerPort = await freePort(former);
  if (providerPort !== former) await writeAtomic(portFile, `${providerPort}\n`);
  await writeShape(state.file("demo", "resources", "shape.yaml"), { former, providerPort });
  for (const name of ["pool.yaml", "tenants.yaml"])
    await writeMissing(state.file("demo", "resources", name), () => template(name));
  await writeMissing(state.file("demo", "resources", "secrets.yaml"), async () => secretsYaml(), 0o600);
  return { folder, providerPort };
}

/** It names the port, in each of its rules; what an edit has made of them stays. */
async function writeShape(path: string, ports: { former: number; providerPort: number }): Promise<void> {
  const { former, providerPort } = ports;
  const there = former === 0 ? undefined : await readFile(path, "utf8").catch(() => undefined);
  const shape =
    there?.replaceAll(new RegExp(`\\bport: ${former}\\b`, "g"), `port: ${providerPort}`) ??
    (await template("shape.yaml")).replaceAll("PROVIDER_PORT", String(providerPort));
  if (shape !== there) await writeAtomic(path, shape);
}

function template(name: string): Promise<string> {
  return readFile(fileURLToPath(new URL(`demo/${name}`, import.meta.url)), "utf8");
}

async function writeMissing(path: string, content: () => Promise<string>, mode?: number): Promise<void> {
  const there = await readFile(path).catch(() => undefined);
  if (there === undefined) await writeAtomic(path, await content(), mode);
}

/** JSON is YAML: a document each, as `kubectl` takes them. */
function secretsYaml(): string {
  const documents = demoTenants.flatMap((tenant) => [
    secret(`${tenant}-smtp`, { username: tenant, password: randomBytes(12).toString("base64url") }),
    secret(`${tenant}-dkim`, { "tls.key": dkimKey() }),
  ]);
  return `# Made at the first start of the demo, for this machine only.\n${documents.join("\n---\n")}\n`;
}

function secret(name: string, stringData: Readonly<Record<string, string>>): string {
  return JSON.stringify({
    apiVersion: "v1",
    kind: "Secret",
    metadata: { name, namespace: "mail" },
    stringData,
  });
}

function dkimKey(): string {
  const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  return privateKey.export({ type: "pkcs8", format: "pem" });
}

/** The port asked for when it is free, else another; 0 asks for any. */
async function freePort(port: number): Promise<number> {
  const [found = 0] = await pickPorts("127.0.0.1", [{ option: "", port }]).catch(() => freePorts(1));
  return found;
}
