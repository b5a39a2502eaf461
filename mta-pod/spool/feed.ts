/**
 * An ordered feed of a stream: every message in sequence, none twice, whatever happens to the server meanwhile. It is a
 * push consumer that we watch ourselves (continuity of its sequence, heartbeats) and make again behind the last message
 * seen. Never throws; a server that is away is waited for until `close()`.
 *
 * Why not the library's ordered consumer: it pulls (a request per batch), builds a JsMsg per message, and after a change
 * of leader stays silent for tens of seconds. A push consumer also tells by its heartbeats what it has passed over.
 */
import { createInbox, type MsgImpl } from "@nats-io/transport-node";
import { type ApiResult, callApi } from "./api.ts";
import type { Spool } from "./connection.ts";
import { parseDelivery } from "./delivery.ts";
import type { Frame } from "./frame-reader.ts";
import { lastSequence } from "./stream-state.ts";

type FeedStart =
  | {
      readonly kind: "sequence";
      readonly seq: number;
      /** Not caught up before this sequence has come by; default 0. */
      readonly target?: number;
    }
  /** The newest message of each subject, then all that follow; after an interruption those again. */
  | { readonly kind: "last-per-subject" };

export interface FeedOptions {
  readonly spool: Spool;
  readonly stream: string;
  readonly filter: string;
  readonly start: FeedStart;
  readonly headersOnly: boolean;
  readonly handlers: FeedHandlers;
  /** Waited for before the consumer is made again after an interruption; must end by itself. */
  readonly beforeRestart?: (() => Promise<void>) | undefined;
}

interface FeedHandlers {
  /** `read` makes the message, while this runs: of most the sequence says that they are known. */
  onMessage(seq: number, read: () => MsgImpl): void;
  /** Everything that was stored is given, what only the leader had included; may be said again after later messages. */
  onCaughtUp(): void;
  /** Nothing up to `seq` will come any more. */
  onPassed?(seq: number): void;
  /** The consumer was made again after an interruption. */
  onRestarted?(): void;
  /** The stream holds other messages under sequences already given: it was made anew or lost its tail. Closes the feed. */
  onRegressed?(): void;
}

export interface Feed {
  /** Sequence of the last message given. */
  position(): number;
  close(): void;
}

const heartbeatMs = 500;
/** Without a sign of life for so long the consumer is made again. */
const silentMs = 1_500;
const createTimeoutMs = 3_000;
const firstRetryMs = 100;
const lastRetryMs = 2_000;
const inactiveThresholdMs = 30_000;
const nsPerMs = 1_000_000;

export function openFeed(options: FeedOptions): Feed {
  const feed = new OrderedFeed(options);
  feed.begin();
  return feed;
}

interface Session {
  readonly name: string;
  readonly deliver: string;
  readonly unsubscribe: () => void;
  /** Consumer sequence of the last message received. */
  received: number;
  /** Last sequence of the stream that it has come to. */
  passed: number;
  /** It lives on a replica that may lag: until it has come here, "nothing is pending" means nothing. */
  target: number;
  heardAt: number;
  /** Found silent at the last look; a second look goes by first, since timers run before sockets after a long turn. */
  suspect: boolean;
}

class OrderedFeed implements Feed {
  readonly #options: FeedOptions;
  readonly #inbox = createInbox();
  readonly #stops: (() => void)[] = [];
  #session: Session | undefined;
  #sessions = 0;
  #position: number;
  #failures = 0;
  #cancelRetry: (() => void) | undefined;
  #closed = false;

  constructor(options: FeedOptions) {
    this.#options = options;
    this.#position = options.start.kind === "sequence" ? options.start.seq - 1 : 0;
  }

  begin(): void {
    const { spool } = this.#options;
    this.#stops.push(
      spool.timers.every(heartbeatMs, () => this.#look()),
      spool.onReconnect(() => this.#restart("reconnected")),
    );
    const close = (): void => this.close();
    spool.closing.addEventListener("abort", close, { once: true });
    this.#stops.push(() => spool.closing.removeEventListener("abort", close));
    this.#open();
  }

  position(): number {
    return this.#position;
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const stop of this.#stops) stop();
    this.#cancelRetry?.();
    this.#drop();
  }

  #drop(): void {
    const session = this.#session;
    this.#session = undefined;
    if (session === undefined) return;
    const { spool, stream } = this.#options;
    session.unsubscribe();
    // Only tidiness: the server drops it by itself when nobody listens.
    spool.request(
      {
        subject: `$JS.API.CONSUMER.DELETE.${stream}.${session.name}`,
        payload: "",
        timeoutMs: createTimeoutMs,
      },
      () => {},
    );
  }

