/** One delivering connection: ready at the first target that will, then transaction after transaction, one result each. */
import type { Clock } from "../runtime/clock.ts";
import { maxDescription } from "../smtp/reply.ts";
import type { Fault, FaultKind, PeerFacts, Transaction, TransactionResult } from "../smtp/transaction.ts";
import { chunkParts, dataParts } from "./body.ts";
import { Deadline } from "./deadline.ts";
import { Exchange, type Step } from "./exchange.ts";
import { type Extensions, noExtensions } from "./extensions.ts";
import { type Opened, Opening, type OpeningOptions } from "./opening.ts";
import { bdatSize, refuseWhole, tooLate } from "./preflight.ts";
import { createTlsPolicy, type TlsPolicy } from "./tls-policy.ts";
import type { Wire, WireEvents } from "./wire.ts";

export interface ConnectOptions extends OpeningOptions {
  /**
   * A message up to so many bytes goes by BDAT, in one write with its envelope, where PIPELINING and CHUNKING are offered;
   * a longer one by DATA, so that it is not sent before a recipient is accepted. Default 65,536, at most 200,000; 0 = never.
   */
  readonly maxBdatBytes?: number;
}

/** Exactly one of: `failed`; `ready` and later `closed`. */
export interface ConnectionEvents {
  ready(facts: PeerFacts): void;
  /** No target would; nothing was sent, every socket is closed. */
  failed(fault: Fault): void;
  /** The socket is closed, whoever closed it. A transaction that was under way has had its result before. */
  closed(): void;
}

export interface Connection {
  /** Undefined until it is ready. */
  readonly facts: PeerFacts | undefined;
  /** Ready, and `send` may be called. Never true again once the peer or we began to close. */
  readonly idle: boolean;
  /** Transactions begun. */
  readonly sent: number;
  /** The end of a message is written and its reply is due: who aborts now risks that the mail is delivered twice. */
  readonly committed: boolean;
  /**
   * `done` is called once, never within `send`; in it the connection is idle again, if it can go on. On a connection that
   * has closed since it was idle, it is a fault of kind "closed" at "mail".
   * @throws Error while another transaction is under way, or before the connection is ready
   */
  send(transaction: Transaction, done: (result: TransactionResult) => void): void;
  /** QUIT as soon as no transaction is under way; before it is ready: as `destroy`. */
  close(): void;
  /** At once. A transaction under way ends in a fault of kind "closed". */
  destroy(): void;
}

export interface ConnectionDeps {
  readonly clock: Clock;
  /** Shared by the connections of a pod; absent = nothing is remembered beyond this connection. */
  readonly tlsPolicy?: TlsPolicy;
}

/** A peer that does not say goodbye is not waited for. */
const maxQuitMs = 5_000;

export function openConnection(
  options: ConnectOptions,
  events: ConnectionEvents,
  deps: ConnectionDeps,
): Connection {
  return new Outbound(options, events, deps);
}

type Settled = Extract<Step, { kind: "done" }>;

class Outbound implements Connection {
  readonly #options: ConnectOptions;
  readonly #events: ConnectionEvents;
  readonly #policy: TlsPolicy;
  readonly #deadline: Deadline;
  readonly #opening: Opening;
  #state: "opening" | "idle" | "busy" | "quitting" | "dead" = "opening";
  #facts: PeerFacts | undefined;
  #extensions: Extensions = noExtensions;
  #wire: Wire | undefined;
  #exchange: Exchange | undefined;
  #transaction: Transaction | undefined;
  #done: ((result: TransactionResult) => void) | undefined;
  /** The result, held back until all that came with the last reply is read: more than that reply = out of step. */
  #settled: Settled | undefined;
  #sent = 0;
  #needsReset = false;
  #closeWanted = false;
  #announced = false;
  /** Inside `send`: a result has to wait until it returns. */
  #sending = false;

  constructor(options: ConnectOptions, events: ConnectionEvents, deps: ConnectionDeps) {
    this.#options = options;
    this.#events = events;
    this.#policy = deps.tlsPolicy ?? createTlsPolicy({ clock: deps.clock });
    this.#deadline = new Deadline(deps.clock, () => this.#lost("timeout", "no answer in time"));
    const opening = {
      opened: (session: Opened) => this.#opened(session),
      failed: (fault: Fault) => {
        this.#state = "dead";
        events.failed(fault);
      },
    };
    this.#opening = new Opening(options, opening, { clock: deps.clock, tlsPolicy: this.#policy });
  }

  get facts(): PeerFacts | undefined {
    return this.#facts;
  }

  get idle(): boolean {
    return this.#state === "idle";
  }

  get sent(): number {
    return this.#sent;
  }

  get committed(): boolean {
    return this.#exchange?.committed ?? false;
  }

