/** An SMTP receiver on loopback that audits: each message carries its id in recipient, header and last line. Refuses only when told to. */
import { once } from "node:events";
import { createServer, type AddressInfo, type Server, type Socket } from "node:net";
import { createMeter, type MeterReading } from "#operator/provider/meter.ts";
import { createIntake, type Intake } from "./intake.ts";
import { processOf } from "./named-pods.ts";
import { type Books, type Copy, note, noteBegun, noteCopy, openBooks } from "./sink-books.ts";

export interface Sink extends AsyncDisposable {
  /** One listener each: a site of its own for whoever routes there. */
  readonly ports: readonly number[];
  readonly arrivals: Readonly<Books>["arrivals"];
  readonly refused: Readonly<Books>["refused"];
  readonly returned: Readonly<Books>["returned"];
  readonly damaged: readonly string[];
  /** Nobody who is awake keeps a connection that long. */
  readonly wokenMails: readonly number[];
  /** By process id of pods that say so: when each transaction began. */
  readonly begun: Readonly<Books>["begun"];
  /** Transactions open at this moment. */
  open(): number;
  /** Connections and messages of one of `ports`, by its place. */
  meter(place: number): MeterReading;
  /** Hangs up on everybody, whatever they are at. */
  hangUp(): void;
  /** Milliseconds between a final dot and its reply; 0 at first. Here and below: of one of `ports`, by its place, or of all. */
  delay(ms: number, place?: number): void;
  /** From now on no final dot is answered, until `release()`. */
  hold(place?: number): void;
  release(place?: number): void;
}

/** A connection to one of the ports. */
export interface Visit {
  readonly place: number;
  /** The process that it has named in its EHLO; 0 = none, not yet. */
  readonly by: number;
  /** Final dots so far. */
  readonly messages: number;
}

/** Told what happens at each of the ports, by its place. */
export interface SinkWatch {
  connected(visit: Visit): void;
  disconnected(visit: Visit): void;
  /** A final dot. */
  message(place: number): void;
}

export interface SinkOptions {
  readonly ports: number;
  readonly watch?: SinkWatch;
  /** Whether a message is answered with 451 the first time it comes; default none. */
  defers?(recipient: string): boolean;
  /** Whether a recipient is answered with 451 the first time; the others of its message get it. Default none. */
  defersRecipient?(recipient: string): boolean;
  /** Whether a message is answered with 550 each time it comes; default none. */
  refuses?(recipient: string): boolean;
  /** Between QUIT and the end of the connection; default 0. */
  readonly goodbyeMs?: number;
}

/** Every second port offers CHUNKING, so that DATA and BDAT are both seen. @example await using sink = await startSink({ ports: 4 }); */
export async function startSink(options: SinkOptions): Promise<Sink> {
  const books = openBooks(options.ports);
  const paces = Array.from({ length: options.ports }, (): Pace => ({ delayMs: 0, held: undefined }));
  const pacesOf = (place: number | undefined): Pace[] =>
    place === undefined ? paces : paces.slice(place, place + 1);
  const { defers = () => false, defersRecipient = () => false, refuses = () => false } = options;
  const sockets = new Set<Socket>();
  const servers: Server[] = [];
  for (let index = 0; index < options.ports; index++) {
    const offersChunking = index % 2 === 0;
    const meter = books.meters[index];
    const pace = paces[index] ?? { delayMs: 0, held: undefined };
    const server = createServer({ noDelay: true }, (socket) => {
      sockets.add(socket);
      meter?.connected();
      const visit = { place: index, by: 0, messages: 0 };
      options.watch?.connected(visit);
      let isGone = false;
      // "close" comes a few turns after the news of the end: the peer's next connection may come in between.
      const gone = (): void => {
        if (isGone) return;
        isGone = true;
        meter?.disconnected();
        options.watch?.disconnected(visit);
      };
      socket.on("end", gone);
      socket.on("close", () => {
        sockets.delete(socket);
        gone();
      });
      socket.on("error", () => {
        gone();
        socket.destroy();
      });
      const noteMail = (size: number): void => {
        visit.messages++;
        meter?.message(performance.now(), 1, size);
        options.watch?.message(index);
      };
      const noteName = (named: number): void => void (visit.by = named);
      const { goodbyeMs = 0 } = options;
      const manner = { books, pace, offersChunking, defers, defersRecipient, refuses, noteMail, noteName };
      receive(socket, { ...manner, goodbyeMs });
    });
    server.listen(0, "127.0.0.1", 4096);
    await once(server, "listening");
    servers.push(server);
  }
  return {
    ports: servers.map((server) => (server.address() as AddressInfo).port),
    arrivals: books.arrivals,
    refused: books.refused,
    returned: books.returned,
    damaged: books.damaged,
    wokenMails: books.wokenMails,
    begun: books.begun,
    open: () => books.open,
    meter: (place) => (books.meters[place] ?? createMeter()).read(),
    hangUp() {
      for (const socket of sockets) socket.resetAndDestroy();
    },
    delay(ms, place) {
      for (const pace of pacesOf(place)) pace.delayMs = ms;
    },
    hold(place) {
      for (const pace of pacesOf(place)) pace.held ??= [];
    },
    release(place) {
      for (const pace of pacesOf(place)) {
        const held = pace.held ?? [];
        pace.held = undefined;
        for (const resume of held) resume();
      }
    },
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
    },
  };
}

