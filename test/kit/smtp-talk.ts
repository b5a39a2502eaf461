/** SMTP by hand for tests: a conversation line by line, and bursts as fast as the other side takes them. */
import { connect, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import { testPassword } from "./local-resources.ts";

export interface Talk extends AsyncDisposable {
  /** Sends the line and resolves with the whole reply, its lines joined by "\n". Rejects when the peer hangs up. */
  say(line: string): Promise<string>;
  /** The reply that comes without being asked for: the greeting. */
  hear(): Promise<string>;
  /** Goes on with TLS, after a 220 to STARTTLS. */
  secure(ca: string): Promise<void>;
}

/** Opens a connection to HOST:PORT; with `ca` TLS from the first byte. */
export async function openTalk(address: string, ca?: string): Promise<Talk> {
  const [host = "", port = ""] = address.split(":");
  let socket: Socket =
    ca === undefined ? connect(Number(port), host) : connectTls({ host, port: Number(port), ca });
  let ear = createEar(socket);
  await new Promise<void>((resolve, reject) => {
    socket.once(ca === undefined ? "connect" : "secureConnect", resolve).once("error", reject);
  });
  return {
    hear: () => ear.next(),
    say(line) {
      socket.write(`${line}\r\n`);
      return ear.next();
    },
    async secure(authority) {
      ear.close();
      const raw = socket;
      const [servername] = address.split(":");
      const secured = connectTls({ socket: raw, ca: authority, host: servername ?? "" });
      socket = secured;
      ear = createEar(secured);
      await new Promise<void>((resolve, reject) => {
        secured.once("secureConnect", resolve).once("error", reject);
      });
    },
    async [Symbol.asyncDispose]() {
      socket.destroy();
    },
  };
}

interface Ear {
  next(): Promise<string>;
  close(): void;
}

function createEar(socket: Socket): Ear {
  const heard: string[] = [];
  const waiting: { resolve(reply: string): void; reject(error: Error): void }[] = [];
  let text = "";
  let lines: string[] = [];
  let over: Error | undefined;
  const onData = (data: Buffer): void => {
    text += data.toString("utf8");
    for (let end = text.indexOf("\r\n"); end >= 0; end = text.indexOf("\r\n")) {
      const line = text.slice(0, end);
      text = text.slice(end + 2);
      lines.push(line);
      if (line[3] === "-") continue;
      const reply = lines.join("\n");
      lines = [];
      const next = waiting.shift();
      if (next === undefined) heard.push(reply);
      else next.resolve(reply);
    }
  };
  const end = (error: Error): void => {
    over ??= error;
    for (const one of waiting.splice(0)) one.reject(over);
  };
  const onError = (error: Error): void => end(error);
  const onClose = (): void => end(new Error("the server hung up"));
  socket.on("data", onData).on("error", onError).on("close", onClose);
  return {
    next: () =>
      new Promise((resolve, reject) => {
        const reply = heard.shift();
        if (reply !== undefined) resolve(reply);
        else if (over !== undefined) reject(over);
        else waiting.push({ resolve, reject });
      }),
    close: () => void socket.off("data", onData).off("close", onClose),
  };
}

/** @example await talk.say(plainLogin("acme", "secret")) */
export function plainLogin(user: string, password: string): string {
  return `AUTH PLAIN ${Buffer.from(`\0${user}\0${password}`).toString("base64")}`;
}

export interface Burst {
  /** HOST:PORT of a listener that takes passwords in clear. */
  readonly address: string;
  /** Default: the tenant of `testResources()`, here and below. */
  readonly user?: string;
  readonly password?: string;
  readonly from?: string;
  readonly count: number;
  readonly connections?: number;
  recipient(number: number): string;
  /** Header fields and text of a message, CRLF; From is added. */
  content?(number: number): string;
}

/** Transactions on their way per connection: BDAT lets all of it be pipelined (RFC 3030). */
const inFlight = 64;

/** Hands `count` messages in; resolves with the ids of the 250s. @throws Error at the first refusal */
export async function sendBurst(burst: Burst): Promise<string[]> {
  const ids: string[] = [];
  const queue = { next: 0 };
  const lanes = Array.from({ length: burst.connections ?? 4 }, () => runLane(burst, queue, ids));
  await Promise.all(lanes);
  return ids;
}

async function runLane(burst: Burst, queue: { next: number }, ids: string[]): Promise<void> {
  const { address, user = "acme", password = testPassword } = burst;
  await using talk = await openTalk(address);
  await talk.hear();
  await talk.say("EHLO burst.example");
  expect(await talk.say(plainLogin(user, password)), "235");
  const pending = new Set<Promise<void>>();
  while (queue.next < burst.count) {
    const one = transact(talk, burst, queue.next++).then((id) => {
      ids.push(id);
      pending.delete(one);
    });
    pending.add(one);
    if (pending.size >= inFlight) await Promise.race(pending);
  }
  await Promise.all(pending);
}

async function transact(talk: Talk, burst: Burst, number: number): Promise<string> {
  const { from = "a@acme.example" } = burst;
  const content = burst.content?.(number) ?? `Subject: ${number}\r\n\r\nburst\r\n`;
  const message = `From: <${from}>\r\n${content}`;
  const mail = talk.say(`MAIL FROM:<${from}>`);
  const rcpt = talk.say(`RCPT TO:<${burst.recipient(number)}>`);
  // The CRLF that `say` adds is the message's last.
  const done = talk.say(`BDAT ${Buffer.byteLength(message)} LAST\r\n${message.slice(0, -2)}`);
  const [, , reply] = await Promise.all([
    mail.then((text) => expect(text, "250")),
    rcpt.then((text) => expect(text, "250")),
    done.then((text) => expect(text, "250")),
  ]);
  return /queued as (\S+)/.exec(reply)?.[1] ?? "";
}

function expect(reply: string, code: string): string {
  if (!reply.startsWith(code)) throw new Error(`expected ${code}, got "${reply}"`);
  return reply;
}
