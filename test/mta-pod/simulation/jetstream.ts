/**
 * A model of JetStream as the spool uses it, at the level of subjects and payloads: streams with sequences, compare-and-set, roll-up, the
 * duplicate window, deletes, purges, direct gets, push consumers. It can lose its unsynced end, forget deletes and have no leader.
 */
import { type PoolNames, poolNames } from "#crds/wire/subject.ts";
import type { VirtualTime } from "./virtual-time.ts";

export interface Stored {
  readonly seq: number;
  readonly subject: string;
  readonly headers: ReadonlyMap<string, string>;
  readonly block: Uint8Array | undefined;
  readonly data: Buffer;
  readonly at: number;
}

/** As nats-core's messages, as far as the spool looks at them. */
export interface Reply {
  readonly data: Buffer;
  readonly headers?: { readonly code: number; readonly description: string; get(name: string): string };
}

export interface Delivered {
  readonly subject: string;
  readonly reply: string;
  readonly data: Buffer;
  readonly headers: { get(name: string): string; has(name: string): boolean } | undefined;
  string(): string;
}

/** Where a consumer's messages go: one connection of one pod. */
export interface Outlet {
  deliver(subject: string, messages: readonly Delivered[]): void;
  /** May be gathered with others of this moment. */
  beat(subject: string, message: Delivered): void;
}

interface Consumer {
  readonly name: string;
  readonly filter: string;
  readonly deliver: string;
  readonly headersOnly: boolean;
  readonly outlet: Outlet;
  count: number;
  /** What was stored up to here it was given at its start. */
  readonly from: number;
  isBusy: boolean;
}

type Change =
  | { readonly kind: "stored"; readonly message: Stored }
  | { readonly kind: "removed"; readonly message: Stored };

export interface Stream {
  readonly name: string;
  readonly created: string;
  lastSeq: number;
  messages: Map<number, Stored>;
  ids: Map<string, Stored>;
  readonly consumers: Map<string, Consumer>;
  /** What a store that does not sync may lose, the newest last. */
  changes: Change[];
  awayUntil: number;
  /** Consumers have been given what was stored before. */
  fedAt: number;
}

export interface Watcher {
  /** `why`: "published", or "back" when the server forgot that it was deleted. */
  stored(stream: string, message: Stored, why: "published" | "back"): void;
  removed(stream: string, message: Stored, why: "deleted" | "purged" | "lost"): void;
}

const windowMs = 120_000;
/** The feeds look for a sign of life after 1.5 s. */
const beatMs = 600;
const feedMs = 6;
const keptChanges = 200;
const empty = Buffer.alloc(0);
const deleted: Reply = { data: Buffer.from('{"success":true}') };
const noSuchMessage = refusal(10_037, "no message found");
const wrongSequence = refusal(10_071, "wrong last sequence");

function refusal(code: number, description: string): Reply {
  return { data: Buffer.from(JSON.stringify({ error: { code: 400, err_code: code, description } })) };
}

function ok(value: object): Reply {
  return { data: Buffer.from(JSON.stringify(value)) };
}

export class JetStream {
  readonly names: PoolNames;
  readonly streams = new Map<string, Stream>();
  readonly #time: VirtualTime;
  readonly #chance: () => number;
  readonly #watcher: Watcher;

  constructor(
    { pool, shards }: { readonly pool: string; readonly shards: number },
    { time, chance, watcher }: { time: VirtualTime; chance: () => number; watcher: Watcher },
  ) {
    this.names = poolNames(pool);
    this.#time = time;
    this.#chance = chance;
    this.#watcher = watcher;
    const shardStreams = Array.from({ length: shards }, (_, shard) => this.names.shardStream(shard));
    for (const name of [...shardStreams, this.names.eventStream, `KV_${this.names.bucket}`])
      this.streams.set(name, {
        name,
        created: "2026-01-01T00:00:00Z",
        lastSeq: 0,
        messages: new Map(),
        ids: new Map(),
        consumers: new Map(),
        changes: [],
        awayUntil: 0,
        fedAt: 0,
      });
    this.#beat();
  }

