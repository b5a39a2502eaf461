/** A connection to the first target that will, as `smtp-out/opening.ts` makes it. */
import type { Connection, ConnectionEvents } from "#mta-pod/smtp-out/connection.ts";
import type { Fault, Target } from "#mta-pod/smtp/transaction.ts";

interface Ways {
  connect(target: Target, events: ConnectionEvents): Connection;
  admit(target: Target, then: (isAdmitted: boolean) => void): void;
}

export function connectInTurn(targets: readonly Target[], ways: Ways, events: ConnectionEvents): Connection {
  let inner: Connection | undefined;
  let isAborted = false;
  let isWaiting = false;
  let isFull = false;
  const fail = (kind: Fault["kind"]): void => events.failed({ stage: "connect", kind, text: kind });
  const connect = (at: number, target: Target): void => {
    inner = ways.connect(target, {
      ...events,
      failed(fault) {
        if (isAborted || (targets[at + 1] === undefined && !isFull)) events.failed(fault);
        else begin(at + 1);
      },
    });
  };
  const begin = (at: number): void => {
    const target = targets[at];
    if (target === undefined) return fail(isFull ? "full" : "network");
    isWaiting = true;
    ways.admit(target, (isAdmitted) => {
      if (!isWaiting) return;
      isWaiting = false;
      if (isAdmitted) return connect(at, target);
      isFull = true;
      return begin(at + 1);
    });
    return undefined;
  };
  const abort = (): void => {
    isAborted = true;
    if (!isWaiting) return;
    isWaiting = false;
    queueMicrotask(() => fail("closed"));
  };
  // As the real one does, once the caller has what this returns.
  queueMicrotask(() => (isAborted ? fail("closed") : begin(0)));
  return {
    get facts() {
      return inner?.facts;
    },
    get idle() {
      return inner?.idle === true;
    },
    get sent() {
      return inner?.sent ?? 0;
    },
    get committed() {
      return inner?.committed === true;
    },
    send(transaction, done) {
      if (inner === undefined) throw new Error("Cannot send: expected a connection that is ready");
      inner.send(transaction, done);
    },
    close() {
      abort();
      inner?.close();
    },
    destroy() {
      abort();
      inner?.destroy();
    },
  };
}
