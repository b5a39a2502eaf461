/** A scripted SMTP server for tests: each connection plays one conversation, given as text. Fails by `mismatches`. */
import { createServer, type Socket } from "node:net";
import { TLSSocket } from "node:tls";
import type { Target } from "#mta-pod/smtp/transaction.ts";

/**
 * A conversation, one step a line:
 * - `S: text` sends the line; those that follow one another go in one write
 * - `C: text` expects the line; `*` at its end = any rest
 * - `BODY` takes a message up to its dot line; `CHUNK` takes the bytes of the last `BDAT n`
 * - `STARTTLS` begins TLS; `BADTLS` answers the client's hello with bytes that are no TLS
 * - `CLOSE` ends, `RESET` destroys, `HANG` reads on and says nothing more
 * - `STALL` reads nothing more
 * - `SENT: text` sends the text without a line end
 * - `WAIT` goes on when the test calls `go()`, or has called it before
 * After the last step QUIT is answered and the connection closed, and every other line is a mismatch.
 */
export type Conversation = string;

export interface PeerOptions {
  readonly host?: string;
  readonly tls?: { readonly key: string; readonly cert: string };
}

export interface Peer extends AsyncDisposable {
  readonly target: Target;
  /** Bodies in the order they were taken: of BODY still stuffed, without the final dot line. */
  readonly bodies: string[];
  /** The lines of each connection, commands only. */
  readonly heard: string[][];
  /** What each read of each connection held: how many writes the client made, roughly. */
  readonly reads: number[];
  readonly mismatches: string[];
  /** Connections open now. */
  readonly open: number;
  go(): void;
}

