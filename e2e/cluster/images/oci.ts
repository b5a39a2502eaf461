/** An OCI image layout, written by hand: layers as plain tar files, the same bytes for the same files. Needs GNU tar. */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { copyFile, link, mkdir, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { output } from "../processes.ts";

export interface Blob {
  /** sha256:... */
  readonly digest: string;
  readonly size: number;
}

export interface Layer extends Blob {
  readonly file: string;
}

interface ImageConfig {
  readonly Entrypoint: readonly string[];
  readonly Cmd?: readonly string[];
  readonly Env: readonly string[];
  readonly WorkingDir?: string;
  readonly User?: string;
  readonly ExposedPorts?: Readonly<Record<string, object>>;
}

export interface Image {
  /** Full, as containerd has it: docker.io/library/mailboat-pod:0.1.0 */
  readonly name: string;
  readonly layers: readonly Layer[];
  readonly config: ImageConfig;
}

/** Packs `folder` as the root of an image: sorted, without times, owners and the umask that it was made under. */
export async function packLayer(folder: string, file: string): Promise<Layer> {
  const same = ["--sort=name", "--mtime=@0", "--owner=0", "--group=0", "--numeric-owner", "--format=gnu"];
  await output(["tar", ...same, "--mode=u=rwX,go=rX", "-C", folder, "-cf", file, "."], {
    timeoutMs: 300_000,
  });
  return layerOf(file);
}

export async function layerOf(file: string): Promise<Layer> {
  const hash = createHash("sha256");
  for await (const chunk of createReadStream(file, { highWaterMark: 1 << 20 })) hash.update(chunk as Buffer);
  return { file, digest: `sha256:${hash.digest("hex")}`, size: (await stat(file)).size };
}

/** Writes a layout with all `images` into a new `folder`; `ctr image import` takes it as a tar. */
export async function writeLayout(folder: string, images: readonly Image[]): Promise<Blob[]> {
  await rm(folder, { recursive: true, force: true });
  await mkdir(join(folder, "blobs", "sha256"), { recursive: true });
  const architecture = process.arch === "x64" ? "amd64" : process.arch;
  const manifests: Blob[] = [];
  const entries: object[] = [];
  for (const { name, layers, config } of images) {
    for (const layer of layers) await place(layer, blobPath(folder, layer));
    const configBlob = await writeBlob(folder, {
      architecture,
      os: "linux",
      config,
      rootfs: { type: "layers", diff_ids: layers.map(({ digest }) => digest) },
    });
    const manifest = await writeBlob(folder, {
      schemaVersion: 2,
      mediaType: "application/vnd.oci.image.manifest.v1+json",
      config: { mediaType: "application/vnd.oci.image.config.v1+json", ...configBlob },
      layers: layers.map(({ digest, size }) => ({
        mediaType: "application/vnd.oci.image.layer.v1.tar",
        digest,
        size,
      })),
    });
    manifests.push(manifest);
    entries.push({
      mediaType: "application/vnd.oci.image.manifest.v1+json",
      ...manifest,
      annotations: { "io.containerd.image.name": name, "org.opencontainers.image.ref.name": name },
      platform: { architecture, os: "linux" },
    });
  }
  await writeFile(join(folder, "oci-layout"), JSON.stringify({ imageLayoutVersion: "1.0.0" }));
  await writeFile(join(folder, "index.json"), JSON.stringify({ schemaVersion: 2, manifests: entries }));
  return manifests;
}

async function writeBlob(folder: string, content: object): Promise<Blob> {
  const text = JSON.stringify(content);
  const blob = {
    digest: `sha256:${createHash("sha256").update(text).digest("hex")}`,
    size: Buffer.byteLength(text),
  };
  await writeFile(blobPath(folder, blob), text);
  return blob;
}

function blobPath(folder: string, { digest }: Blob): string {
  return join(folder, "blobs", "sha256", digest.slice("sha256:".length));
}

/** Images share layers; and the cache may be on another disk. */
async function place({ file }: Layer, path: string): Promise<void> {
  try {
    await link(file, path);
  } catch (error) {
    const code: unknown = Reflect.get(Object(error), "code");
    if (code === "EXDEV") await copyFile(file, path);
    else if (code !== "EEXIST") throw error;
  }
}
