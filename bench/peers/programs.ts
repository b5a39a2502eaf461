/**
 * The peers' programs, in the user's cache and never on the system: Debian's packages unpacked, Haraka from npm, pinned.
 * Throws Error that says what could not be had. Nothing is fetched twice.
 */
import { execFile } from "node:child_process";
import { access, chmod, mkdir, readdir, rename, rm } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);
const fetchMs = 300_000;

const harakaPackages = ["Haraka@3.3.4", "haraka-plugin-dkim@1.3.1"];
/** postfix and exim conflict as packages, which is one reason to unpack them; eatmydata makes fsync do nothing. */
const debianPackages = ["postfix", "exim4-daemon-light", "exim4-base", "libeatmydata1"];

function cacheFolder(): string {
  const cache = process.env["XDG_CACHE_HOME"];
  const root = cache === undefined || cache === "" ? join(homedir(), ".cache") : cache;
  return join(root, "mailboat", "bench-peers");
}

/** @returns the folder that holds its node_modules */
export function findHaraka(): Promise<string> {
  return once("haraka", harakaPackages.join(" "), async (folder) => {
    const flags = ["--ignore-scripts", "--omit=optional", "--no-audit", "--no-fund", "--save-exact"];
    await run("npm", ["install", ...flags, "--prefix", folder, ...harakaPackages], { timeout: fetchMs });
  });
}

/** @returns a folder with `usr` and `etc` of the packages */
export function findDebianPrograms(): Promise<string> {
  return once("debian", debianPackages.join(" "), async (folder) => {
    const downloads = join(folder, "downloads");
    await mkdir(downloads);
    const needed = new Set(debianPackages);
    for (const name of debianPackages) for (const one of await notInstalled(name)) needed.add(one);
    await run("apt-get", ["download", ...needed], { cwd: downloads, timeout: fetchMs });
    for (const file of await readdir(downloads)) await run("dpkg-deb", ["-x", join(downloads, file), folder]);
    // Started by root; a set-uid program would drop LD_PRELOAD.
    await chmod(join(folder, "usr/sbin/exim4"), 0o755);
  });
}

/** The package and what it depends on, as far as the system lacks them. */
async function notInstalled(name: string): Promise<string[]> {
  const { stdout } = await run("apt-get", ["install", "--simulate", "--no-install-recommends", name]);
  return [...stdout.matchAll(/^Inst (\S+)/gm)].flatMap(([, found]) => found ?? []);
}

/** libeatmydata of the unpacked packages: by architecture, one folder. */
export async function findEatMyData(debian: string): Promise<string> {
  const libraries = join(debian, "usr/lib");
  for (const triplet of await readdir(libraries)) {
    const file = join(libraries, triplet, "libeatmydata.so");
    if (await exists(file)) return file;
  }
  throw new Error(`Cannot keep peers from syncing: expected libeatmydata.so below ${libraries}, got none`);
}

/** Made in a folder beside, and renamed when it is whole. */
async function once(name: string, what: string, make: (folder: string) => Promise<void>): Promise<string> {
  const folder = join(cacheFolder(), name);
  if (await exists(folder)) return folder;
  const partial = `${folder}.${process.pid}.part`;
  await rm(partial, { recursive: true, force: true });
  await mkdir(partial, { recursive: true });
  try {
    await make(partial);
    await rename(partial, folder);
  } catch (error) {
    await rm(partial, { recursive: true, force: true });
    throw new Error(`Cannot get ${what}: ${error instanceof Error ? error.message : String(error)}`, {
      cause: error,
    });
  }
  return folder;
}

function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
