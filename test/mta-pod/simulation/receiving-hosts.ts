/**
 * The hosts that mail is delivered to, and connections to them: each counts, by true time, what it has open and what it was sent in
 * the last second. They answer late, refuse, close, and fall silent after a final dot.
 */
import type { ConnectionEvents, Connection } from "#mta-pod/smtp-out/connection.ts";
import { type Reply, reply } from "#mta-pod/smtp/reply.ts";
import type { Fault, Transaction, TransactionResult } from "#mta-pod/smtp/transaction.ts";
import type { Process, VirtualTime } from "./virtual-time.ts";

export interface HostOptions {
  readonly site: string;
  readonly connections: number;
  readonly messagesPerSecond: number | undefined;
  /** One way, ms. */
  readonly wayMs: number;
  /** Shares of transactions. */
  readonly deferred: number;
  readonly refused: number;
  /** The connection breaks after the dot, before the reply. */
  readonly broken: number;
  /** The reply to the dot comes after seconds. */
  readonly slow: number;
  /** The message goes in one write with its envelope (BDAT). */
  readonly isChunking: boolean;
  /** It never closes what is idle. */
  readonly isPatient: boolean;
}

/** Somebody has this open at the host. */
export interface PeerSocket {
  readonly host: HostOptions;
  /** By the client's word: this host's, or a slice of it. */
  readonly site: string;
  readonly process: Process;
  /** After its dot: the id that waits for its reply. */
  committed: string | undefined;
  /** When the last reply to a dot left. */
  answeredAt: number;
}

export interface HostEvents {
  /** MAIL is about to be sent. */
  begins(socket: PeerSocket, transaction: Transaction): void;
  opened(socket: PeerSocket, open: ReadonlySet<PeerSocket>): void;
  /** The final dot is there, and this is what the host will say of each recipient. */
  counted(
    socket: PeerSocket,
    transaction: Transaction,
    facts: { inLastSecond: number; codes: readonly number[] },
  ): void;
  /** It says so, whether or not that is heard: 2xx and 5xx settle. */
  said(socket: PeerSocket, transaction: Transaction, codes: readonly number[]): void;
  /** Nobody will hear that word. */
  unheard(socket: PeerSocket): void;
}

const noticeJitterMs = 6;

export class ReceivingHost {
  readonly options: HostOptions;
  readonly sockets = new Set<PeerSocket>();
  isDown = false;
  counted: number[] = [];
  readonly #time: VirtualTime;
  readonly #chance: () => number;
  readonly #events: HostEvents;

  constructor(options: HostOptions, time: VirtualTime, chance: () => number, events: HostEvents) {
    this.options = options;
    this.#time = time;
    this.#chance = chance;
    this.#events = events;
  }

  /** A process has died: its kernel closes what it had. */
  died(process: Process): void {
    for (const socket of this.sockets)
      if (socket.process === process) this.#time.after(this.#way(), () => void this.sockets.delete(socket));
  }

  #way(): number {
    const { wayMs } = this.options;
    return wayMs + (this.#chance() < 0.1 ? this.#chance() * noticeJitterMs : 0);
  }

