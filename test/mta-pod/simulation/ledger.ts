/**
 * The truth about a simulated pool, and what must hold of it: who may start a transaction, what a host may see, what may be deleted, and what
 * may come twice. It looks at the store, the hosts and the clock alone, never at what a pod believes.
 */
import { decodeState } from "#crds/wire/state-record.ts";
import { parentSite, shardOf } from "#crds/wire/subject.ts";
import { RecentIds } from "#mta-pod/recent-ids.ts";
import { decodeLease } from "#mta-pod/spool/lease-record.ts";
import type { Transaction } from "#mta-pod/smtp/transaction.ts";
import type { JetStream, Watcher } from "./jetstream.ts";
import { type Delivery, entryOf, isAlike, newParcel, type Parcel, parcelName } from "./parcels.ts";
import type { HostEvents, PeerSocket } from "./receiving-hosts.ts";
import type { Stored } from "./stream.ts";
import type { Process, VirtualTime } from "./virtual-time.ts";

/** What happened that is allowed, so that runs that show nothing are noticed. */
export interface Counts {
  delivered: number;
  /** Recipients that it came to again, by what was lost. */
  repeated: Record<string, number>;
  /** Connections above a limit, of processes that were frozen beyond their lease or waited for the reply to a dot. */
  excess: number;
  taken: Record<string, number>;
  /** Entries that were stored once more after they were settled. */
  again: number;
  moves: number;
  /** Parents that were stored. */
  parents: number;
}

export interface Holder {
  readonly pod: string;
  readonly incarnation: string;
}

export class Ledger implements Watcher, HostEvents {
  readonly violations: string[] = [];
  readonly counts: Counts = {
    delivered: 0,
    repeated: {},
    excess: 0,
    taken: {},
    again: 0,
    moves: 0,
    parents: 0,
  };
  /** Entries stored, over all shards. */
  queued = 0;
  jetStream: JetStream | undefined;
  readonly #parcels = new Map<string, Parcel>();
  readonly #noted = new RecentIds();
  readonly #incarnations = new Map<Process, string>();
  /** By process and shard: it was frozen when its lease ran out. */
  readonly #frozenOut = new Set<string>();
  /** By process and shard: its lease ran out. */
  readonly #expired = new Set<string>();
  /** By process and shard: when an owner after it died it could not answer, and may wait for the reply to a dot that nobody else knows of. */
  readonly #orphaned = new Set<string>();
  /** What came of the last message of each connection. */
  readonly #awaited = new WeakMap<PeerSocket, readonly Delivery[]>();
  readonly #time: VirtualTime;
  readonly #shards: number;
  trace: ((what: string) => void) | undefined;
  /** It is frozen or cut off. */
  cannotAnswer: (process: Process) => boolean = () => false;
  /** Mail of a shard is stored elsewhere. */
  moved: (from: number) => void = () => {};
  othersThatMayProceed: (than: Process, shard: number) => string[] = () => [];

  constructor(time: VirtualTime, shards: number) {
    this.#time = time;
    this.#shards = shards;
  }

  began(process: Process, incarnation: string): void {
    this.#incarnations.set(process, incarnation);
  }

  accepted(id: string, to: readonly string[]): void {
    for (const address of to) this.#of(id, address).isAccepted = true;
  }

