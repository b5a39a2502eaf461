/** The root of a minimal Debian, out of its packages' own files: what the Containerfiles' base image has, without an engine. */
import { cp, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { output } from "../processes.ts";

/** As distroless' cc image, and libatomic1, which Node wants. */
export const basePackages = ["libc6", "libgcc-s1", "libstdc++6", "libatomic1", "ca-certificates", "tzdata"];
export const shellPackages = ["busybox-static"];

const unused = ["usr/share/doc", "usr/share/man", "usr/share/lintian", "usr/share/bug", "usr/share/locale"];

/** Which versions apt would fetch, with their hashes: decides what comes out. */
export async function debianKey(packages: readonly string[]): Promise<string> {
  return output(["apt-get", "download", "--print-uris", ...packages]);
}

/** Unpacks them into `to`, with the few files that an image needs and no package has. */
export async function gatherDebian(packages: readonly string[], to: string): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "mailboat-debian-"));
  try {
    const command = `cd "$0" && apt-get -qq -o APT::Sandbox::User=root download "$@"`;
    await output(["sh", "-c", command, folder, ...packages], { timeoutMs: 300_000 });
    await mkdir(to, { recursive: true });
    for (const name of await readdir(folder)) await output(["dpkg-deb", "--extract", join(folder, name), to]);
  } finally {
    await rm(folder, { recursive: true });
  }
  for (const path of unused) await rm(join(to, path), { recursive: true, force: true });
  for (const path of ["etc", "tmp", "proc", "sys", "dev", "run"])
    await mkdir(join(to, path), { recursive: true });
  await writeFile(
    join(to, "etc", "passwd"),
    "root:x:0:0:root:/:/none\nnonroot:x:65532:65532:nonroot:/:/none\n",
  );
  await writeFile(join(to, "etc", "group"), "root:x:0:\nnonroot:x:65532:\n");
  await writeFile(join(to, "etc", "nsswitch.conf"), "hosts: files dns\n");
  await bundleCertificates(to);
}

/** The package's script does this when it is installed. */
async function bundleCertificates(to: string): Promise<void> {
  const folder = join(to, "usr", "share", "ca-certificates", "mozilla");
  const names = await readdir(folder).catch((): string[] => []);
  if (names.length === 0) return;
  const texts = await Promise.all(names.toSorted().map((name) => readFile(join(folder, name), "utf8")));
  await mkdir(join(to, "etc", "ssl", "certs"), { recursive: true });
  await writeFile(join(to, "etc", "ssl", "certs", "ca-certificates.crt"), texts.join(""));
}

const applets = [
  "sh",
  "cat",
  "ls",
  "sleep",
  "wget",
  "nslookup",
  "nc",
  "kill",
  "ps",
  "test",
  "true",
  "env",
  "head",
];

/** A shell and its tools, as images that have one. */
export async function gatherShell(to: string): Promise<void> {
  await gatherDebian(shellPackages, to);
  await mkdir(join(to, "bin"), { recursive: true });
  for (const name of applets) await symlink("busybox", join(to, "bin", name)).catch(() => {});
}

/** nats-server as its official image has it. */
export async function gatherNats(binary: string, to: string): Promise<void> {
  await mkdir(join(to, "usr", "local", "bin"), { recursive: true });
  await cp(binary, join(to, "usr", "local", "bin", "nats-server"));
  const script = `#!/bin/sh
set -e
case "$1" in -*) set -- nats-server "$@" ;; esac
exec "$@"
`;
  await writeFile(join(to, "usr", "local", "bin", "docker-entrypoint.sh"), script, { mode: 0o755 });
}
