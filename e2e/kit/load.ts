/**
 * A load of small mails over pipelining SMTP connections. Every try has an id of its own, so that what a client sends
 * again is never taken for a double of the product's. Goes on through lost connections; ends when told or when all is accepted.
 */
import { connect } from "node:net";

export interface LoadOptions {
  /** HOST:PORT, asked at each connection: a restart may have moved it. */
  address(): string;
  readonly connections: number;
  /** To be accepted; Infinity = until `stop()`. */
  readonly messages: number;
  readonly bytes: number;
  readonly domains: readonly string[];
  /** Of each message, each at another domain; default 1. */
  readonly recipients?: number;
  readonly user: string;
  readonly password: string;
  readonly from: string;
  /** All connections together; default as fast as the server answers. */
  readonly perSecond?: number;
  /** Start of every id; different for loads that run side by side. */
  readonly prefix?: string;
}

export interface Refused {
  readonly id: string;
  readonly code: number;
  readonly text: string;
  /** From the first byte of its envelope to the refusal. */
  readonly ms: number;
}

export interface Load {
  /** When each id got its 250, by `performance.now()`. With several recipients here and below: each of them. */
  readonly accepted: ReadonlyMap<string, number>;
  readonly refused: readonly Refused[];
  /** Sent whole, and the connection was lost before the reply: may or may not arrive. */
  readonly uncertain: ReadonlySet<string>;
  /** By what name the product knows an accepted one. */
  queuedAs(id: string): string | undefined;
  readonly lostConnections: () => number;
  /** Of those accepted: the longest wait from the envelope to the 250. */
  readonly longestMs: () => number;
  /** Nothing new is begun; `done` resolves when what is open has ended. */
  stop(): void;
  readonly done: Promise<void>;
}

const reconnectMs = 100;
const refusalPauseMs = 100;
/** Beyond every bound that is tested: a client that waits this long was forgotten. */
const silenceMs = 120_000;

export function startLoad(options: LoadOptions): Load {
  const accepted = new Map<string, number>();
  const refused: Refused[] = [];
  const uncertain = new Set<string>();
  const queuedAs = new Map<string, string>();
  const ended = Promise.withResolvers<void>();
  const startedAt = performance.now();
  let begun = 0;
  let taken = 0;
  let lost = 0;
  let longest = 0;
  let stopped = false;
  let alive = options.connections;
  const again: string[] = [];
  const budget = (): number =>
    options.perSecond === undefined
      ? Infinity
      : Math.floor(((performance.now() - startedAt) / 1000) * options.perSecond);
  const isOver = (): boolean => stopped || taken >= options.messages;
  const takes = (): string | undefined => {
    const next = again.pop();
    if (next !== undefined) return next;
    if (begun >= options.messages || begun >= budget()) return undefined;
    return `${options.prefix ?? "m"}${begun++}-0`;
  };
  const giveBack = (id: string): void => {
    const cut = id.lastIndexOf("-");
    again.push(`${id.slice(0, cut)}-${Number(id.slice(cut + 1)) + 1}`);
  };
  const client: Client = {
    options,
    takes,
    isOver,
    accepted(id, ms, reply) {
      taken++;
      const [, name = ""] = /queued as (\S+)/.exec(reply) ?? [];
      for (const key of keysOf(options, id)) {
        accepted.set(key, performance.now());
        queuedAs.set(key, name);
      }
      longest = Math.max(longest, ms);
    },
    refused(refusal) {
      for (const key of keysOf(options, refusal.id)) refused.push({ ...refusal, id: key });
      giveBack(refusal.id);
    },
    lost(id, wasSent) {
      lost++;
      if (id === undefined) return;
      if (wasSent) for (const key of keysOf(options, id)) uncertain.add(key);
      giveBack(id);
    },
    over() {
      if (--alive === 0) ended.resolve();
    },
  };
  for (let index = 0; index < options.connections; index++) run(client);
  return {
    accepted,
    refused,
    uncertain,
    queuedAs: (id) => queuedAs.get(id),
    lostConnections: () => lost,
    longestMs: () => longest,
    stop: () => void (stopped = true),
    done: ended.promise,
  };
}

interface Client {
  readonly options: LoadOptions;
  /** The next id to send; undefined = none at the moment. */
  takes(): string | undefined;
  isOver(): boolean;
  accepted(id: string, ms: number, reply: string): void;
  refused(refusal: Refused): void;
  lost(id: string | undefined, wasSent: boolean): void;
  over(): void;
}

interface Current {
  readonly id: string;
  readonly at: number;
  step: "mail" | "rcpt" | "data" | "dot";
  /** Replies to RCPT that are due. */
  recipients: number;
  trouble: { code: number; text: string } | undefined;
}

