/** An SMTP receiver on loopback that audits: each message carries its id in recipient, header and last line. Never refuses mail. */
import { once } from "node:events";
import { createServer, type AddressInfo, type Server, type Socket } from "node:net";

interface Arrival {
  count: number;
  /** Milliseconds of `performance.now()` at the reply to the final dot. */
  readonly firstAt: number;
  lastAt: number;
}

export interface Sink extends AsyncDisposable {
  /** One listener each: a site of its own for whoever routes there. */
  readonly ports: readonly number[];
  /** By the recipient's local part: the id, and a dot and a number when the message has several recipients. */
  readonly arrivals: ReadonlyMap<string, Arrival>;
  /** Messages that are not what their recipient should have got. */
  readonly damaged: readonly string[];
  /** Times at which a connection that had been silent for 8 s began another message: nobody who is awake keeps one that long. */
  readonly wokenMails: readonly number[];
  /** Milliseconds between a final dot and its reply; 0 at first. */
  delay(ms: number): void;
  /** From now on no final dot is answered, until `release()`. */
  hold(): void;
  release(): void;
}

export interface SinkOptions {
  readonly ports: number;
  /** Whether a message is answered with 451 the first time it comes; default none. */
  defers?(recipient: string): boolean;
}

/** Every second port offers CHUNKING, so that DATA and BDAT are both seen. @example await using sink = await startSink({ ports: 4 }); */
export async function startSink(options: SinkOptions): Promise<Sink> {
  const books: Books = {
    arrivals: new Map(),
    damaged: [],
    wokenMails: [],
    deferred: new Set(),
    delayMs: 0,
    held: undefined,
  };
  const defers = options.defers ?? (() => false);
  const sockets = new Set<Socket>();
  const servers: Server[] = [];
  for (let index = 0; index < options.ports; index++) {
    const offersChunking = index % 2 === 0;
    const server = createServer({ noDelay: true }, (socket) => {
      sockets.add(socket);
      socket.on("close", () => sockets.delete(socket));
      socket.on("error", () => socket.destroy());
      receive(socket, { books, offersChunking, defers });
    });
    server.listen(0, "127.0.0.1", 4096);
    await once(server, "listening");
    servers.push(server);
  }
  return {
    ports: servers.map((server) => (server.address() as AddressInfo).port),
    arrivals: books.arrivals,
    damaged: books.damaged,
    delay(ms) {
      books.delayMs = ms;
    },
    wokenMails: books.wokenMails,
    hold: () => void (books.held ??= []),
    release() {
      const held = books.held ?? [];
      books.held = undefined;
      for (const resume of held) resume();
    },
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
    },
  };
}

interface Books {
  readonly arrivals: Map<string, Arrival>;
  readonly damaged: string[];
  readonly wokenMails: number[];
  /** Recipients that have had their 451. */
  readonly deferred: Set<string>;
  delayMs: number;
  held: (() => void)[] | undefined;
}

interface Session {
  input: Buffer;
  recipients: string[];
  phase: "commands" | "data" | "chunk" | "held";
  chunk: { left: number; isLast: boolean };
  readonly chunks: Buffer[];
}

const silenceMs = 8000;
const endOfData = Buffer.from("\r\n.\r\n");

interface Manner {
  readonly books: Books;
  readonly offersChunking: boolean;
  defers(recipient: string): boolean;
}

