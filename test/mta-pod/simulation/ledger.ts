/**
 * The truth about a simulated pool, and what must hold of it: who may start a transaction, what a host may see, what may be deleted, and what
 * may come twice. It looks at the store, the hosts and the clock alone, never at what a pod believes.
 */
import { decodeEnvelope, type Envelope, envelopeHeader } from "#crds/wire/envelope.ts";
import { shardOf } from "#crds/wire/subject.ts";
import { RecentIds } from "#mta-pod/recent-ids.ts";
import { decodeLease } from "#mta-pod/spool/lease-record.ts";
import type { JetStream, Stored, Watcher } from "./jetstream.ts";
import type { Transaction } from "#mta-pod/smtp/transaction.ts";
import type { HostEvents, PeerSocket } from "./receiving-hosts.ts";
import type { Process, VirtualTime } from "./virtual-time.ts";

/** A host took it. */
interface Delivery {
  readonly process: Process;
  readonly shard: number;
  /** No copy is stored any more. */
  isClosed: boolean;
  /** Why it may come again; undefined = it must not. */
  excuse: string | undefined;
}

interface Mail {
  readonly id: string;
  envelope: Envelope | undefined;
  /** The client has its 250. */
  isAccepted: boolean;
  copies: number;
  /** The store lost it. */
  isLost: boolean;
  /** A host said 2xx or 5xx to it. */
  isSettled: boolean;
  readonly deliveries: Delivery[];
}

/** What happened that is allowed, so that runs that show nothing are noticed. */
export interface Counts {
  delivered: number;
  /** Messages that came again, by what was lost. */
  repeated: Record<string, number>;
  /** Connections above a limit, of processes that were frozen beyond their lease or waited for the reply to a dot. */
  excess: number;
  taken: Record<string, number>;
  /** Entries that were stored once more after they were settled. */
  again: number;
  moves: number;
}

export interface Holder {
  readonly pod: string;
  readonly incarnation: string;
}

export class Ledger implements Watcher, HostEvents {
  readonly violations: string[] = [];
  readonly counts: Counts = { delivered: 0, repeated: {}, excess: 0, taken: {}, again: 0, moves: 0 };
  /** Entries stored, over all shards. */
  queued = 0;
  jetStream: JetStream | undefined;
  readonly #mail = new Map<string, Mail>();
  readonly #noted = new RecentIds();
  readonly #incarnations = new Map<Process, string>();
  /** By process and shard: it was frozen when its lease ran out. */
  readonly #frozenOut = new Set<string>();
  /** By process and shard: its lease ran out. */
  readonly #expired = new Set<string>();
  /** How each shard was last taken. */
  readonly #lastTaken = new Map<number, string>();
  /** The last message of each connection. */
  readonly #awaited = new WeakMap<PeerSocket, Delivery>();
  readonly #time: VirtualTime;
  readonly #shards: number;
  /** A clock was set by more than a minute: one message of pacing, says the scheduler's contract. */
  jumps = 0;
  trace: ((what: string) => void) | undefined;
  /** It is frozen or cut off. */
  cannotAnswer: (process: Process) => boolean = () => false;
  othersThatMayProceed: (than: Process, shard: number) => string[] = () => [];

  constructor(time: VirtualTime, shards: number) {
    this.#time = time;
    this.#shards = shards;
  }

  began(process: Process, incarnation: string): void {
    this.#incarnations.set(process, incarnation);
  }

  accepted(id: string): void {
    this.#of(id).isAccepted = true;
  }