/** One connection after another, until there is nothing left to do. */
function run(client: Client): void {
  const { options } = client;
  const { host, port } = hostAndPort(options.address());
  const socket = connect({ host, port, noDelay: true });
  socket.setTimeout(silenceMs, () => socket.destroy());
  let phase: "greeting" | "ehlo" | "auth" | "ready" | "quit" = "greeting";
  let current: Current | undefined;
  let text = "";
  const next = (): void => {
    if (client.isOver()) {
      phase = "quit";
      socket.end("QUIT\r\n");
      return;
    }
    const id = client.takes();
    if (id === undefined) setTimeout(() => socket.destroyed || next(), 10);
    else {
      const recipients = recipientsOf(options, id);
      current = {
        id,
        at: performance.now(),
        step: "mail",
        recipients: recipients.length,
        trouble: undefined,
      };
      const envelope = recipients.map((to) => `RCPT TO:<${to}>\r\n`).join("");
      socket.write(`MAIL FROM:<${options.from}>\r\n${envelope}DATA\r\n`);
    }
  };
  const refuse = ({ id, at }: Current, { code, text: why }: { code: number; text: string }): void => {
    current = undefined;
    client.refused({ id, code, text: why, ms: performance.now() - at });
    setTimeout(() => socket.destroyed || next(), refusalPauseMs);
  };
  const heedMail = (mail: Current, code: number, line: string): void => {
    if (code >= 400 && mail.trouble === undefined) mail.trouble = { code, text: line };
    switch (mail.step) {
      case "mail":
        mail.step = "rcpt";
        return;
      case "rcpt":
        if (--mail.recipients === 0) mail.step = "data";
        return;
      case "data":
        if (code !== 354) return refuse(mail, mail.trouble ?? { code, text: line });
        mail.step = "dot";
        socket.write(messageOf(options, mail.id));
        return;
      case "dot":
        if (code >= 400) return refuse(mail, { code, text: line });
        current = undefined;
        client.accepted(mail.id, performance.now() - mail.at, line);
        return next();
      default:
        return mail.step satisfies never;
    }
  };
  const heed = (line: string): void => {
    if (line[3] === "-") return;
    const code = Number(line.slice(0, 3));
    if (phase === "quit") return;
    if (code === 421 || (phase !== "ready" && code >= 400)) {
      // The server says goodbye: what was begun is refused, not lost.
      if (current !== undefined)
        client.refused({ id: current.id, code, text: line, ms: performance.now() - current.at });
      current = undefined;
      socket.destroy();
    } else if (phase === "greeting") {
      phase = "ehlo";
      socket.write("EHLO load.test\r\n");
    } else if (phase === "ehlo") {
      phase = "auth";
      const secret = Buffer.from(`\0${options.user}\0${options.password}`).toString("base64");
      socket.write(`AUTH PLAIN ${secret}\r\n`);
    } else if (phase === "auth") {
      phase = "ready";
      next();
    } else if (current !== undefined) heedMail(current, code, line);
  };
  socket.on("data", (data: Buffer) => {
    text += data.toString("latin1");
    for (let end = text.indexOf("\r\n"); end >= 0; end = text.indexOf("\r\n")) {
      const line = text.slice(0, end);
      text = text.slice(end + 2);
      heed(line);
    }
  });
  socket.on("error", () => socket.destroy());
  socket.on("close", () => {
    if (phase === "quit") return client.over();
    client.lost(current?.id, current?.step === "dot");
    if (client.isOver()) return client.over();
    setTimeout(() => (client.isOver() ? client.over() : run(client)), reconnectMs);
    return undefined;
  });
}

function hostAndPort(address: string): { host: string; port: number } {
  const cut = address.lastIndexOf(":");
  return { host: address.slice(0, cut), port: Number(address.slice(cut + 1)) };
}

function keysOf({ recipients = 1 }: LoadOptions, id: string): string[] {
  return recipients === 1 ? [id] : Array.from({ length: recipients }, (_, index) => `${id}.${index}`);
}

function recipientsOf(options: LoadOptions, id: string): string[] {
  const number = Number(/\d+/.exec(id)?.[0] ?? 0);
  const { domains } = options;
  return keysOf(options, id).map(
    (key, index) => `${key}@${domains[(number + index) % domains.length] ?? ""}`,
  );
}

const fillers = new Map<number, string>();

/** Header and text of one id as the sink checks it, without the final dot. */
export function mailText({ from, to, bytes }: { from: string; to: string; bytes: number }): string {
  const [id = ""] = to.slice(0, to.indexOf("@")).split(".");
  let filler = fillers.get(bytes);
  if (filler === undefined) {
    filler = `${"All work and no play makes Jack a dull boy, as everybody knows. ".slice(0, 62)}\r\n`.repeat(
      Math.ceil(bytes / 64),
    );
    fillers.set(bytes, filler);
  }
  const head = `X-Test-Id: ${id}\r\nFrom: <${from}>\r\nTo: <${to}>\r\nSubject: ${id}\r\nMessage-ID: <${id}@load.test>\r\n\r\n`;
  return `${head}${filler.slice(0, Math.max(0, bytes - head.length - 80))}\r\nend of ${id}\r\n`;
}

function messageOf(options: LoadOptions, id: string): string {
  return `${mailText({ from: options.from, to: recipientsOf(options, id)[0] ?? "", bytes: options.bytes })}.\r\n`;
}
