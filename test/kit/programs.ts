/** Programs that tests need and this machine may lack: found, or the test says so; in CI that is a failure. */
import { accessSync, constants, globSync } from "node:fs";
import { homedir } from "node:os";
import { delimiter, join } from "node:path";

/** Where to get each. */
const sources = {
  curl: "apt-get install curl",
  helm: "the end-to-end suite builds it, or https://helm.sh",
  kubectl: "the end-to-end suite builds it, or https://kubernetes.io",
  prometheus: "apt-get install prometheus",
  promtool: "apt-get install prometheus",
  python3: "apt-get install python3",
} as const;

type Program = keyof typeof sources;

/** What of node:test's context is used. */
interface Skippable {
  skip(message: string): void;
}

/** Its path. Without it the test is skipped, saying so: the caller returns on undefined. @throws Error in CI */
export function programFor(context: Skippable, name: Program): string | undefined {
  const path = pathOf(name);
  if (path !== undefined) return path;
  const words = `${name} is not here (${sources[name]})`;
  if (process.env["CI"] === "true") throw new Error(`Cannot run this test: ${words}`);
  context.skip(words);
  return undefined;
}

/** The first of that name on PATH, or among the end-to-end suite's own; undefined = none. */
export function pathOf(name: string): string | undefined {
  return candidates(name).find(isProgram);
}

function candidates(name: string): string[] {
  const { HOME = homedir(), XDG_CACHE_HOME, MAILBOAT_KUBE_BIN, PATH = "" } = process.env;
  const cache = XDG_CACHE_HOME === undefined || XDG_CACHE_HOME === "" ? join(HOME, ".cache") : XDG_CACHE_HOME;
  const folders = [MAILBOAT_KUBE_BIN, ...PATH.split(delimiter)].filter((folder) => folder !== undefined);
  return [
    ...folders.filter((folder) => folder !== "").map((folder) => join(folder, name)),
    // As e2e/cluster/binaries.ts leaves them.
    ...globSync(join(cache, "mailboat/cluster/*", name)),
  ];
}

function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
