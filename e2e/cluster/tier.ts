/** How much of a cluster this machine can have. The decision is pure; `machineFacts` looks. */
import { execFile } from "node:child_process";
import { access, constants } from "node:fs/promises";
import { delimiter, join } from "node:path";
import { promisify } from "node:util";
import { hasBinaries } from "./binaries.ts";

/** full = pods run in containers; control-plane = a real API server and controllers, no pods; none = nothing. */
export type Tier = "full" | "control-plane" | "none";

export interface Machine {
  readonly platform: string;
  readonly isRoot: boolean;
  /** Network namespaces can be made: not so in many containers, root or not. */
  readonly hasNamespaces: boolean;
  readonly hasApt: boolean;
  /** Of `nodePrograms`: those that are not installed yet. */
  readonly missingPrograms: readonly string[];
  readonly hasGo: boolean;
  /** They were built before, or MAILBOAT_KUBE_BIN has them. */
  readonly hasBinaries: boolean;
}

export interface Decision {
  readonly tier: Tier;
  /** One clause, for people. */
  readonly why: string;
  /** CI gets what it asked for, or fails: a suite that skips itself is green for ever. */
  readonly isFailure: boolean;
}

/** What a node needs besides our own binaries, and the Debian package of each. */
export const nodePrograms: Readonly<Record<string, string>> = {
  containerd: "containerd",
  ctr: "containerd",
  runc: "runc",
  nft: "nftables",
  ip: "iproute2",
  busybox: "busybox-static",
  "/usr/lib/cni/bridge": "containernetworking-plugins",
};

/** @example decideTier(await machineFacts(process.env), { isCi: false }) // { tier: "full", why: "root, …", … } */
export function decideTier(machine: Machine, { isCi }: { readonly isCi: boolean }): Decision {
  const decide = (tier: Tier, why: string): Decision => ({ tier, why, isFailure: isCi && tier !== "full" });
  if (machine.platform !== "linux")
    return decide("none", `Kubernetes runs on Linux, this is ${machine.platform}`);
  if (!machine.hasGo && !machine.hasBinaries)
    return decide("none", "no Go to build Kubernetes with, and MAILBOAT_KUBE_BIN names no folder of it");
  if (!machine.isRoot) return decide("control-plane", "containers need root");
  if (!machine.hasNamespaces) return decide("control-plane", "root may not make network namespaces here");
  if (machine.missingPrograms.length > 0 && !machine.hasApt)
    return decide("control-plane", `${machine.missingPrograms.join(", ")} missing, and no apt to install it`);
  const built = machine.hasBinaries ? "built before" : "Go";
  const node = machine.missingPrograms.length === 0 ? "containerd and CNI are here" : "apt";
  return decide("full", `root, ${node}, ${built}`);
}

export async function machineFacts(env: NodeJS.ProcessEnv): Promise<Machine> {
  const isRoot = process.getuid?.() === 0;
  return {
    platform: process.platform,
    isRoot,
    hasNamespaces: isRoot && (await runs("unshare", ["--net", "true"])),
    hasApt: (await onPath("apt-get", env)) !== undefined,
    missingPrograms: await missingPrograms(env),
    hasGo: await runs("go", ["version"]),
    hasBinaries: await hasBinaries(env),
  };
}

export async function missingPrograms(env: NodeJS.ProcessEnv): Promise<string[]> {
  const names = Object.keys(nodePrograms);
  const found = await Promise.all(names.map((name) => onPath(name, env)));
  return names.filter((_, index) => found[index] === undefined);
}

/** Debian keeps runc and nft where only root's PATH looks. */
async function onPath(name: string, env: NodeJS.ProcessEnv): Promise<string | undefined> {
  const folders = name.startsWith("/")
    ? [""]
    : [...(env["PATH"] ?? "").split(delimiter), "/usr/sbin", "/sbin"];
  for (const folder of folders) {
    const path = join(folder, name);
    if (
      await access(path, constants.X_OK).then(
        () => true,
        () => false,
      )
    )
      return path;
  }
  return undefined;
}

async function runs(program: string, args: readonly string[]): Promise<boolean> {
  return promisify(execFile)(program, args).then(
    () => true,
    () => false,
  );
}

/** What this machine can do, asked once per process. */
export function tierHere(): Promise<Decision> {
  known ??= machineFacts(process.env).then((machine) =>
    decideTier(machine, { isCi: process.env["CI"] === "true" }),
  );
  return known;
}

let known: Promise<Decision> | undefined;
