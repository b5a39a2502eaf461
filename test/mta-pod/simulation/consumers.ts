/** The push consumers of one modelled stream: given what is stored a moment after it is, and a sign of life when there is nothing to give. */
import { matches, type Stored, type Stream } from "./stream.ts";
import type { VirtualTime } from "./virtual-time.ts";

/** As nats-core's messages, as far as the spool looks at them. */
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

/** How a consumer begins, after what is stored was chosen. */
export interface Start {
  readonly name: string;
  readonly filter: string;
  readonly deliver: string;
  readonly headersOnly: boolean;
  readonly outlet: Outlet;
  readonly waiting: readonly Stored[];
}

const feedMs = 6;
const empty = Buffer.alloc(0);

export class Consumers {
  readonly #stream: Stream;
  readonly #time: VirtualTime;
  readonly #chance: () => number;
  readonly #all = new Map<string, Consumer>();
  /** They have been given what was stored before. */
  #fedAt = 0;

  constructor(stream: Stream, time: VirtualTime, chance: () => number) {
    this.#stream = stream;
    this.#time = time;
    this.#chance = chance;
  }

  start({ waiting, ...of }: Start): void {
    const consumer = { ...of, count: 0, from: this.#stream.lastSeq, isBusy: false };
    this.#all.set(of.name, consumer);
    this.#deliver(consumer, waiting);
  }

  end(name: string): void {
    this.#all.delete(name);
  }

  /** Those of a connection that is gone. */
  disconnect(outlet: Outlet): void {
    for (const [name, consumer] of this.#all) if (consumer.outlet === outlet) this.#all.delete(name);
  }

  /** It comes to them a moment later: mostly after its acknowledgement, not always. */
  feed(message: Stored): void {
    const time = this.#time;
    this.#fedAt = Math.max(this.#fedAt, time.now + this.#chance() * feedMs);
    time.after(this.#fedAt - time.now, () => {
      if (this.#stream.messages.get(message.seq) !== message) return;
      for (const consumer of this.#all.values())
        if (message.seq > consumer.from && matches(consumer.filter, message.subject))
          this.#deliver(consumer, [message]);
    });
  }

  /** Those that have nothing to say say so. */
  beat(): void {
    for (const consumer of this.#all.values()) {
      if (!consumer.isBusy && this.#fedAt <= this.#time.now)
        consumer.outlet.beat(
          consumer.deliver,
          beatOf(consumer.deliver, consumer.count, this.#stream.lastSeq),
        );
      consumer.isBusy = false;
    }
  }

  #deliver(consumer: Consumer, messages: readonly Stored[]): void {
    if (messages.length === 0) return;
    consumer.isBusy = true;
    consumer.outlet.deliver(
      consumer.deliver,
      messages.map(({ seq, subject, headers, data }, index) => {
        const pending = messages.length - 1 - index;
        consumer.count++;
        return {
          subject,
          reply: `$JS.ACK.${this.#stream.name}.c.1.${seq}.${consumer.count}.0.${pending}`,
          data: consumer.headersOnly ? empty : data,
          headers: { get: (name) => headers.get(name) ?? "", has: (name) => headers.has(name) },
          string: () => data.toString("utf8"),
        };
      }),
    );
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