  /** undefined = nobody answers. */
  serve(
    subject: string,
    payload: Uint8Array | string,
    block: Uint8Array | undefined,
    outlet: Outlet,
  ): Reply | undefined {
    if (!subject.startsWith("$JS.API.")) return this.#publish(subject, payload, block);
    const tokens = subject.split(".");
    const stream = this.streams.get(tokens.find((token) => this.streams.has(token)) ?? "");
    if (stream === undefined) return refusal(10_059, "stream not found");
    if (stream.awayUntil > this.#time.now) return undefined;
    const what = subject.slice("$JS.API.".length, subject.indexOf(`.${stream.name}`));
    const text = typeof payload === "string" ? payload : Buffer.from(payload).toString("utf8");
    const asked = (text === "" ? {} : JSON.parse(text)) as Asked;
    switch (what) {
      case "STREAM.MSG.DELETE":
        return this.#remove(stream, asked.seq ?? 0);
      case "STREAM.PURGE":
        return this.#purge(stream, asked.filter ?? ">", asked.seq ?? Infinity);
      case "DIRECT.GET":
        return direct(this.#find(stream, asked));
      case "STREAM.MSG.GET":
        return plain(this.#find(stream, asked));
      case "STREAM.INFO":
        return ok({
          created: stream.created,
          config: { max_bytes: -1 },
          state: {
            messages: stream.messages.size,
            first_seq: Math.min(...stream.messages.keys(), stream.lastSeq + 1),
            last_seq: stream.lastSeq,
            bytes: 0,
          },
        });
      case "CONSUMER.CREATE":
        return this.#consume(stream, tokens.at(-1) ?? "", asked, outlet);
      case "CONSUMER.DELETE":
        stream.consumers.delete(tokens.at(-1) ?? "");
        return deleted;
      default:
        throw new Error(`Cannot serve ${subject}: the model does not know it`);
    }
  }

  /** What a pod's connection fed is forgotten: it is gone. */
  disconnect(outlet: Outlet): void {
    for (const { consumers } of this.streams.values())
      for (const [name, consumer] of consumers) if (consumer.outlet === outlet) consumers.delete(name);
  }

  /** The duplicate window is built anew, of what is stored; `forgotten` of the last deletes of entries come back. */
  restart(stream: Stream, forgotten: number): void {
    stream.ids = new Map();
    const back = stream.changes
      .filter(({ kind, message }) => kind === "removed" && message.subject.includes(".q."))
      .slice(-forgotten);
    for (const { message } of forgotten === 0 ? [] : back) {
      if (stream.messages.has(message.seq)) continue;
      stream.messages.set(message.seq, message);
      this.#watcher.stored(stream.name, message, "back");
    }
    // As it was read back from its files.
    stream.messages = new Map([...stream.messages].sort(([a], [b]) => a - b));
    for (const message of stream.messages.values()) {
      const id = message.headers.get("Nats-Msg-Id");
      if (id !== undefined && this.#time.now - message.at < windowMs) stream.ids.set(id, message);
    }
    stream.changes = [];
  }

  /** The last `count` changes never came to its disk: their sequences will be used again. */
  loseEnd(stream: Stream, count: number): void {
    for (const { kind, message } of stream.changes.slice(-count).reverse()) {
      if (kind === "removed") {
        stream.messages.set(message.seq, message);
        this.#watcher.stored(stream.name, message, "back");
      } else {
        stream.messages.delete(message.seq);
        stream.lastSeq = Math.min(stream.lastSeq, message.seq - 1);
        this.#watcher.removed(stream.name, message, "lost");
      }
    }
    stream.changes = [];
    this.restart(stream, 0);
  }

  #publish(subject: string, payload: Uint8Array | string, block: Uint8Array | undefined): Reply | undefined {
    const stream = this.#streamOf(subject);
    if (stream === undefined) return undefined;
    if (stream.awayUntil > this.#time.now) return undefined;
    const headers = linesOf(block);
    const id = headers.get("Nats-Msg-Id");
    if (id !== undefined) {
      const known = stream.ids.get(id);
      if (known !== undefined && this.#time.now - known.at < windowMs)
        return ok({ stream: stream.name, seq: known.seq, duplicate: true });
    }
    const expected = headers.get("Nats-Expected-Last-Subject-Sequence");
    if (expected !== undefined) {
      const at = headers.get("Nats-Expected-Last-Subject-Sequence-Subject") ?? subject;
      if ((lastOf(stream, at)?.seq ?? 0) !== Number(expected)) return wrongSequence;
    }
    const isOnlyOne = stream.name.startsWith("KV_") || headers.get("Nats-Rollup") === "sub";
    const before = isOnlyOne ? lastOf(stream, subject) : undefined;
    if (before !== undefined) this.#forget(stream, before);
    const data = typeof payload === "string" ? Buffer.from(payload) : Buffer.from(payload);
    const message = { seq: ++stream.lastSeq, subject, headers, block, data, at: this.#time.now };
    stream.messages.set(message.seq, message);
    if (id !== undefined) stream.ids.set(id, message);
    this.#note(stream, { kind: "stored", message });
    this.#watcher.stored(stream.name, message, "published");
    this.#feed(stream, message);
    return ok({ stream: stream.name, seq: message.seq });
  }

  /** Consumers come to it a moment later: mostly after its acknowledgement, not always. */
  #feed(stream: Stream, message: Stored): void {
    stream.fedAt = Math.max(stream.fedAt, this.#time.now + this.#chance() * feedMs);
    this.#time.after(stream.fedAt - this.#time.now, () => {
      if (stream.messages.get(message.seq) !== message) return;
      for (const consumer of stream.consumers.values())
        if (message.seq > consumer.from && matches(consumer.filter, message.subject))
          this.#deliver(stream, consumer, [message]);
    });
  }

  #streamOf(subject: string): Stream | undefined {
    if (subject.startsWith("$KV.")) return this.streams.get(`KV_${this.names.bucket}`);
    if (subject === this.names.settledSubject) return this.streams.get(this.names.eventStream);
    const shard = Number(subject.split(".")[2]);
    return Number.isInteger(shard) ? this.streams.get(this.names.shardStream(shard)) : undefined;
  }

  #note(stream: Stream, change: Change): void {
    stream.changes.push(change);
    if (stream.changes.length > 2 * keptChanges) stream.changes = stream.changes.slice(-keptChanges);
  }

  #forget(stream: Stream, message: Stored): void {
    stream.messages.delete(message.seq);
    this.#note(stream, { kind: "removed", message });
  }

  #remove(stream: Stream, seq: number): Reply {
    const message = stream.messages.get(seq);
    if (message === undefined) return noSuchMessage;
    this.#forget(stream, message);
    this.#watcher.removed(stream.name, message, "deleted");
    return deleted;
  }

