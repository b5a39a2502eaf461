/** A pod's log on disk: appended, and started anew before it grows too large. A full disk costs lines, never the runner. */
import { appendFile, mkdir, rename, stat } from "node:fs/promises";
import { dirname } from "node:path";

export interface LogFile {
  append(text: string): void;
  /** Resolves when all that was appended is written or lost. */
  flush(): Promise<void>;
}

const maxBytes = 16 * 1024 * 1024;
/** More than this waiting to be written is dropped: the disk is too slow or full. */
const maxPendingBytes = 4 * 1024 * 1024;

export function openLogFile(path: string): LogFile {
  let pending = "";
  let writing: Promise<void> | undefined;
  let size: number | undefined;
  const write = async (): Promise<void> => {
    while (pending !== "") {
      const text = pending;
      pending = "";
      try {
        if (size === undefined) {
          await mkdir(dirname(path), { recursive: true, mode: 0o700 });
          size = (await stat(path).catch(() => undefined))?.size ?? 0;
        }
        if (size > maxBytes) {
          await rename(path, `${path}.1`);
          size = 0;
        }
        await appendFile(path, text, { mode: 0o600 });
        size += Buffer.byteLength(text);
      } catch {
        size = undefined;
      }
    }
    writing = undefined;
  };
  return {
    append(text) {
      if (pending.length + text.length > maxPendingBytes) return;
      pending += text;
      writing ??= write();
    },
    flush: async () => writing,
  };
}
