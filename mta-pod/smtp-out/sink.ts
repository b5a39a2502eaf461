/** A connection that leads nowhere: takes every message as a host would, and no socket is ever made. Never fails. */
import { reply } from "../smtp/reply.ts";
import type { PeerFacts, Transaction, TransactionResult } from "../smtp/transaction.ts";
import type { Connection, ConnectionEvents } from "./connection.ts";

/** In place of a host's name, in events. */
export const sinkHost = "sink";

const taken = reply(250, "2.0.0", "sink: taken here, nothing was sent");
const facts: PeerFacts = { target: { host: sinkHost, address: "", port: 0 }, tls: "", localAddress: "" };

/** Ready at once; events and results come as from a real one, never within the call that causes them. */
export function openSink(events: ConnectionEvents): Connection {
  let state: "opening" | "idle" | "busy" | "dead" = "opening";
  let sent = 0;
  let abort: (() => void) | undefined;
  let isCloseWanted = false;

  const end = (): void => {
    if (state === "dead") return;
    const wasReady = state !== "opening";
    state = "dead";
    abort?.();
    queueMicrotask(() => {
      if (wasReady) events.closed();
      else events.failed({ stage: "connect", kind: "closed", text: "closed here before it was ready" });
    });
  };

  queueMicrotask(() => {
    if (state !== "opening") return;
    state = "idle";
    events.ready(facts);
  });

  return {
    get facts() {
      return state === "opening" ? undefined : facts;
    },
    get idle() {
      return state === "idle";
    },
    get sent() {
      return sent;
    },
    committed: false,
    send(transaction, done) {
      if (state === "opening" || state === "busy")
        throw new Error(`Cannot send: expected an idle connection, it is ${state}`);
      sent++;
      if (state === "dead") return queueMicrotask(() => done(lost(transaction, "closed")));
      state = "busy";
      abort = () => queueMicrotask(() => done(lost(transaction, "closed")));
      queueMicrotask(() => {
        if (state !== "busy") return;
        abort = undefined;
        state = "idle";
        const result = transaction.mayProceed() ? answered(transaction) : lost(transaction, "fenced");
        if (isCloseWanted) end();
        done(result);
      });
      return undefined;
    },
    close() {
      isCloseWanted = true;
      if (state !== "busy") end();
    },
    destroy: end,
  };
}

function answered({ to }: Transaction): TransactionResult {
  return { kind: "answered", replies: to.map(() => taken) };
}

function lost({ to }: Transaction, kind: "closed" | "fenced"): TransactionResult {
  const text = kind === "fenced" ? "the lease does not allow to finish the transaction" : "closed here";
  return { kind: "fault", fault: { stage: "mail", kind, text }, replies: to.map(() => undefined) };
}