  #purge(stream: Stream, filter: string, below: number): Reply {
    let purged = 0;
    for (const message of Array.from(stream.messages.values())) {
      if (message.seq >= below || !matches(filter, message.subject)) continue;
      purged++;
      this.#forget(stream, message);
      this.#watcher.removed(stream.name, message, "purged");
    }
    return ok({ success: true, purged });
  }

  #find(stream: Stream, { seq, last_by_subj: last, next_by_subj: next }: Asked): Stored | undefined {
    if (last !== undefined) return lastOf(stream, last);
    if (next === undefined) return stream.messages.get(seq ?? 0);
    for (const message of stream.messages.values())
      if (message.seq >= (seq ?? 0) && matches(next, message.subject)) return message;
    return undefined;
  }

  #consume(stream: Stream, name: string, { config }: Asked, outlet: Outlet): Reply {
    const filter = config?.filter_subject ?? ">";
    const from = config?.opt_start_seq ?? 0;
    let waiting = [...stream.messages.values()].filter(
      ({ seq, subject }) => seq >= from && matches(filter, subject),
    );
    if (config?.deliver_policy === "last_per_subject")
      waiting = waiting.filter((message) => lastOf(stream, message.subject) === message);
    if (config?.deliver_subject !== undefined) {
      const headersOnly = config.headers_only === true;
      const consumer = {
        name,
        filter,
        deliver: config.deliver_subject,
        headersOnly,
        outlet,
        count: 0,
        from: stream.lastSeq,
        isBusy: false,
      };
      stream.consumers.set(name, consumer);
      this.#deliver(stream, consumer, waiting);
    }
    return ok({ name, num_pending: waiting.length });
  }

  #deliver(stream: Stream, consumer: Consumer, messages: readonly Stored[]): void {
    if (messages.length === 0) return;
    consumer.isBusy = true;
    consumer.outlet.deliver(
      consumer.deliver,
      messages.map(({ seq, subject, headers, data }, index) => {
        const pending = messages.length - 1 - index;
        consumer.count++;
        return {
          subject,
          reply: `$JS.ACK.${stream.name}.c.1.${seq}.${consumer.count}.0.${pending}`,
          data: consumer.headersOnly ? empty : data,
          headers: { get: (name) => headers.get(name) ?? "", has: (name) => headers.has(name) },
          string: () => data.toString("utf8"),
        };
      }),
    );
  }

  /** Consumers that have nothing to say say so. */
  #beat(): void {
    for (const stream of this.streams.values())
      for (const consumer of stream.awayUntil > this.#time.now ? [] : stream.consumers.values()) {
        if (!consumer.isBusy && stream.fedAt <= this.#time.now)
          consumer.outlet.beat(consumer.deliver, beatOf(consumer.deliver, consumer.count, stream.lastSeq));
        consumer.isBusy = false;
      }
    this.#time.after(beatMs, () => this.#beat());
  }
}

