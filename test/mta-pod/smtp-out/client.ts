/** Plays the client's side in tests of smtp-out: opens, sends, collects what happens. Not a test itself. */
import { once, EventEmitter } from "node:events";
import { systemClock } from "#mta-pod/runtime/clock.ts";
import { silentLog } from "#mta-pod/runtime/log.ts";
import type { Fault, PeerFacts, Target, Transaction, TransactionResult } from "#mta-pod/smtp/transaction.ts";
import { type Connection, type ConnectOptions, openConnection } from "#mta-pod/smtp-out/connection.ts";
import type { TlsPolicy } from "#mta-pod/smtp-out/tls-policy.ts";

/** Long enough for a machine that does much else. */
export const patient = {
  connectMs: 60_000,
  bannerMs: 60_000,
  commandMs: 60_000,
  dataMs: 60_000,
  finalMs: 60_000,
};
export const hasty = { connectMs: 60, bannerMs: 60, commandMs: 60, dataMs: 60, finalMs: 60 };

export interface Client {
  readonly connection: Connection;
  readonly happened: string[];
  /** Resolves at ready; or with the fault at failed. */
  readonly opened: Promise<PeerFacts | Fault>;
  readonly closed: Promise<void>;
  send(transaction?: Partial<Transaction>): Promise<TransactionResult>;
}

export function client(
  targets: readonly Target[],
  options: Partial<ConnectOptions> & { readonly tlsPolicy?: TlsPolicy } = {},
): Client {
  const happened: string[] = [];
  const events = new EventEmitter();
  const { tlsPolicy, ...rest } = options;
  const connection = openConnection(
    { targets, ehlo: "me.test", tls: "None", timeouts: patient, log: silentLog, ...rest },
    {
      ready(facts) {
        happened.push("ready");
        events.emit("opened", facts);
      },
      failed(fault) {
        happened.push("failed");
        events.emit("opened", fault);
        events.emit("closed");
      },
      closed() {
        happened.push("closed");
        events.emit("closed");
      },
    },
    { clock: systemClock, ...(tlsPolicy === undefined ? {} : { tlsPolicy }) },
  );
  const opened = once(events, "opened").then(([found]: (PeerFacts | Fault)[]) => {
    if (found === undefined) throw new Error("nothing emitted");
    return found;
  });
  return {
    connection,
    happened,
    opened,
    closed: once(events, "closed").then(() => undefined),
    send: (given) =>
      new Promise((resolve) => {
        connection.send(mail(given), (result) => {
          happened.push(`done ${result.kind}`);
          resolve(result);
        });
      }),
  };
}

export function mail(given: Partial<Transaction> = {}): Transaction {
  const message = given.message ?? [Buffer.from("Subject: x\r\n\r\nhello\r\n")];
  return {
    from: "a@x.test",
    to: ["b@y.test"],
    size: message.reduce((sum, piece) => sum + piece.length, 0),
    eightBit: false,
    smtpUtf8: false,
    mayProceed: () => true,
    finalDotMs: () => 0,
    ...given,
    message,
  };
}

/** A result in one line: a code per recipient, or the fault; "?" = no reply known. */
export function inShort(result: TransactionResult): string {
  const codes = result.replies.map((reply) => reply?.code ?? "?").join(" ");
  if (result.kind === "answered") return codes;
  const { stage, kind, reply } = result.fault;
  return `${stage} ${kind}${reply === undefined ? "" : ` ${reply.code}`} [${codes}]`;
}