  #restart(why: string): void {
    if (this.#closed) return;
    const { spool, stream } = this.#options;
    spool.options.log.debug("feed restarts", { stream, why, position: this.#position });
    this.#cancelRetry?.();
    this.#drop();
    this.#open();
  }

  #open(): void {
    const { spool } = this.#options;
    const number = ++this.#sessions;
    const deliver = `${this.#inbox}.${number}`;
    const name = `mb-${deliver.slice(deliver.indexOf(".") + 1).replaceAll(".", "-")}`;
    const unsubscribe = spool.hear(deliver, (frame) => {
      if (this.#session === session) this.#receive(session, frame);
    });
    const heardAt = spool.options.clock.monotonic();
    const session: Session = {
      name,
      deliver,
      unsubscribe,
      received: 0,
      passed: 0,
      target: Infinity,
      heardAt,
      suspect: false,
    };
    this.#session = session;
    void this.#create(session, number);
  }

  async #create(session: Session, number: number): Promise<void> {
    const { spool, stream, handlers, beforeRestart } = this.#options;
    if (number > 1 && beforeRestart !== undefined) {
      // Nothing is to be heard meanwhile.
      session.heardAt = Infinity;
      await beforeRestart();
      if (this.#session !== session) return;
      session.heardAt = spool.options.clock.monotonic();
    }
    const result = await this.#createConsumer(session);
    if (this.#session !== session) return;
    if (result.kind !== "ok") {
      if (this.#failures++ % 10 === 0)
        spool.options.log.warn("feed not created", { stream, error: result.text });
      this.#drop();
      const delay = Math.min(firstRetryMs * 2 ** Math.min(this.#failures, 10), lastRetryMs);
      this.#cancelRetry = spool.timers.after(delay, () => this.#restart("creation failed"));
      return;
    }
    this.#failures = 0;
    session.heardAt = spool.options.clock.monotonic();
    if (number > 1) handlers.onRestarted?.();
    if (result.value["num_pending"] === 0 && session.received === 0) this.#caughtUp(session);
  }

  async #createConsumer(session: Session): Promise<ApiResult> {
    const { spool, stream, filter, start } = this.#options;
    const target =
      start.kind === "sequence" ? (start.target ?? 0) : await lastSequence(spool, stream, filter);
    if (target === undefined) return { kind: "unanswered", text: "the last sequence is not known" };
    session.target = target;
    return callApi(spool, {
      subject: `CONSUMER.CREATE.${stream}.${session.name}`,
      body: { stream_name: stream, config: this.#config(session) },
      timeoutMs: createTimeoutMs,
    });
  }

  #caughtUp(session: Session): void {
    if (this.#session === session && session.passed >= session.target) this.#options.handlers.onCaughtUp();
  }

  #config(session: Session): object {
    const { filter, start, headersOnly } = this.#options;
    const from =
      start.kind === "sequence"
        ? { deliver_policy: "by_start_sequence", opt_start_seq: Math.max(1, this.#position + 1) }
        : { deliver_policy: "last_per_subject" };
    return {
      name: session.name,
      deliver_subject: session.deliver,
      filter_subject: filter,
      ...from,
      ack_policy: "none",
      max_deliver: 1,
      replay_policy: "instant",
      flow_control: true,
      idle_heartbeat: heartbeatMs * nsPerMs,
      inactive_threshold: inactiveThresholdMs * nsPerMs,
      mem_storage: true,
      num_replicas: 1,
      headers_only: headersOnly,
    };
  }

  /** Looks for a sign of life. */
  #look(): void {
    const { spool } = this.#options;
    const session = this.#session;
    if (session === undefined || !spool.connected()) return;
    if (spool.options.clock.monotonic() - session.heardAt < silentMs) session.suspect = false;
    else if (session.suspect) this.#restart("silent");
    else session.suspect = true;
  }

  #receive(session: Session, frame: Frame): void {
    const { spool, start, handlers } = this.#options;
    session.heardAt = spool.options.clock.monotonic();
    const read = (): MsgImpl => frame.toMsg(spool.nc);
    const delivery = parseDelivery(frame.reply);
    if (delivery === undefined && frame.subject === session.deliver) {
      this.#control(session, read());
      return;
    }
    if (delivery === undefined || delivery.consumerSeq !== session.received + 1) {
      this.#restart("gap");
      return;
    }
    session.received = delivery.consumerSeq;
    const { seq } = delivery;
    if (start.kind === "sequence" && seq <= this.#position) {
      this.close();
      handlers.onRegressed?.();
      return;
    }
    this.#position = Math.max(this.#position, seq);
    session.passed = Math.max(session.passed, seq);
    handlers.onMessage(seq, read);
    if (delivery.pending === 0) this.#caughtUp(session);
  }

  /** Flow control wants an answer; a heartbeat says how far the consumer has come. */
  #control(session: Session, message: MsgImpl): void {
    const { spool, handlers } = this.#options;
    const headers = message.headers;
    if (headers === undefined) return;
    if (message.reply !== undefined && message.reply !== "") {
      spool.nc.publish(message.reply);
      return;
    }
    const stalled = headers.get("Nats-Consumer-Stalled");
    if (stalled !== "") spool.nc.publish(stalled);
    const last = headers.get("Nats-Last-Consumer");
    if (last === "") return;
    if (Number(last) !== session.received) {
      this.#restart("missed");
      return;
    }
    if (stalled !== "") return;
    const passed = Number(headers.get("Nats-Last-Stream"));
    session.passed = Math.max(session.passed, passed);
    handlers.onPassed?.(passed);
    // A consumer beats only when it has nothing to send.
    this.#caughtUp(session);
  }
}
