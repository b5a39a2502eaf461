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
  const fail = (kind: Fault["kind"], target?: Target): void =>
    events.failed({ stage: "connect", kind, text: kind, ...(target === undefined ? {} : { target }) });
  const connect = (at: number, target: Target): void => {
    inner = ways.connect(target, {
      ...events,
      failed(fault) {
        const next = targets[at + 1];
        if (isAborted || next === undefined) events.failed(fault);
        else begin(at + 1, next);
      },
    });
  };
  const begin = (at: number, target: Target): void => {
    isWaiting = true;
    ways.admit(target, (isAdmitted) => {
      if (!isWaiting) return;
      isWaiting = false;
      if (isAdmitted) connect(at, target);
      else fail("full", target);
    });
  };
  const abort = (): void => {
    isAborted = true;
    if (!isWaiting) return;
    isWaiting = false;
    queueMicrotask(() => fail("closed"));
  };
  const [first] = targets;
  if (first === undefined) queueMicrotask(() => fail("network"));
  else connect(0, first);
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