interface Pace {
  delayMs: number;
  held: (() => void)[] | undefined;
}

interface Session {
  readonly input: Intake;
  recipients: string[];
  isOpen: boolean;
  by: number;
  begunAt: number;
  phase: "commands" | "data" | "chunk" | "held";
  chunk: { left: number; isLast: boolean };
  readonly chunks: Buffer[];
}

const silenceMs = 8000;
const endOfLine = Buffer.from("\r\n");
const endOfData = Buffer.from("\r\n.\r\n");

interface Manner {
  readonly books: Books;
  readonly pace: Pace;
  readonly offersChunking: boolean;
  defers(recipient: string): boolean;
  defersRecipient(recipient: string): boolean;
  refuses(recipient: string): boolean;
  noteMail(size: number): void;
  noteName(by: number): void;
  readonly goodbyeMs: number;
}

function receive(socket: Socket, manner: Manner): void {
  const { books, pace, offersChunking, defers } = manner;
  const session: Session = {
    input: createIntake(),
    recipients: [],
    isOpen: false,
    by: 0,
    begunAt: 0,
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
  const begin = (): void => {
    session.isOpen = true;
    session.begunAt = performance.now();
    noteBegun(books, session.by, session.begunAt);
    books.open++;
  };
  const end = (): void => {
    session.isOpen = false;
    books.open--;
  };
  socket.on("close", () => session.isOpen && end());
  const finish = (message: Buffer): void => {
    const { recipients } = session;
    session.recipients = [];
    manner.noteMail(message.length);
    const settle = (): void => {
      const [first = ""] = recipients;
      const copy: Copy = { begunAt: session.begunAt, at: performance.now(), by: session.by };
      end();
      if (manner.refuses(first)) {
        noteCopy(books.refused, first, copy);
        replies += "550 5.1.1 nobody here\r\n";
        return;
      }
      if (defers(first) && !books.deferred.has(first)) {
        books.deferred.add(first);
        replies += "451 4.2.0 not now\r\n";
        return;
      }
      note(books, recipients, message, copy);
      replies += "250 2.0.0 taken\r\n";
    };
    // A client that is gone gets no reply, so its message was not taken.
    if (pace.delayMs === 0 && pace.held === undefined) return settle();
    session.phase = "held";
    const resume = (): void => {
      if (socket.destroyed) return;
      session.phase = "commands";
      settle();
      advance();
    };
    if (pace.held !== undefined) pace.held.push(resume);
    else setTimeout(resume, pace.delayMs);
    return undefined;
  };
  const obey = (line: string): void => {
    const verb = line.slice(0, 4).toUpperCase();
    if (verb === "MAIL" && performance.now() - lastAt > silenceMs) books.wokenMails.push(performance.now());
    if (verb === "MAIL" && !session.isOpen) begin();
    if (verb === "RSET" && session.isOpen) end();
    if (verb === "RCPT") {
      const recipient = /<([^@>]*)@/.exec(line)?.[1] ?? line;
      if (manner.defersRecipient(recipient) && !books.deferred.has(recipient)) {
        books.deferred.add(recipient);
        replies += "451 4.2.0 not now\r\n";
        return;
      }
      session.recipients.push(recipient);
    }
    if (verb === "RSET") session.recipients = [];
    if (verb === "DATA") session.phase = "data";
    if (verb === "BDAT") {
      const [, size, last] = line.split(" ");
      session.chunk = { left: Number(size), isLast: last !== undefined };
      session.phase = "chunk";
      return;
    }
    if (verb === "EHLO") manner.noteName((session.by = processOf(line)));
    if (verb === "EHLO")
      replies += `250-sink.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n${offersChunking ? "250-CHUNKING\r\n" : ""}250 SIZE 52428800\r\n`;
    else
      replies += verb === "DATA" ? "354 go ahead\r\n" : verb === "QUIT" ? "221 bye\r\n" : "250 2.0.0 ok\r\n";
    if (verb !== "QUIT") return;
    if (manner.goodbyeMs > 0) {
      replies = "";
      setTimeout(() => socket.end(), manner.goodbyeMs);
      return;
    }
    flush();
    socket.end();
  };
  const step = (): boolean => {
    const { input } = session;
    switch (session.phase) {
      case "held":
        return false;
      case "commands": {
        const length = input.before(endOfLine);
        if (length === undefined) return false;
        obey(input.take(length + endOfLine.length).toString("latin1", 0, length));
        return true;
      }
      case "data": {
        const length = input.before(endOfData);
        if (length === undefined) return false;
        session.phase = "commands";
        finish(input.take(length + endOfData.length).subarray(0, length + endOfLine.length));
        return true;
      }
      case "chunk": {
        const { chunk, chunks } = session;
        if (input.length < chunk.left) return false;
        chunks.push(input.take(chunk.left));
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
    session.input.add(data);
    advance();
    lastAt = performance.now();
  });
  flush();
}