/** Connection i plays conversation i, and those after the last one play the last one. */
export async function startPeer(
  conversations: readonly Conversation[],
  options: PeerOptions = {},
): Promise<Peer> {
  const play: Play = {
    bodies: [],
    heard: [],
    reads: [],
    mismatches: [],
    waiting: [],
    credit: { count: 0 },
    tls: options.tls,
  };
  const sockets = new Set<Socket>();
  const server = createServer({ noDelay: true }, (socket) => {
    const index = play.heard.length;
    play.heard.push([]);
    play.reads.push(0);
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
    const script = (conversations[Math.min(index, conversations.length - 1)] ?? "")
      .split("\n")
      .map((line) => line.trim())
      .filter((line) => line !== "");
    new Player(socket, { play, index, script }).step();
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  return {
    ...play,
    target: { host: options.host ?? "mx.test", address: "127.0.0.1", port },
    get open() {
      return sockets.size;
    },
    go() {
      const resume = play.waiting.shift();
      if (resume === undefined) play.credit.count++;
      else resume();
    },
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}

interface Play {
  readonly bodies: string[];
  readonly heard: string[][];
  readonly reads: number[];
  readonly mismatches: string[];
  readonly waiting: (() => void)[];
  /** Calls of `go()` that no step has waited for yet. */
  readonly credit: { count: number };
  readonly tls: PeerOptions["tls"];
}

interface Part {
  readonly play: Play;
  readonly index: number;
  readonly script: readonly string[];
}

class Player {
  #socket: Socket;
  readonly #part: Part;
  #at = 0;
  #input = Buffer.alloc(0);
  #chunk = 0;
  #paused = false;

  constructor(socket: Socket, part: Part) {
    this.#socket = socket;
    this.#part = part;
    this.#listen();
  }

  #listen(): void {
    this.#socket.on("error", () => {});
    this.#socket.on("data", (data: Buffer) => {
      this.#part.play.reads[this.#part.index] = (this.#part.play.reads[this.#part.index] ?? 0) + 1;
      this.#input = Buffer.concat([this.#input, data]);
      if (!this.#paused) this.step();
    });
  }

  /** Plays until input is missing. */
  step(): void {
    while (this.#one());
  }

  #one(): boolean {
    const { script, play } = this.#part;
    const step = script[this.#at];
    if (step === undefined) return this.#after();
    if (step.startsWith("S: ")) return this.#say();
    if (step.startsWith("SENT: ")) {
      this.#socket.write(step.slice(6));
      return this.#next();
    }
    if (step.startsWith("C: ")) return this.#expect(step.slice(3));
    switch (step) {
      case "BODY":
        return this.#body();
      case "CHUNK":
        return this.#take(this.#chunk);
      case "STARTTLS":
        return this.#secure();
      case "BADTLS":
        this.#socket.once("data", () => this.#socket.write("this is no TLS\r\n"));
        this.#paused = true;
        return false;
      case "CLOSE":
        this.#socket.end();
        return false;
      case "RESET":
        this.#socket.resetAndDestroy();
        return false;
      case "WAIT":
        if (play.credit.count > 0) {
          play.credit.count--;
          return this.#next();
        }
        this.#paused = true;
        play.waiting.push(() => {
          this.#paused = false;
          this.#at++;
          this.step();
        });
        return false;
      case "STALL":
        this.#socket.pause();
        this.#paused = true;
        return false;
      case "HANG":
        this.#paused = true;
        return false;
      default:
        play.mismatches.push(`unknown step "${step}"`);
        return false;
    }
  }

  #next(): boolean {
    this.#at++;
    return true;
  }

  #say(): boolean {
    let text = "";
    for (;;) {
      const step = this.#part.script[this.#at];
      if (step === undefined || !step.startsWith("S: ")) break;
      text += `${step.slice(3)}\r\n`;
      this.#at++;
    }
    this.#socket.write(text);
    return true;
  }

  #line(): string | undefined {
    const end = this.#input.indexOf("\r\n");
    if (end < 0) return undefined;
    const line = this.#input.toString("utf8", 0, end);
    this.#input = this.#input.subarray(end + 2);
    this.#part.play.heard[this.#part.index]?.push(line);
    return line;
  }

  #expect(pattern: string): boolean {
    const line = this.#line();
    if (line === undefined) return false;
    const matches = pattern.endsWith("*") ? line.startsWith(pattern.slice(0, -1)) : line === pattern;
    if (!matches) {
      this.#part.play.mismatches.push(`connection ${this.#part.index}: expected "${pattern}", got "${line}"`);
      this.#socket.destroy();
      return false;
    }
    const chunk = /^BDAT (\d+)/.exec(line);
    if (chunk !== null) this.#chunk = Number(chunk[1]);
    return this.#next();
  }

  #body(): boolean {
    if (this.#input.subarray(0, 3).toString() === ".\r\n") {
      this.#input = this.#input.subarray(3);
      this.#part.play.bodies.push("");
      return this.#next();
    }
    const end = this.#input.indexOf("\r\n.\r\n");
    if (end < 0) return false;
    this.#part.play.bodies.push(this.#input.toString("latin1", 0, end + 2));
    this.#input = this.#input.subarray(end + 5);
    return this.#next();
  }

  #take(bytes: number): boolean {
    if (this.#input.length < bytes) return false;
    this.#part.play.bodies.push(this.#input.toString("latin1", 0, bytes));
    this.#input = this.#input.subarray(bytes);
    return this.#next();
  }

  #secure(): boolean {
    const { tls } = this.#part.play;
    if (tls === undefined) throw new Error("Cannot play STARTTLS: the peer has no certificate");
    this.#socket.removeAllListeners("data");
    const raw = this.#socket;
    this.#socket = new TLSSocket(raw, { isServer: true, ...tls });
    this.#listen();
    return this.#next();
  }

  #after(): boolean {
    const line = this.#line();
    if (line === undefined) return false;
    if (line.toUpperCase() !== "QUIT") {
      this.#part.play.mismatches.push(`connection ${this.#part.index}: nothing more expected, got "${line}"`);
      this.#socket.destroy();
      return false;
    }
    this.#socket.end("221 2.0.0 bye\r\n");
    return false;
  }
}
