/**
 * Runs a program of unpacked Debian packages as if they were installed: in a mount namespace of its own, with their files laid over
 * /usr and /etc. Nothing of it is seen outside. Throws Error when this is not root, or mounting is forbidden.
 */
import { cp, mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Durability } from "../contender.ts";
import { findDebianPrograms, findEatMyData } from "./programs.ts";

export interface Account {
  readonly name: string;
  readonly id: number;
}

/** Users of the packages; made by their installation, so here they stand in the laid-over /etc only. */
export const accounts = {
  postfix: { name: "postfix", id: 64_101 },
  postdrop: { name: "postdrop", id: 64_102 },
  exim: { name: "Debian-exim", id: 64_103 },
} as const satisfies Record<string, Account>;

export interface DebianProgram {
  readonly command: readonly [string, ...string[]];
  readonly env: NodeJS.ProcessEnv;
}

const layOver = [
  'mount -t overlay overlay -o "lowerdir=$1/usr:/usr" /usr',
  'mount -t overlay overlay -o "lowerdir=$2:$1/etc:/etc" /etc',
  'shift 2; exec "$@"',
].join(" && ");

/** Makes `folder`/etc, for configurations to be put into, and lists the accounts in it. */
export async function prepareEtc(folder: string): Promise<string> {
  const etc = join(folder, "etc");
  await mkdir(etc, { recursive: true });
  const names = Object.values(accounts);
  const add = async (file: string, lineOf: (account: Account) => string): Promise<void> => {
    const lines = (await readFile(`/etc/${file}`, "utf8")).split("\n").filter((line) => line !== "");
    const missing = names.filter(({ name }) => !lines.some((line) => line.startsWith(`${name}:`)));
    await writeFile(join(etc, file), `${[...lines, ...missing.map(lineOf)].join("\n")}\n`);
  };
  await add("passwd", ({ name, id }) => `${name}:x:${id}:${id}::/nonexistent:/usr/sbin/nologin`);
  await add("group", ({ name, id }) => `${name}:x:${id}:`);
  // Postfix looks names up in its own copy.
  await cp("/etc/services", join(etc, "services")).catch(() => {});
  return etc;
}

export async function debianProgram(
  command: readonly string[],
  { folder, durability }: { readonly folder: string; readonly durability: Durability },
): Promise<DebianProgram> {
  const packages = await findDebianPrograms();
  return {
    command: [
      "unshare",
      "--mount",
      "--",
      "sh",
      "-c",
      layOver,
      "sh",
      packages,
      join(folder, "etc"),
      ...command,
    ],
    env: await durabilityEnv(durability),
  };
}

/** "os" takes the syncs out, as none of these programs can be told to leave them. */
export async function durabilityEnv(durability: Durability): Promise<NodeJS.ProcessEnv> {
  if (durability === "disk") return {};
  return { LD_PRELOAD: await findEatMyData(await findDebianPrograms()) };
}
