/** The last messages the provider took, in bounded memory, and a file of all of them when asked. File trouble is reported once. */
import { createWriteStream, type WriteStream } from "node:fs";

interface StoredMessage {
  /** 1 for the first message since the start. */
  readonly number: number;
  /** Milliseconds since 1970. */
  readonly at: number;
  readonly id: string;
  readonly messageId: string;
  readonly source: string;
  readonly helo: string;
  readonly tls: boolean;
  readonly from: string;
  readonly to: readonly string[];
  readonly size: number;
}

export interface MessageStore {
  add(message: StoredMessage, raw: Buffer): void;
  /** Newest first. */
  list(filter: { readonly to?: string | undefined; readonly limit: number }): StoredMessage[];
  raw(number: number): Buffer | undefined;
  clear(): void;
  close(): Promise<void>;
}

export interface StoreOptions {
  /** Messages kept; 0 keeps none. */
  readonly maxMessages: number;
  /** Bytes of all kept messages together. */
  readonly maxBytes: number;
  /** Appended to: mbox when the name ends in .mbox, else one JSON object a line with the message in `raw` (base64). */
  readonly file: string | undefined;
  onFileError(error: Error): void;
}

export function createMessageStore(options: StoreOptions): MessageStore {
  const kept = new Map<number, { message: StoredMessage; raw: Buffer }>();
  let bytes = 0;
  const dump = openDump(options);
  const forget = (number: number, size: number): void => {
    kept.delete(number);
    bytes -= size;
  };
  return {
    add(message, raw) {
      dump?.write(formatDump(message, raw, options.file ?? ""));
      if (options.maxMessages === 0 || raw.length > options.maxBytes) return;
      kept.set(message.number, { message, raw });
      bytes += raw.length;
      for (const [number, entry] of kept) {
        if (kept.size <= options.maxMessages && bytes <= options.maxBytes) break;
        forget(number, entry.raw.length);
      }
    },
    list({ to, limit }) {
      const wanted = to?.toLowerCase();
      const found: StoredMessage[] = [];
      for (const { message } of [...kept.values()].reverse()) {
        if (found.length >= limit) break;
        if (wanted === undefined || message.to.some((address) => address.toLowerCase().includes(wanted)))
          found.push(message);
      }
      return found;
    },
    raw: (number) => kept.get(number)?.raw,
    clear() {
      kept.clear();
      bytes = 0;
    },
    close: () => closeDump(dump),
  };
}

function openDump({ file, onFileError }: StoreOptions): WriteStream | undefined {
  if (file === undefined) return undefined;
  return createWriteStream(file, { flags: "a" }).on("error", onFileError);
}

function closeDump(dump: WriteStream | undefined): Promise<void> {
  if (dump === undefined || dump.destroyed) return Promise.resolve();
  return new Promise((resolve) => {
    dump.once("error", () => resolve());
    dump.end(() => resolve());
  });
}

function formatDump(message: StoredMessage, raw: Buffer, file: string): Buffer {
  if (!file.endsWith(".mbox"))
    return Buffer.from(`${JSON.stringify({ ...message, raw: raw.toString("base64") })}\n`);
  const head = `From ${message.from || "MAILER-DAEMON"} ${new Date(message.at).toUTCString()}\n`;
  // mboxrd: every line that could be taken for a separator gets one more ">".
  const body = raw
    .toString("latin1")
    .replaceAll("\r\n", "\n")
    .replace(/^(>*From )/gm, ">$1");
  return Buffer.from(`${head}${body}${body.endsWith("\n") ? "" : "\n"}\n`, "latin1");
}
