/** The state folder: made private, locked against a second runner, written atomically. Throws when somebody else has it. */
import { mkdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";

export interface StateDir {
  /** Absolute. */
  readonly path: string;
  file(...names: readonly string[]): string;
  /** Gives the lock back; the files stay. */
  release(): Promise<void>;
}

/** @throws Error when a runner that still lives holds the folder, or it cannot be made */
export async function openStateDir(path: string): Promise<StateDir> {
  const root = resolve(path);
  await mkdir(root, { recursive: true, mode: 0o700 });
  const lock = join(root, "lock");
  const own = `${process.pid} ${(await startOf(process.pid)) ?? ""}`.trim();
  if (!(await take(lock, own))) {
    const holder = await readHolder(lock);
    if (holder !== undefined)
      throw new Error(
        `Cannot use ${root}: expected no other "mailboat local" there, got one with process id ${holder} (--state takes another folder)`,
      );
    await rm(lock, { force: true });
    if (!(await take(lock, own)))
      throw new Error(`Cannot use ${root}: expected its lock to be free, got another runner that was faster`);
  }
  return {
    path: root,
    file: (...names) => join(root, ...names),
    release: () => rm(lock, { force: true }),
  };
}

async function take(lock: string, text: string): Promise<boolean> {
  try {
    await writeFile(lock, `${text}\n`, { flag: "wx", mode: 0o600 });
    return true;
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "EEXIST") return false;
    throw error;
  }
}

/** The process id in the lock when that very process still runs. */
async function readHolder(lock: string): Promise<number | undefined> {
  const [pidText = "", start] = (await readFile(lock, "utf8").catch(() => "")).trim().split(" ");
  const pid = Number(pidText);
  if (!Number.isInteger(pid) || pid <= 0 || !isAlive(pid)) return undefined;
  const now = await startOf(pid);
  // The number may belong to another process by now: after a reboot at the latest.
  return start === undefined || now === undefined || start === now ? pid : undefined;
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error instanceof Error && "code" in error && error.code === "EPERM";
  }
}

/** When a process started, in clock ticks since boot; undefined where /proc does not say. */
async function startOf(pid: number): Promise<string | undefined> {
  const stat = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => undefined);
  // The name stands in parentheses and may hold anything; the 20th field after it is the start.
  return stat
    ?.slice(stat.lastIndexOf(")") + 2)
    .split(" ")
    .at(19);
}

/** Readers see the old content or the new, never a part. */
export async function writeAtomic(path: string, content: string, mode = 0o644): Promise<void> {
  const temporary = `${path}.${process.pid}.tmp`;
  await writeFile(temporary, content, { mode });
  await rename(temporary, path);
}

/** The file's text, made by `create` when it is missing or empty; private to this user. */
export async function readOrCreate(path: string, create: () => string): Promise<string> {
  const text = (await readFile(path, "utf8").catch(() => "")).trim();
  if (text !== "") return text;
  const made = create();
  await writeAtomic(path, `${made}\n`, 0o600);
  return made;
}