  /** Entries that are stored and neither lost nor settled. */
  unsettled(): string[] {
    return [...this.#mail.values()]
      .filter((mail) => mail.isAccepted && !mail.isLost && !mail.isSettled)
      .map(({ id }) => id);
  }

  died(process: Process): void {
    this.#excuse("death", (delivery) => delivery.process === process);
  }

  /** A shard was taken; `from` = whose lease it was. */
  taken(shard: number, how: string, from: Holder | null): void {
    this.counts.taken[how] = (this.counts.taken[how] ?? 0) + 1;
    if (how !== "resumed") this.#lastTaken.set(shard, how);
    if (how === "expired" || how === "witnessed")
      this.#excuse("its successor died", (one) => one.shard === shard && this.cannotAnswer(one.process));
    if (how !== "expired" || from === null) return;
    for (const [process, incarnation] of this.#incarnations) {
      if (process.name !== from.pod || incarnation !== from.incarnation) continue;
      this.#expired.add(`${incarnation}:${shard}`);
      if (process.frozenUntil > this.#time.now) this.#frozenOut.add(`${incarnation}:${shard}`);
      this.#excuse("lease ran out", (one) => one.process === process && one.shard === shard);
    }
  }

  #excuse(why: string, fits: (delivery: Delivery) => boolean): void {
    for (const { deliveries } of this.#mail.values())
      for (const delivery of deliveries) if (!delivery.isClosed && fits(delivery)) delivery.excuse ??= why;
  }

  stored(_stream: string, message: Stored, why: "published" | "back"): void {
    if (message.subject === this.#settledSubject) return this.#noteAll(message.data);
    const mail = this.#mailOf(message);
    if (mail === undefined) return undefined;
    this.queued++;
    mail.copies++;
    this.trace?.(`store: ${mail.id} ${why} as ${message.seq}`);
    if (why === "published" && mail.isSettled) this.counts.again++;
    const isMove = message.headers.get("Nats-Msg-Id")?.startsWith("mv:") === true;
    if (isMove) this.counts.moves++;
    if (mail.envelope === undefined || this.#noted.wasSettled(mail.envelope)) return undefined;
    // The server forgot a delete, or an id that was published again, before the note of its end came to the store.
    if (why === "back") for (const delivery of mail.deliveries) delivery.excuse ??= "delete lost";
    else if (mail.isSettled && !isMove)
      for (const delivery of mail.deliveries) delivery.excuse ??= "id forgotten";
    return undefined;
  }

  removed(_stream: string, message: Stored, why: "deleted" | "purged" | "lost"): void {
    const mail = this.#mailOf(message);
    if (mail === undefined) return;
    this.queued--;
    mail.copies--;
    this.trace?.(`store: ${mail.id} ${why}, was ${message.seq}`);
    if (why === "lost") {
      if (mail.copies === 0) mail.isLost = true;
      // A publish without an answer comes again, under another sequence than that of what is under way.
      for (const delivery of mail.deliveries) delivery.excuse ??= "store lost";
      return;
    }
    // A moved entry leaves its old shard when it is stored in the new one.
    if (!mail.isSettled && mail.copies === 0) this.#violated(`${mail.id} is ${why} and was not settled`);
    if (mail.copies === 0) for (const delivery of mail.deliveries) delivery.isClosed = true;
  }

  // The hosts.

  begins({ process, host }: PeerSocket, { message }: Transaction): void {
    const shard = shardOf(host.site, 0, this.#shards);
    const incarnation = this.#incarnations.get(process);
    this.trace?.(`${process.name}: MAIL for ${idOf(message)} to ${host.site}`);
    // A bucket that lost its end says what was; then it must do that nobody else goes on.
    const holder = this.#holderOf(shard);
    if (holder !== undefined && holder.incarnation !== incarnation)
      this.#violated(`${process.name} starts ${idOf(message)} although shard ${shard} is ${holder.pod}'s`);
    for (const other of this.othersThatMayProceed(process, shard))
      this.#violated(`${process.name} starts ${idOf(message)} although ${other} may as well`);
  }

  opened({ host }: PeerSocket, sockets: ReadonlySet<PeerSocket>): void {
    this.trace?.(`${host.site}: ${[...sockets].map(({ process }) => process.name).join(" ")} open`);
    if (sockets.size <= host.connections) return;
    const shard = shardOf(host.site, 0, this.#shards);
    const holder = this.#holderOf(shard)?.incarnation;
    // Who had it before may wait for the reply to a dot, and who knew of that is dead.
    const isOrphaned = this.#lastTaken.get(shard) === "expired" || this.#lastTaken.get(shard) === "witnessed";
    let strict = 0;
    const { now } = this.#time;
    for (const { process, committed, answeredAt } of sockets) {
      const incarnation = this.#incarnations.get(process);
      const key = `${incarnation}:${shard}`;
      // What was answered just now is being closed; a frozen one has yet to read that it was.
      const isBusy = committed !== undefined || process.frozenUntil > now || now - answeredAt < closingMs;
      const isWaiting = isBusy && incarnation !== holder;
      const isExcused = isWaiting && (this.#expired.has(key) || isOrphaned);
      if (!isExcused && !this.#frozenOut.has(key)) strict++;
    }
    this.counts.excess++;
    if (strict <= host.connections) return;
    this.#violated(`${sockets.size} connections at ${host.site}, which takes ${host.connections}`);
  }

  counted(
    socket: PeerSocket,
    { message }: Transaction,
    { inLastSecond, code }: { inLastSecond: number; code: number },
  ): void {
    const { host, process } = socket;
    const { messagesPerSecond: limit } = host;
    const mail = this.#of(idOf(message));
    this.trace?.(`${host.site}: dot of ${mail.id} from ${process.name}, will be ${code}`);
    if (limit !== undefined && inLastSecond > limit + this.jumps)
      this.#violated(`${inLastSecond} messages in a second at ${host.site}, which takes ${limit}`);
    if (code !== 250) return;
    for (const { excuse, process: before } of mail.deliveries)
      if (excuse === undefined)
        this.#violated(`${mail.id} is delivered by ${before.name} and by ${process.name}`);
      else this.counts.repeated[excuse] = (this.counts.repeated[excuse] ?? 0) + 1;
    this.counts.delivered++;
    const isClosed = mail.copies === 0;
    const excuse = process.alive ? this.#excuseOf(process, host.site) : "death";
    const delivery = { process, shard: shardOf(host.site, 0, this.#shards), isClosed, excuse };
    mail.deliveries.push(delivery);
    this.#awaited.set(socket, delivery);
  }

  said({ host, process }: PeerSocket, { message }: Transaction, code: number): void {
    const mail = this.#of(idOf(message));
    this.trace?.(`${host.site}: ${code} for ${mail.id} of ${process.name}`);
    if (code !== 451) mail.isSettled = true;
  }

  unheard(socket: PeerSocket): void {
    const delivery = this.#awaited.get(socket);
    if (delivery !== undefined) delivery.excuse ??= "reply lost";
  }

  #excuseOf(process: Process, site: string): string | undefined {
    const shard = shardOf(site, 0, this.#shards);
    return this.#expired.has(`${this.#incarnations.get(process)}:${shard}`) ? "lease ran out" : undefined;
  }

  /** Whose the lease is by what is stored; undefined = nobody's. */
  #holderOf(shard: number): Holder | undefined {
    const { names, streams } = this.#store();
    const subject = `$KV.${names.bucket}.lease.${shard}`;
    for (const message of streams.get(`KV_${names.bucket}`)?.messages.values() ?? [])
      if (message.subject === subject) return decodeLease(message.data.toString("utf8"));
    return undefined;
  }

  #store(): JetStream {
    if (this.jetStream === undefined) throw new Error("Cannot look into the store: there is none yet");
    return this.jetStream;
  }

  get #settledSubject(): string {
    return this.#store().names.settledSubject;
  }

  #noteAll(data: Buffer): void {
    for (let at = 0; at + 16 <= data.length; at += 16)
      this.#noted.heard(data.readDoubleLE(at), data.readDoubleLE(at + 8), this.#time.now);
  }

  #mailOf(message: Stored): Mail | undefined {
    if (!message.subject.includes(".q.")) return undefined;
    const mail = this.#of(message.data.toString("latin1"));
    if (mail.envelope !== undefined) return mail;
    const envelope = decodeEnvelope(message.headers.get(envelopeHeader) ?? "");
    if (envelope.ok) mail.envelope = envelope.value;
    return mail;
  }

  #of(id: string): Mail {
    let mail = this.#mail.get(id);
    if (mail === undefined) {
      mail = {
        id,
        envelope: undefined,
        isAccepted: false,
        copies: 0,
        isLost: false,
        isSettled: false,
        deliveries: [],
      };
      this.#mail.set(id, mail);
    }
    return mail;
  }

  #violated(what: string): void {
    this.violations.push(`${Math.round(this.#time.now)} ms: ${what}`);
    this.trace?.(`VIOLATED: ${what}`);
  }
}

/** From an answer until its connection is closed, when nobody wants to keep that. */
const closingMs = 250;

/** A message's text is its id. */
function idOf(message: readonly Buffer[]): string {
  return message[0]?.toString("latin1") ?? "";
}