  send(transaction: Transaction, done: (result: TransactionResult) => void): void {
    if (this.#state === "dead" || this.#state === "quitting") {
      queueMicrotask(() => done(tooLate(transaction)));
      return;
    }
    if (this.#state !== "idle")
      throw new Error(`Cannot send: expected an idle connection, it is ${this.#state}`);
    this.#state = "busy";
    this.#done = done;
    const refusal = refuseWhole(transaction, this.#extensions);
    if (refusal !== undefined) {
      this.#settled = { kind: "done", result: refusal, reusable: true };
      queueMicrotask(() => this.#settle());
      return;
    }
    this.#transaction = transaction;
    const exchange = new Exchange(transaction, {
      extensions: this.#extensions,
      reset: this.#needsReset,
      bdatSize: bdatSize(transaction, this.#extensions, this.#bdatLimit()),
    });
    this.#exchange = exchange;
    this.#sending = true;
    const first = exchange.start();
    if (first.kind !== "done") this.#sent++;
    this.#take(first);
    this.#sending = false;
    if (this.#settled !== undefined) queueMicrotask(() => this.#settle());
  }

  close(): void {
    if (this.#state === "opening") return this.destroy();
    this.#closeWanted = true;
    if (this.#state === "idle") this.#quit();
  }

  destroy(): void {
    if (this.#state === "opening") return this.#opening.abort();
    this.#lost("closed", "the connection is destroyed here");
  }

  #opened({ wire, facts, extensions }: Opened): WireEvents {
    this.#wire = wire;
    this.#facts = facts;
    this.#extensions = extensions;
    this.#state = "idle";
    // After the chunk that made it ready: what else is in it was not asked for.
    queueMicrotask(() => {
      if (this.#state !== "idle") return;
      this.#announced = true;
      this.#events.ready(facts);
    });
    return {
      reached: () => {},
      connected: () => {},
      secured: () => {},
      reply: (code, text) => this.#reply(code, text),
      read: (more) => this.#read(more),
      progress: () => this.#deadline.arm(this.#options.timeouts.dataMs),
      lost: (kind, text) => this.#lost(kind, text),
      closed: () => {
        this.#deadline[Symbol.dispose]();
        if (this.#announced) this.#events.closed();
        else this.#events.failed({ stage: "ehlo", kind: "closed", text: "closed as soon as it was ready" });
      },
    };
  }

  #bdatLimit(): number {
    return this.#policy.isBdatBroken(this.#facts?.target.host ?? "")
      ? 0
      : (this.#options.maxBdatBytes ?? 65_536);
  }

  #reply(code: number, text: string): void {
    if (this.#state === "busy" && this.#exchange !== undefined && this.#settled === undefined) {
      return this.#take(this.#exchange.reply(code, text));
    }
    if (this.#state === "busy" && this.#settled !== undefined) {
      this.#settled = { ...this.#settled, reusable: false };
      return;
    }
    // Idle: 421 or something nobody asked for. Quitting: goodbye.
    this.#lost("closed", "a reply that was not asked for");
  }

  #read(more: boolean): void {
    if (this.#settled !== undefined) {
      if (more) this.#settled = { ...this.#settled, reusable: false };
      this.#settle();
    } else if (more && this.#state === "idle") this.#lost("protocol", "bytes that were not asked for");
  }

  #take(step: Step): void {
    switch (step.kind) {
      case "wait":
        return this.#await();
      case "command":
        this.#wire?.write(step.text);
        return this.#await();
      case "body":
        return this.#writeBody(step.lead, step.how);
      case "done":
        this.#settled = step;
        return;
      default:
        return step satisfies never;
    }
  }

  #await(): void {
    const { commandMs, finalMs } = this.#options.timeouts;
    this.#deadline.arm(this.#exchange?.awaited === "final" ? finalMs : commandMs);
  }

  #writeBody(lead: string, how: "data" | "bdat"): void {
    const transaction = this.#transaction;
    if (transaction === undefined) return;
    this.#deadline.arm(this.#options.timeouts.dataMs);
    const parts = how === "data" ? dataParts(transaction.message) : chunkParts(transaction.message);
    this.#wire?.writeMessage(lead, parts, {
      finishMs: () => {
        if (transaction.mayProceed()) return transaction.finalDotMs();
        this.#lost("fenced", "the lease does not allow to finish the transaction");
        return undefined;
      },
      written: () => {
        this.#exchange?.bodyWritten();
        this.#await();
      },
    });
  }

  /** The end of this connection, from either side: the transaction under way gets its result, then `closed` follows. */
  #lost(kind: FaultKind, text: string): void {
    if (this.#state === "dead" || this.#state === "opening") return;
    const settled = this.#settled?.result ?? this.#exchange?.lost(kind, text.slice(0, maxDescription));
    this.#state = "dead";
    this.#deadline[Symbol.dispose]();
    this.#wire?.destroy();
    if (settled === undefined) return;
    if (this.#sending) queueMicrotask(() => this.#report(settled));
    else this.#report(settled);
  }

  #settle(): void {
    const settled = this.#settled;
    if (settled === undefined || this.#state !== "busy") return;
    if (!settled.reusable) return this.#lost("closed", "out of step");
    this.#needsReset = this.#exchange?.leavesOpen ?? this.#needsReset;
    this.#deadline.disarm();
    const full = this.#sent >= this.#extensions.maxTransactions;
    this.#state = this.#closeWanted || full ? "quitting" : "idle";
    if (this.#state === "quitting") this.#quit();
    this.#report(settled.result);
  }

  #report(result: TransactionResult): void {
    const done = this.#done;
    const target = this.#facts?.target;
    if (this.#exchange?.bdatUnknown === true && target !== undefined)
      this.#policy.rememberBdatBroken(target.host);
    this.#done = undefined;
    this.#settled = undefined;
    this.#exchange = undefined;
    this.#transaction = undefined;
    if (result.kind === "fault" && result.fault.target === undefined && target !== undefined) {
      done?.({ ...result, fault: { ...result.fault, target } });
    } else done?.(result);
  }

  #quit(): void {
    this.#state = "quitting";
    this.#deadline.arm(Math.min(this.#options.timeouts.commandMs, maxQuitMs));
    this.#wire?.write("QUIT\r\n");
  }
}
