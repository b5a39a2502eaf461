/**
 * A model of JetStream as the spool uses it, at the level of subjects and payloads: streams with sequences, compare-and-set, roll-up, the
 * duplicate window, deletes, purges, gets, push consumers; of one server, or with copies (`proposals.ts`). It can lose its unsynced end,
 * forget deletes and have no leader.
 */
import { type PoolNames, poolNames } from "#crds/wire/subject.ts";
import { Consumers, type Outlet } from "./consumers.ts";
import { type Proposal, Proposals } from "./proposals.ts";
import {
  contended,
  deleted,
  direct,
  idInProcess,
  noSuchMessage,
  noSuchStream,
  ok,
  plain,
  type Reply,
  wrongSequence,
} from "./replies.ts";
import {
  find,
  findBehind,
  lastOf,
  linesOf,
  matches,
  newStream,
  note,
  type Stored,
  type Stream,
  type Wanted,
} from "./stream.ts";
import type { VirtualTime } from "./virtual-time.ts";

export interface Watcher {
  /** `why`: "published", or "back" when the server forgot that it was deleted. */
  stored(stream: string, message: Stored, why: "published" | "back"): void;
  removed(stream: string, message: Stored, why: "deleted" | "purged" | "lost"): void;
}

export interface Call {
  readonly subject: string;
  readonly payload: Uint8Array | string;
  readonly block: string | undefined;
  /** Where what it subscribes to goes. */
  readonly outlet: Outlet;
}

export interface JetStreamOptions {
  readonly pool: string;
  readonly shards: number;
  /** Copies of each stream: 1 or 3. */
  readonly replicas: number;
}

type Answer = (reply: Reply) => void;

interface Led {
  readonly stream: Stream;
  readonly consumers: Consumers;
  readonly proposals: Proposals<Reply>;
}

interface Asked extends Wanted {
  readonly filter?: string;
  readonly config?: {
    readonly filter_subject?: string;
    readonly deliver_subject?: string;
    readonly deliver_policy?: string;
    readonly opt_start_seq?: number;
    readonly headers_only?: boolean;
  };
}

const windowMs = 120_000;
/** The feeds look for a sign of life after 1.5 s. */
const beatMs = 600;
/** What a copy that does not lead has not come to yet; of those that answer gets this share is busy. */
const behindMs = 10;
const farBehind = 0.1;
const farBehindMs = 300;

export class JetStream {
  readonly names: PoolNames;
  readonly replicas: number;
  readonly streams = new Map<string, Stream>();
  /** Writes that were refused since another one was in process. */
  contended = 0;
  readonly #led = new Map<string, Led>();
  readonly #time: VirtualTime;
  readonly #chance: () => number;
  readonly #watcher: Watcher;

  constructor(
    { pool, shards, replicas }: JetStreamOptions,
    { time, chance, watcher }: { time: VirtualTime; chance: () => number; watcher: Watcher },
  ) {
    this.names = poolNames(pool);
    this.replicas = replicas;
    this.#time = time;
    this.#chance = chance;
    this.#watcher = watcher;
    const shardStreams = Array.from({ length: shards }, (_, shard) => this.names.shardStream(shard));
    for (const name of [...shardStreams, this.names.eventStream, `KV_${this.names.bucket}`]) {
      const stream = newStream(name);
      this.streams.set(name, stream);
      const consumers = new Consumers(stream, time, chance);
      this.#led.set(name, { stream, consumers, proposals: new Proposals(replicas, time, chance) });
    }
    this.#beat();
  }