  /** What was accepted and is neither lost, settled nor `parked`, as `id to address`. */
  unsettled(parked: ReadonlySet<string>): string[] {
    return [...this.#parcels.values()]
      .filter((one) => one.isAccepted && !one.isLost && !one.isSettled && !parked.has(one.name))
      .map(({ name }) => name);
  }

  /** `splitting` = parents that it had begun with. */
  died(process: Process, splitting: readonly { readonly shard: number; readonly seq: number }[]): void {
    const { names } = this.#store();
    for (const { shard, seq } of splitting) this.#splitAgain(`${names.shardStream(shard)}:${seq}:`);
    this.#excuse("death", (delivery) => delivery.process === process);
    this.#breakAnew();
  }

  /** A shard was taken; `from` = whose lease it was. */
  taken(shard: number, how: string, from: Holder | null): void {
    this.counts.taken[how] = (this.counts.taken[how] ?? 0) + 1;
    if (how === "expired" || how === "witnessed") {
      this.#excuse("its successor died", (one) => one.shard === shard && this.cannotAnswer(one.process));
      for (const [process, incarnation] of this.#incarnations)
        if (this.cannotAnswer(process)) this.#orphaned.add(`${incarnation}:${shard}`);
      this.#splitAgain(`${this.#store().names.shardStream(shard)}:`);
    }
    if (how !== "resumed") this.#breakAnew();
    if (how !== "expired" || from === null) return;
    for (const [process, incarnation] of this.#incarnations) {
      if (process.name !== from.pod || incarnation !== from.incarnation) continue;
      this.#expired.add(`${incarnation}:${shard}`);
      if (process.frozenUntil > this.#time.now) this.#frozenOut.add(`${incarnation}:${shard}`);
      this.#excuse("lease ran out", (one) => one.process === process && one.shard === shard);
    }
  }

  /** Who stored them anew may be gone; without a lease nothing could be noted of that. */
  #breakAnew(): void {
    for (const parcel of this.#parcels.values())
      if (parcel.anewFrom !== undefined) parcel.excuse ??= "stored anew";
  }

  #splitAgain(parentIn: string): void {
    for (const parcel of this.#parcels.values())
      if (parcel.parentIn?.startsWith(parentIn) === true) parcel.isSplitAgain = true;
  }

  #excuse(why: string, fits: (delivery: Delivery) => boolean): void {
    for (const { deliveries } of this.#parcels.values())
      for (const delivery of deliveries) if (!delivery.isClosed && fits(delivery)) delivery.excuse ??= why;
  }

  stored(stream: string, message: Stored, why: "published" | "back"): void {
    if (message.subject === this.#settledSubject) return this.#noteAll(message.data);
    const envelope = entryOf(message);
    if (envelope === undefined) return undefined;
    this.queued++;
    const isParent = envelope.site === parentSite;
    const { id, to } = envelope;
    const messageId = message.headers.get("Nats-Msg-Id") ?? "";
    const [kind, fromShard, fromSeq] = messageId.split(":");
    const isMove = kind === "mv";
    const { names, streams } = this.#store();
    const from = names.shardStream(Number(fromShard));
    const isAnew = isMove && from === stream && streams.get(from)?.messages.has(Number(fromSeq)) === true;
    const isChild = messageId.startsWith(`${id}:`);
    const isNoted = this.#noted.wasSettled(envelope);
    this.trace?.(`store: ${id} to ${to.join(" ")} ${why} as ${message.seq}${isParent ? ", a parent" : ""}`);
    if (isMove) this.counts.moves++;
    if (isMove && why === "published") this.moved(Number(fromShard));
    if (isParent) this.counts.parents++;
    for (const address of to) {
      const parcel = this.#of(id, address);
      parcel.copies++;
      parcel.isLost = false;
      if (why === "published" && parcel.isSettled) this.counts.again++;
      const before = parcel.envelope;
      if (isParent) parcel.parentIn = `${stream}:${message.seq}:`;
      else if (!isMove) parcel.envelope = envelope;
      if (isAnew) parcel.anewFrom = `${stream}:${fromSeq}`;
      const isKnown = isNoted || (isParent && before !== undefined && this.#noted.wasSettled(before));
      if (why === "back" && isParent && !isNoted) parcel.isSplitAgain = true;
      // Its site had changed when the parent was split again: the same child would not have come anew.
      const isRegrouped = isChild && before !== undefined && !isAlike(before, envelope);
      if (isRegrouped && parcel.isSplitAgain) parcel.excuse ??= "grouped anew";
      if (isKnown || isRegrouped) continue;
      // The server forgot a delete, or an id that was published again, before the note of its end came to the store.
      if (why === "back") {
        for (const delivery of parcel.deliveries) delivery.excuse ??= "delete lost";
        // It had moved, and is on its way to its end elsewhere.
        if (parcel.copies > 1) parcel.excuse ??= "delete lost";
      } else if (parcel.isSettled && !isMove)
        for (const delivery of parcel.deliveries) delivery.excuse ??= "id forgotten";
    }
    return undefined;
  }

  removed(stream: string, message: Stored, why: "deleted" | "purged" | "lost"): void {
    if (why === "lost") this.#stateLost(stream, message);
    const envelope = entryOf(message);
    if (envelope === undefined) return;
    this.queued--;
    const { id, to } = envelope;
    this.trace?.(`store: ${id} to ${to.join(" ")} ${why}, was ${message.seq}`);
    for (const address of to) {
      const parcel = this.#of(id, address);
      parcel.copies--;
      if (parcel.anewFrom === `${stream}:${message.seq}`) parcel.anewFrom = undefined;
      if (envelope.site === parentSite) parcel.parentIn = undefined;
      if (why === "lost") {
        parcel.isHurt = true;
        if (parcel.copies === 0) parcel.isLost = true;
        // A publish without an answer comes again, under another sequence than that of what is under way.
        for (const delivery of parcel.deliveries) delivery.excuse ??= "store lost";
        continue;
      }
      if (parcel.copies > 0) continue;
      for (const delivery of parcel.deliveries) delivery.isClosed = true;
      // A moved entry leaves its old shard when it is stored in the new one, a parent goes when its children are.
      if (parcel.isSettled) continue;
      if (parcel.isHurt) parcel.isLost = true;
      else this.#violated(`${parcel.name} is ${why} and was not settled`);
    }
  }

  /** Who has an entry's mail already stands in its state record, and where it is going. */
  #stateLost(stream: string, { subject, data }: Stored): void {
    const seq = /\.s\.(\d+)$/.exec(subject)?.[1];
    const entry = this.#store().streams.get(stream)?.messages.get(Number(seq));
    const envelope = entry === undefined ? undefined : entryOf(entry);
    const record = entry === undefined ? undefined : decodeState(data.toString("utf8"));
    const isMoving = record?.ok === true && record.value.moving !== undefined;
    for (const address of envelope?.to ?? []) {
      const parcel = this.#of(envelope?.id ?? "", address);
      if (isMoving) parcel.excuse ??= "store lost";
      for (const delivery of parcel.deliveries) delivery.excuse ??= "store lost";
    }
  }

  // The hosts.

  begins({ process, site }: PeerSocket, { message }: Transaction): void {
    const shard = shardOf(site, this.#shards);
    const incarnation = this.#incarnations.get(process);
    this.trace?.(`${process.name}: MAIL for ${idOf(message)} to ${site}`);
    // A bucket that lost its end says what was; then it must do that nobody else goes on.
    const holder = this.#holderOf(shard);
    if (holder !== undefined && holder.incarnation !== incarnation)
      this.#violated(`${process.name} starts ${idOf(message)} although shard ${shard} is ${holder.pod}'s`);
    for (const other of this.othersThatMayProceed(process, shard))
      this.#violated(`${process.name} starts ${idOf(message)} although ${other} may as well`);
  }

  opened({ host }: PeerSocket, sockets: ReadonlySet<PeerSocket>): void {
    this.trace?.(
      `${host.site}: ${[...sockets].map(({ process, site }) => `${process.name} at ${site}`).join(", ")} open`,
    );
    if (sockets.size <= host.connections) return;
    let strict = 0;
    const { now } = this.#time;
    for (const { process, site, committed, answeredAt } of sockets) {
      const shard = shardOf(site, this.#shards);
      const holder = this.#holderOf(shard)?.incarnation;
      const incarnation = this.#incarnations.get(process);
      const key = `${incarnation}:${shard}`;
      // What was answered just now is being closed; a frozen one has yet to read that it was.
      const isBusy = committed !== undefined || process.frozenUntil > now || now - answeredAt < closingMs;
      const isWaiting = isBusy && incarnation !== holder;
      const isExcused = isWaiting && (this.#expired.has(key) || this.#orphaned.has(key));
      if (!isExcused && !this.#frozenOut.has(key)) strict++;
    }
    this.counts.excess++;
    if (strict <= host.connections) return;
    this.#violated(`${sockets.size} connections at ${host.site}, which takes ${host.connections}`);
  }

  counted(
    socket: PeerSocket,
    { message, to }: Transaction,
    { inLastSecond, codes }: { inLastSecond: number; codes: readonly number[] },
  ): void {
    const { host, site, process } = socket;
    const { messagesPerSecond: limit } = host;
    const id = idOf(message);
    this.trace?.(
      `${host.site}: dot of ${id} from ${process.name}, ${to.join(" ")} will be ${codes.join(" ")}`,
    );
    if (limit !== undefined && inLastSecond > limit)
      this.#violated(`${inLastSecond} messages in a second at ${host.site}, which takes ${limit}`);
    const excuse = process.alive ? this.#excuseOf(process, site) : "death";
    const awaited: Delivery[] = [];
    for (const [at, address] of to.entries()) {
      if (codes[at] !== 250) continue;
      const parcel = this.#of(id, address);
      this.#checkAgain(parcel, process);
      this.counts.delivered++;
      const isClosed = parcel.copies === 0;
      const delivery = { process, shard: shardOf(site, this.#shards), isClosed, excuse };
      parcel.deliveries.push(delivery);
      awaited.push(delivery);
    }
    this.#awaited.set(socket, awaited);
  }

  #checkAgain({ name, deliveries, excuse: always }: Parcel, process: Process): void {
    for (const { excuse = always, process: before } of deliveries)
      if (excuse === undefined)
        this.#violated(`${name} is delivered by ${before.name} and by ${process.name}`);
      else this.counts.repeated[excuse] = (this.counts.repeated[excuse] ?? 0) + 1;
  }

  said({ host, process }: PeerSocket, { message, to }: Transaction, codes: readonly number[]): void {
    const id = idOf(message);
    this.trace?.(`${host.site}: ${codes.join(" ")} for ${id} of ${process.name}`);
    for (const [at, address] of to.entries()) if (codes[at] !== 451) this.#of(id, address).isSettled = true;
  }

  unheard(socket: PeerSocket): void {
    for (const delivery of this.#awaited.get(socket) ?? []) delivery.excuse ??= "reply lost";
  }

  #excuseOf(process: Process, site: string): string | undefined {
    const shard = shardOf(site, this.#shards);
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

  #of(id: string, address: string): Parcel {
    const name = parcelName(id, address);
    const parcel = this.#parcels.get(name) ?? newParcel(name);
    this.#parcels.set(name, parcel);
    return parcel;
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
