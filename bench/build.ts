/** Builds the generator and the sink with the system's C compiler into bench/.build. Throws Error naming the package when there is none. */
import { execFile } from "node:child_process";
import { mkdir, readdir, stat } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

export interface Tools {
  readonly generator: string;
  readonly sink: string;
}

/** With OpenSSL linked in, for scenarios with TLS; without it where it is not needed, so that it need not be there. */
type Linking = "plain" | "tls";

const run = promisify(execFile);
const sources = fileURLToPath(new URL("c/", import.meta.url));
const target = fileURLToPath(new URL(".build/", import.meta.url));

export async function buildTools(linking: Linking): Promise<Tools> {
  if (process.platform !== "linux")
    throw new Error(`Cannot run the benchmark: expected Linux (epoll and /proc), got ${process.platform}`);
  await mkdir(target, { recursive: true });
  const [generator, sink] = await Promise.all([build("generator", linking), build("sink", linking)]);
  return { generator, sink };
}

async function build(name: string, linking: Linking): Promise<string> {
  const program = `${target}${name}${linking === "tls" ? "-tls" : ""}`;
  if (await isFresh(program)) return program;
  const compiler = process.env["CC"] ?? "cc";
  const args = ["-std=gnu17", "-O2", "-Wall", "-Wextra", "-o", program, `${sources}${name}.c`, "-lm"];
  if (linking === "tls") args.push("-DBENCH_TLS", "-lssl", "-lcrypto");
  try {
    await run(compiler, args);
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT")
      throw new Error(
        `Cannot build the load generator: expected a C compiler named ${compiler}, got none; install gcc (Debian, Ubuntu: apt-get install gcc libc6-dev; Fedora: dnf install gcc; Alpine: apk add gcc musl-dev) or name one in CC`,
        { cause: error },
      );
    if (linking === "tls" && error instanceof Error && error.message.includes("openssl/"))
      throw new Error(
        "Cannot build the load generator with TLS: expected OpenSSL's headers, got none; install libssl-dev (Fedora: openssl-devel, Alpine: openssl-dev)",
        { cause: error },
      );
    throw error;
  }
  return program;
}

/** Newer than all sources: headers are shared. */
async function isFresh(program: string): Promise<boolean> {
  const built = await stat(program).catch(() => undefined);
  if (built === undefined) return false;
  const files = await readdir(sources);
  const changed = await Promise.all(files.map(async (file) => (await stat(`${sources}${file}`)).mtimeMs));
  return Math.max(...changed) < built.mtimeMs;
}