function beatOf(subject: string, count: number, lastSeq: number): Delivered {
  const get = (name: string): string =>
    name === "Nats-Last-Consumer" ? String(count) : name === "Nats-Last-Stream" ? String(lastSeq) : "";
  return {
    subject,
    reply: "",
    data: empty,
    headers: { get, has: (name) => get(name) !== "" },
    string: () => "",
  };
}

interface Asked {
  readonly seq?: number;
  readonly filter?: string;
  readonly last_by_subj?: string;
  readonly next_by_subj?: string;
  readonly config?: {
    readonly filter_subject?: string;
    readonly deliver_subject?: string;
    readonly deliver_policy?: string;
    readonly opt_start_seq?: number;
    readonly headers_only?: boolean;
  };
}

function matches(filter: string, subject: string): boolean {
  const end = filter.at(-1);
  return end === ">" || end === "*" ? subject.startsWith(filter.slice(0, -1)) : subject === filter;
}

function lastOf(stream: Stream, filter: string): Stored | undefined {
  let last: Stored | undefined;
  for (const message of stream.messages.values())
    if (matches(filter, message.subject) && (last === undefined || message.seq > last.seq)) last = message;
  return last;
}

function linesOf(block: Uint8Array | undefined): ReadonlyMap<string, string> {
  const lines = new Map<string, string>();
  if (block === undefined) return lines;
  for (const line of Buffer.from(block.buffer, block.byteOffset, block.byteLength)
    .toString("utf8")
    .split("\r\n")) {
    const colon = line.indexOf(": ");
    if (colon > 0) lines.set(line.slice(0, colon), line.slice(colon + 2));
  }
  return lines;
}

function direct(message: Stored | undefined): Reply {
  if (message === undefined)
    return { data: empty, headers: { code: 404, description: "Message Not Found", get: () => "" } };
  const { seq, subject, headers, data } = message;
  const get = (name: string): string =>
    name === "Nats-Sequence" ? String(seq) : name === "Nats-Subject" ? subject : (headers.get(name) ?? "");
  return { data, headers: { code: 0, description: "", get } };
}

function plain(message: Stored | undefined): Reply {
  if (message === undefined) return noSuchMessage;
  const { seq, subject, block, data, at } = message;
  const hdrs = block === undefined ? {} : { hdrs: Buffer.from(block).toString("base64") };
  const time = new Date(1_700_000_000_000 + at).toISOString();
  return ok({ message: { seq, subject, time, data: data.toString("base64"), ...hdrs } });
}
