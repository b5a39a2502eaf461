/** The images of a test cluster: ours from their Containerfiles, nats-server, the pause of every pod. Layers that change seldom are cached. */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { mkdir, mkdtemp, readdir, readFile, rename, rm, stat, utimes } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import {
  gatherLayer,
  type ImageName,
  images,
  type LayerName,
  layers,
  packagesOf,
} from "#charts/images/files.ts";
import { findNatsServer } from "#operator/local/nats-binary.ts";
import { cacheRoot } from "../binaries.ts";
import { output } from "../processes.ts";
import { type Containerfile, parseContainerfile } from "./containerfile.ts";
import { basePackages, debianKey, gatherDebian, gatherNats, gatherShell, shellPackages } from "./debian.ts";
import { type Image, type Layer, layerOf, packLayer } from "./oci.ts";

export const root = join(import.meta.dirname, "../../..");
const natsTag = "2.15.1-alpine";
const keptMs = 30 * 86_400_000;

/** What the chart asks for unless told otherwise. @example ourImage("pod") // "mailboat-pod:0.1.0" */
export function ourImage(name: ImageName): string {
  const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { version: string };
  return `mailboat-${name}:${version}`;
}

/** Sources of our images, and what the images are tagged with. */
export interface ImageSource {
  /** A folder like this repository, with its packages installed. */
  readonly root: string;
  readonly tag: string;
}

/** Packs all of them, and ours of more sources; app layers go to `folder`, the others to the user's cache. */
export async function packImages(folder: string, more: readonly ImageSource[] = []): Promise<Image[]> {
  await mkdir(folder, { recursive: true });
  // Asked once for all of them: apt takes a second or two each time.
  const debian = await debianKey([...basePackages, ...shellPackages]);
  const base = await cachedLayer("debian", debian, (to) => gatherDebian(basePackages, to));
  const ours: Image[] = [];
  const tag = ourImage("pod").split(":")[1] ?? "";
  for (const source of [{ root, tag }, ...more])
    for (const name of Object.keys(images) as ImageName[])
      ours.push(await packOurs(name, base, { folder, source }));
  const shell = await cachedLayer("shell", debian, gatherShell);
  return [...ours, await natsImage(shell), pauseImage(shell)];
}

interface Packing {
  readonly folder: string;
  readonly source: ImageSource;
}

async function packOurs(image: ImageName, base: Layer, packing: Packing): Promise<Image> {
  const file = await readContainerfile(image);
  const packed = [base];
  for (const { from } of file.copies) {
    const layer = layers.find((one) => from === `/image/${one}`);
    if (layer === undefined)
      throw new Error(`Cannot pack ${image}: expected a folder of files.ts, such as /image/app, got ${from}`);
    packed.push(await packOurLayer(image, layer, packing));
  }
  return {
    name: `docker.io/library/mailboat-${image}:${packing.source.tag}`,
    layers: packed,
    config: {
      Entrypoint: file.entrypoint,
      Env: file.env,
      WorkingDir: file.workdir,
      User: file.user,
      ExposedPorts: Object.fromEntries(file.ports.map((port) => [`${port}/tcp`, {}])),
    },
  };
}

export async function readContainerfile(image: ImageName): Promise<Containerfile> {
  return parseContainerfile(await readFile(join(root, "charts", "images", `${image}.Containerfile`), "utf8"));
}

async function packOurLayer(image: ImageName, layer: LayerName, { folder, source }: Packing): Promise<Layer> {
  const gather = (to: string): Promise<void> => gatherLayer({ root: source.root, image, layer }, to);
  if (layer === "app") return packNew(gather, join(folder, `${image}-${source.tag}.app.tar`));
  const rules = await readFile(join(root, "charts", "images", "files.ts"), "utf8");
  const lock = await readFile(join(root, "package-lock.json"), "utf8");
  // Both images have the same Node.
  if (layer === "node") return cachedLayer(layer, rules + lock, gather);
  const names = await packagesOf(source.root, images[image].folders);
  return cachedLayer(`${image}-${layer}`, rules + lock + names.join(), gather);
}

async function natsImage(shell: Layer): Promise<Image> {
  const { path, version } = await findNatsServer({ env: process.env });
  const { mtimeMs, size } = await stat(path);
  const server = await cachedLayer("nats", `${path} ${version} ${mtimeMs} ${size}`, (to) =>
    gatherNats(path, to),
  );
  return {
    name: `docker.io/library/nats:${natsTag}`,
    layers: [shell, server],
    config: {
      Entrypoint: ["docker-entrypoint.sh"],
      Cmd: ["nats-server", "--config", "/etc/nats/nats-server.conf"],
      Env: ["PATH=/usr/local/bin:/bin"],
    },
  };
}

/** Holds a pod's namespaces open; containerd ends it with a SIGKILL. */
function pauseImage(shell: Layer): Image {
  const config = { Entrypoint: ["/bin/busybox", "sleep", "2147483647"], Env: ["PATH=/bin"] };
  return { name: "localhost/pause:1", layers: [shell], config };
}

/** `key` decides the content. */
async function cachedLayer(name: string, key: string, gather: (to: string) => Promise<void>): Promise<Layer> {
  const folder = join(cacheRoot(process.env), "cluster", "layers");
  await mkdir(folder, { recursive: true });
  const file = join(folder, `${name}-${createHash("sha256").update(key).digest("hex").slice(0, 16)}.tar`);
  const now = new Date();
  const isThere = await utimes(file, now, now).then(
    () => true,
    () => false,
  );
  if (isThere) return layerOf(file);
  await forgetOld(folder);
  return packNew(gather, file);
}

async function packNew(gather: (to: string) => Promise<void>, file: string): Promise<Layer> {
  const folder = await mkdtemp(join(tmpdir(), "mailboat-layer-"));
  try {
    await gather(folder);
    const partial = `${file}.${process.pid}.part`;
    const layer = await packLayer(folder, partial);
    await rename(partial, file);
    return { ...layer, file };
  } finally {
    await rm(folder, { recursive: true });
  }
}

async function forgetOld(folder: string): Promise<void> {
  for (const name of await readdir(folder)) {
    const { mtimeMs } = await stat(join(folder, name));
    if (mtimeMs < Date.now() - keptMs) await rm(join(folder, basename(name)), { force: true });
  }
}

/** Into containerd, whose socket is `socket`. */
export async function importLayout(layout: string, socket: string): Promise<void> {
  const script = `tar -C "$0" -cf - . | ctr -a "$1" -n k8s.io image import -`;
  await output(["sh", "-c", script, layout, socket], { timeoutMs: 300_000 });
}