  /** Calls `answer` once, at once or later, or never. */
  serve(call: Call, answer: Answer): void {
    const { subject, payload } = call;
    if (!subject.startsWith("$JS.API.")) return this.#publish(call, answer);
    const tokens = subject.split(".");
    const led = this.#led.get(tokens.find((token) => this.#led.has(token)) ?? "");
    if (led === undefined) return answer(noSuchStream);
    const { stream } = led;
    if (stream.awayUntil > this.#time.now) return undefined;
    const what = subject.slice("$JS.API.".length, subject.indexOf(`.${stream.name}`));
    const text = typeof payload === "string" ? payload : Buffer.from(payload).toString("utf8");
    const asked = (text === "" ? {} : JSON.parse(text)) as Asked;
    switch (what) {
      case "STREAM.MSG.DELETE":
        return led.proposals.make(
          change(() => this.#remove(stream, asked.seq ?? 0)),
          answer,
        );
      case "STREAM.PURGE":
        return led.proposals.make(
          change(() => this.#purge(stream, asked.filter ?? ">", asked.seq ?? Infinity)),
          answer,
        );
      case "DIRECT.GET":
        return answer(direct(this.#findAnywhere(stream, asked)));
      case "STREAM.MSG.GET":
        return answer(plain(find(stream, asked)));
      case "STREAM.INFO":
        return answer(infoOf(stream));
      case "CONSUMER.CREATE":
        return answer(consume(led, tokens.at(-1) ?? "", asked, call.outlet));
      case "CONSUMER.DELETE":
        led.consumers.end(tokens.at(-1) ?? "");
        return answer(deleted);
      default:
        throw new Error(`Cannot serve ${subject}: the model does not know it`);
    }
  }

  /** What a pod's connection fed is forgotten: it is gone. */
  disconnect(outlet: Outlet): void {
    for (const { consumers } of this.#led.values()) consumers.disconnect(outlet);
  }

  /** The stream has no leader for so long. */
  loseLeader(stream: Stream, ms: number): void {
    this.#led.get(stream.name)?.proposals.leaderLost();
    stream.awayUntil = this.#time.now + ms;
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

  /** Compares first, of what is stored and in process by then; its sequence it gets when it is carried out. */
  #publish({ subject, payload, block }: Call, answer: Answer): void {
    const led = this.#led.get(this.#streamOf(subject) ?? "");
    if (led === undefined) return undefined;
    const { stream, proposals } = led;
    if (stream.awayUntil > this.#time.now) return undefined;
    const headers = linesOf(block);
    const id = headers.get("Nats-Msg-Id");
    if (id !== undefined) {
      if (proposals.isIdInProcess(id)) return answer(idInProcess);
      const known = stream.ids.get(id);
      if (known !== undefined && this.#time.now - known.at < windowMs)
        return answer(ok({ stream: stream.name, seq: known.seq, duplicate: true }));
    }
    const subjects = [subject];
    const expected = headers.get("Nats-Expected-Last-Subject-Sequence");
    if (expected !== undefined) {
      const asked = headers.get("Nats-Expected-Last-Subject-Sequence-Subject") ?? subject;
      if (proposals.isSubjectInProcess(asked)) {
        this.contended++;
        return answer(contended);
      }
      if ((lastOf(stream, asked)?.seq ?? 0) !== Number(expected)) return answer(wrongSequence);
      subjects.push(asked);
    }
    // As it was sent: the sender's buffer may be another's by then.
    const data = typeof payload === "string" ? Buffer.from(payload) : Buffer.from(payload);
    const apply = (): Reply => this.#store(led, { subject, headers, block, data });
    return proposals.make({ subjects, id, apply }, answer);
  }

  #store({ stream, consumers }: Led, of: Omit<Stored, "seq" | "at">): Reply {
    const { subject, headers } = of;
    const isOnlyOne = stream.name.startsWith("KV_") || headers.get("Nats-Rollup") === "sub";
    const before = isOnlyOne ? lastOf(stream, subject) : undefined;
    if (before !== undefined) this.#forget(stream, before);
    const message = { ...of, seq: ++stream.lastSeq, at: this.#time.now };
    stream.messages.set(message.seq, message);
    const id = headers.get("Nats-Msg-Id");
    if (id !== undefined) stream.ids.set(id, message);
    note(stream, { kind: "stored", message, at: message.at });
    this.#watcher.stored(stream.name, message, "published");
    consumers.feed(message);
    return ok({ stream: stream.name, seq: message.seq });
  }

  /** Of any copy, also of one that is behind. */
  #findAnywhere(stream: Stream, asked: Asked): Stored | undefined {
    if (this.replicas === 1 || asked.seq === undefined || this.#chance() < 1 / this.replicas)
      return find(stream, asked);
    const lagMs = this.#chance() < farBehind ? this.#chance() * farBehindMs : this.#chance() * behindMs;
    return findBehind(stream, asked.seq, { now: this.#time.now, lagMs });
  }

  #streamOf(subject: string): string | undefined {
    if (subject.startsWith("$KV.")) return `KV_${this.names.bucket}`;
    if (subject === this.names.settledSubject) return this.names.eventStream;
    const shard = Number(subject.split(".")[2]);
    return Number.isInteger(shard) ? this.names.shardStream(shard) : undefined;
  }

  #forget(stream: Stream, message: Stored): void {
    stream.messages.delete(message.seq);
    note(stream, { kind: "removed", message, at: this.#time.now });
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

  #beat(): void {
    for (const { stream, consumers } of this.#led.values())
      if (stream.awayUntil <= this.#time.now) consumers.beat();
    this.#time.after(beatMs, () => this.#beat());
  }
}

function change(apply: () => Reply): Proposal<Reply> {
  return { subjects: [], id: undefined, apply };
}

function infoOf(stream: Stream): Reply {
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
}

function consume({ stream, consumers }: Led, name: string, { config }: Asked, outlet: Outlet): Reply {
  const filter = config?.filter_subject ?? ">";
  const from = config?.opt_start_seq ?? 0;
  let waiting = [...stream.messages.values()].filter(
    ({ seq, subject }) => seq >= from && matches(filter, subject),
  );
  if (config?.deliver_policy === "last_per_subject")
    waiting = waiting.filter((message) => lastOf(stream, message.subject) === message);
  if (config?.deliver_subject !== undefined)
    consumers.start({
      name,
      filter,
      deliver: config.deliver_subject,
      headersOnly: config.headers_only === true,
      outlet,
      waiting,
    });
  return ok({ name, num_pending: waiting.length });
}