  connect(process: Process, events: ConnectionEvents, site = this.options.site): Connection {
    const time = this.#time;
    const way = (): number => this.#way();
    const socket: PeerSocket = {
      host: this.options,
      site,
      process,
      committed: undefined,
      answeredAt: -Infinity,
    };
    let state: "opening" | "idle" | "busy" | "quitting" | "dead" = "opening";
    let facts: Connection["facts"];
    let sent = 0;
    let done: ((result: TransactionResult) => void) | undefined;
    let committed = false;
    let wantsClose = false;
    /** One for each recipient of what is under way. */
    let unanswered: readonly undefined[] = [];
    const target = { host: `mx.${this.options.site}`, address: "192.0.2.1", port: 25 };

    const lost = (stage: Fault["stage"], kind: Fault["kind"]): void => {
      if (state === "dead") return;
      const [before, tell] = [state, done];
      if (committed) this.#events.unheard(socket);
      state = "dead";
      done = undefined;
      committed = false;
      time.after(way(), () => void this.sockets.delete(socket));
      const fault: Fault = { stage, kind, text: kind, target };
      if (before === "opening") events.failed(fault);
      else {
        tell?.({ kind: "fault", fault, replies: unanswered });
        time.timer(process, 0, () => events.closed());
      }
    };
    const later = (run: () => void): void => {
      if (state !== "dead") time.arrive(process, way(), run);
    };
    const finish = (result: TransactionResult): void => {
      const tell = done;
      done = undefined;
      committed = false;
      state = "idle";
      tell?.(result);
      if (wantsClose && state === "idle") quit();
    };
    const quit = (): void => {
      state = "quitting";
      time.after(way(), () => {
        time.after(this.#chance() * 50, () => {
          this.sockets.delete(socket);
          later(() => {
            if (state === "dead") return;
            state = "dead";
            events.closed();
          });
        });
      });
    };
    /** The host closes an idle connection. */
    const tire = (): void => {
      time.after(500 + this.#chance() * 8_000, () => {
        if (!this.sockets.has(socket)) return;
        if (socket.committed !== undefined || this.#chance() < 0.6) return tire();
        this.sockets.delete(socket);
        later(() => lost(committed ? "final" : "mail", "closed"));
        return undefined;
      });
    };
    const take = (transaction: Transaction): void => {
      if (!this.sockets.has(socket)) return;
      const id = transaction.message[0]?.toString("latin1") ?? "";
      socket.committed = id;
      const now = time.now;
      while ((this.counted[0] ?? Infinity) <= now - 1000) this.counted.shift();
      this.counted.push(now);
      const kind = this.#chance();
      const { deferred, refused, broken, slow } = this.options;
      const code = kind < refused ? 550 : kind < refused + deferred ? 451 : 250;
      // Of several some are told "later" by themselves, at their RCPT.
      const codes = transaction.to.map((_, at) =>
        at > 0 && code === 250 && this.#chance() < deferred ? 451 : code,
      );
      this.#events.counted(socket, transaction, { inLastSecond: this.counted.length, codes });
      const isBroken = this.#chance() < broken;
      if (isBroken) this.#events.unheard(socket);
      const thinks = this.#chance() < slow ? 1_000 + this.#chance() * 30_000 : this.#chance() * 5;
      time.after(thinks, () => {
        const isGone = !this.sockets.has(socket);
        // Who was cut off meanwhile has delivered all the same: the host cannot tell.
        this.#events.said(socket, transaction, codes);
        socket.committed = undefined;
        socket.answeredAt = time.now;
        if (isGone) this.#events.unheard(socket);
        if (isBroken) this.sockets.delete(socket);
        if (isBroken) later(() => lost("final", "closed"));
        else
          later(() => {
            if (state !== "busy") return;
            finish({ kind: "answered", replies: codes.map(replyOf) });
          });
      });
    };
    const sendBody = (transaction: Transaction): void => {
      if (state !== "busy") return;
      if (!transaction.mayProceed()) return lost("body", "fenced");
      const ms = transaction.finalDotMs();
      if (ms > 0) return time.timer(process, ms, () => sendBody(transaction));
      committed = true;
      time.after(way(), () => take(transaction));
      return undefined;
    };

    const isRefused = this.isDown;
    time.after(way(), () => {
      if (state === "dead" || !process.alive) return;
      if (!isRefused) {
        this.sockets.add(socket);
        this.#events.opened(socket, this.sockets);
        if (!this.options.isPatient) tire();
      }
      later(() => {
        if (state !== "opening") return;
        if (isRefused) return lost("connect", "refused");
        state = "idle";
        facts = { target, tls: "", localAddress: "" };
        events.ready(facts);
        return undefined;
      });
    });

    return {
      get facts() {
        return facts;
      },
      get idle() {
        return state === "idle";
      },
      get sent() {
        return sent;
      },
      get committed() {
        return committed;
      },
      send: (transaction, tell) => {
        const fail = (stage: Fault["stage"], kind: Fault["kind"]): void =>
          queueMicrotask(() =>
            tell({
              kind: "fault",
              fault: { stage, kind, text: kind, target },
              replies: transaction.to.map(() => undefined),
            }),
          );
        if (state === "dead" || state === "quitting") return fail("mail", "closed");
        if (state !== "idle") throw new Error(`Cannot send: expected an idle connection, it is ${state}`);
        if (!transaction.mayProceed()) return fail("mail", "fenced");
        sent++;
        state = "busy";
        done = tell;
        unanswered = transaction.to.map(() => undefined);
        this.#events.begins(socket, transaction);
        if (this.options.isChunking) return sendBody(transaction);
        // MAIL, RCPT and DATA in one write; the host says 354.
        time.after(way(), () => {
          if (this.sockets.has(socket)) later(() => sendBody(transaction));
        });
        return undefined;
      },
      close: () => {
        wantsClose = true;
        if (state === "opening") lost("connect", "closed");
        else if (state === "idle") quit();
      },
      destroy: () => {
        if (state === "dead") return;
        const stage = state === "opening" ? "connect" : committed ? "final" : "data";
        // The result comes within `destroy` from the real one, too.
        lost(stage, "closed");
      },
    };
  }
}

function replyOf(code: number): Reply {
  return code === 250 ? reply(code, "2.0.0", "taken") : reply(code, "4.2.0", "not taken");
}