function receive(socket: Socket, { books, offersChunking, defers }: Manner): void {
  const session: Session = {
    input: Buffer.alloc(0),
    recipients: [],
    phase: "commands",
    chunk: { left: 0, isLast: false },
    chunks: [],
  };
  let lastAt = performance.now();
  let replies = "220 sink.test ESMTP\r\n";
  const flush = (): void => {
    if (replies !== "" && !socket.destroyed) socket.write(replies);
    replies = "";
  };
  const finish = (message: Buffer): void => {
    const { recipients } = session;
    session.recipients = [];
    const settle = (): void => {
      const [first = ""] = recipients;
      if (defers(first) && !books.deferred.has(first)) {
        books.deferred.add(first);
        replies += "451 4.2.0 not now\r\n";
        return;
      }
      note(books, recipients, message);
      replies += "250 2.0.0 taken\r\n";
    };
    // A client that is gone gets no reply, so its message was not taken.
    if (books.delayMs === 0 && books.held === undefined) return settle();
    session.phase = "held";
    const resume = (): void => {
      if (socket.destroyed) return;
      session.phase = "commands";
      settle();
      advance();
    };
    if (books.held !== undefined) books.held.push(resume);
    else setTimeout(resume, books.delayMs);
    return undefined;
  };
  const obey = (line: string): void => {
    const verb = line.slice(0, 4).toUpperCase();
    if (verb === "MAIL" && performance.now() - lastAt > silenceMs) books.wokenMails.push(performance.now());
    if (verb === "RCPT") session.recipients.push(/<([^@>]*)@/.exec(line)?.[1] ?? line);
    if (verb === "RSET") session.recipients = [];
    if (verb === "DATA") session.phase = "data";
    if (verb === "BDAT") {
      const [, size, last] = line.split(" ");
      session.chunk = { left: Number(size), isLast: last !== undefined };
      session.phase = "chunk";
      return;
    }
    if (verb === "EHLO")
      replies += `250-sink.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n${offersChunking ? "250-CHUNKING\r\n" : ""}250 SIZE 52428800\r\n`;
    else
      replies += verb === "DATA" ? "354 go ahead\r\n" : verb === "QUIT" ? "221 bye\r\n" : "250 2.0.0 ok\r\n";
    if (verb === "QUIT") {
      flush();
      socket.end();
    }
  };
  const step = (): boolean => {
    const { input } = session;
    switch (session.phase) {
      case "held":
        return false;
      case "commands": {
        const end = input.indexOf("\r\n");
        if (end < 0) return false;
        session.input = input.subarray(end + 2);
        obey(input.toString("latin1", 0, end));
        return true;
      }
      case "data": {
        const end = input.indexOf(endOfData);
        if (end < 0) return false;
        session.input = input.subarray(end + endOfData.length);
        session.phase = "commands";
        finish(input.subarray(0, end + 2));
        return true;
      }
      case "chunk": {
        const { chunk, chunks } = session;
        if (input.length < chunk.left) return false;
        chunks.push(input.subarray(0, chunk.left));
        session.input = input.subarray(chunk.left);
        session.phase = "commands";
        if (chunk.isLast) finish(Buffer.concat(chunks.splice(0)));
        else replies += "250 2.0.0 chunk\r\n";
        return true;
      }
      default:
        return session.phase satisfies never;
    }
  };
  const advance = (): void => {
    while (step());
    flush();
  };
  socket.on("data", (data: Buffer) => {
    session.input = session.input.length === 0 ? data : Buffer.concat([session.input, data]);
    advance();
    lastAt = performance.now();
  });
  flush();
}

function note({ arrivals, damaged }: Books, recipients: readonly string[], message: Buffer): void {
  const now = performance.now();
  // Field names may change their case on the way, and nodemailer changes it.
  const head = message.toString("latin1", 0, 4096).replace(/^x-test-id:/im, "X-Test-Id:");
  const tail = message.toString("latin1", Math.max(0, message.length - 100)).trimEnd();
  for (const recipient of recipients) {
    const [id = ""] = recipient.split(".");
    if (!head.includes(`X-Test-Id: ${id}\r\n`) || !tail.endsWith(`end of ${id}`)) damaged.push(recipient);
    const known = arrivals.get(recipient);
    if (known === undefined) arrivals.set(recipient, { count: 1, firstAt: now, lastAt: now });
    else {
      known.count++;
      known.lastAt = now;
    }
  }
}
