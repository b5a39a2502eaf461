/**
 * The programs of a cluster: found, or built once by Go from the committed module files into the user's cache. A set's
 * folder is named after what decides its content; throws an Error with Go's words when a build fails.
 */
import { execFile, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { access, mkdir, readFile, rename, rm } from "node:fs/promises";
import { constants, homedir, setPriority } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

export const kubernetesVersion = "1.36.5";
const helmVersion = "4.3.1";

interface BinarySet {
  readonly name: string;
  /** Programs that it has in the end. */
  readonly programs: readonly string[];
  /** Files, beside this one, that decide what comes out. */
  readonly sources: readonly string[];
  /** More that does. */
  readonly version: string;
  readonly folder: string;
  readonly args: (out: string) => readonly string[];
  readonly env: (out: string) => Readonly<Record<string, string>>;
  /** The name that Go gives it → ours. */
  readonly renamed: Readonly<Record<string, string>>;
  readonly costs: string;
}

const versionFlags = [
  `gitVersion=v${kubernetesVersion}`,
  `gitMajor=${kubernetesVersion.split(".")[0]}`,
  `gitMinor=${kubernetesVersion.split(".")[1]}`,
].map((flag) => `-X k8s.io/component-base/version.${flag}`);
const goBuild = ["build", "-trimpath", "-p", "2"];
const here = import.meta.dirname;

const sets: readonly BinarySet[] = [
  {
    name: "kubernetes",
    programs: [
      "etcd",
      "kube-apiserver",
      "kube-controller-manager",
      "kube-scheduler",
      "kubelet",
      "kube-proxy",
    ].concat("kubectl"),
    sources: ["go.mod", "go.sum"],
    version: kubernetesVersion,
    folder: here,
    args: (out) => [...goBuild, "-ldflags", `-s -w ${versionFlags.join(" ")}`, "-o", `${out}/`, "tool"],
    env: () => ({ CGO_ENABLED: "0" }),
    renamed: { server: "etcd" },
    costs: "about 15 minutes of one core",
  },
  {
    name: "dns",
    programs: ["coredns"],
    sources: ["dns/go.mod", "dns/go.sum", "dns/main.go"],
    version: "",
    folder: join(here, "dns"),
    args: (out) => [...goBuild, "-ldflags", "-s -w", "-o", `${out}/coredns`, "."],
    env: () => ({ CGO_ENABLED: "0" }),
    renamed: {},
    costs: "about 2 minutes of one core",
  },
  {
    // Its pins differ from Kubernetes' own, so it cannot be in the same go.mod; it has no replace lines and installs by itself.
    name: "helm",
    programs: ["helm"],
    sources: [],
    version: helmVersion,
    folder: here,
    args: () => [
      "install",
      "-trimpath",
      "-p",
      "2",
      "-ldflags",
      "-s -w",
      `helm.sh/helm/v4/cmd/helm@v${helmVersion}`,
    ],
    env: (out) => ({ CGO_ENABLED: "0", GOBIN: out }),
    renamed: {},
    costs: "about 4 minutes of one core",
  },
];

export interface Binaries {
  /** @throws Error on a program that is none of the cluster's */
  path(program: string): string;
}

type Env = Readonly<Record<string, string | undefined>>;

/** All of them, built where they are missing; `say` hears of each build before it starts. */
export async function findBinaries(env: Env, say: (line: string) => void): Promise<Binaries> {
  const paths = new Map<string, string>();
  for (const set of sets) {
    const folder = (await foundFolder(set, env)) ?? (await build(set, env, say));
    for (const program of set.programs) paths.set(program, join(folder, program));
  }
  return {
    path(program) {
      const path = paths.get(program);
      if (path === undefined)
        throw new Error(`Cannot run ${program}: expected one of ${[...paths.keys()].join(", ")}`);
      return path;
    },
  };
}

export async function hasBinaries(env: Env): Promise<boolean> {
  const found = await Promise.all(sets.map((set) => foundFolder(set, env).catch(() => undefined)));
  return !found.includes(undefined);
}

async function foundFolder(set: BinarySet, env: Env): Promise<string | undefined> {
  const given = env["MAILBOAT_KUBE_BIN"];
  if (given !== undefined && given !== "" && (await hasAll(given, set))) return given;
  const cached = await cacheFolder(set, env);
  return (await hasAll(cached, set)) ? cached : undefined;
}

async function hasAll(folder: string, { programs }: BinarySet): Promise<boolean> {
  const there = programs.map((name) =>
    access(join(folder, name)).then(
      () => true,
      () => false,
    ),
  );
  return !(await Promise.all(there)).includes(false);
}

/** The user's cache, as XDG says; where the nats-server that was fetched is, too. */
export function cacheRoot(env: Env): string {
  const cache = env["XDG_CACHE_HOME"];
  return join(
    cache === undefined || cache === "" ? join(env["HOME"] ?? homedir(), ".cache") : cache,
    "mailboat",
  );
}

async function cacheFolder(set: BinarySet, env: Env): Promise<string> {
  const hash = createHash("sha256")
    .update(set.version)
    .update(await goVersion(env));
  for (const source of set.sources) hash.update(await readFile(join(here, source)));
  return join(cacheRoot(env), "cluster", `${set.name}-${hash.digest("hex").slice(0, 16)}`);
}

async function goVersion(env: Env): Promise<string> {
  const { stdout } = await promisify(execFile)("go", ["env", "GOVERSION"], { env: { ...env } });
  return stdout.trim();
}

async function build(set: BinarySet, env: Env, say: (line: string) => void): Promise<string> {
  const folder = await cacheFolder(set, env);
  const partial = `${folder}.${process.pid}.part`;
  say(`building ${set.name} with Go: ${set.costs}, once`);
  const startedAt = performance.now();
  await mkdir(partial, { recursive: true });
  try {
    await go(set, partial, env);
    for (const [from, to] of Object.entries(set.renamed))
      await rename(join(partial, from), join(partial, to));
    // Another process may have been as fast: what it put there is the same.
    await rename(partial, folder).catch(async (error: unknown) => {
      if (!(await hasAll(folder, set))) throw error;
    });
  } finally {
    await rm(partial, { recursive: true, force: true });
  }
  say(`built ${set.name} in ${Math.round((performance.now() - startedAt) / 1000)} s`);
  return folder;
}

function go(set: BinarySet, out: string, env: Env): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn("go", set.args(out), {
      cwd: set.folder,
      env: { ...env, ...set.env(out) },
      stdio: ["ignore", "ignore", "pipe"],
    });
    // Minutes of all cores: whatever else runs here goes first.
    if (child.pid !== undefined) setPriority(child.pid, constants.priority.PRIORITY_LOW);
    let said = "";
    child.stderr.on("data", (data: Buffer) => (said = (said + data.toString()).slice(-4000)));
    child.once("error", (error) => reject(new Error(`Cannot run go: ${error.message}`, { cause: error })));
    child.once("close", (code) =>
      code === 0 ? resolve() : reject(new Error(`Cannot build ${set.name}: go ended with ${code}: ${said}`)),
    );
  });
}
