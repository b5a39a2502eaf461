/**
 * Runs the lease protocol of every shard of a pool against the bucket and the shard streams: carries out what it says and
 * tells it what came of it. Never throws.
 */
import type { Clock } from "#mta-pod/runtime/clock.ts";
import { type Bucket, leaseKey, readLast, writeIf, type Written } from "./bucket.ts";
import type { Spool } from "./connection.ts";
import { isOwner, step } from "./lease-protocol.ts";
import { decodeLease, encodeLease, type Identity } from "./lease-record.ts";
import {
  type Context,
  type Grounds,
  type KeyContent,
  type LeaseAction,
  type LeaseInput,
  type LeaseState,
  type LeaseTimes,
  type LostReason,
  openLease,
} from "./lease-state.ts";
import { deleteMessage } from "./stream-state.ts";

export interface LeasesOptions {
  readonly spool: Spool;
  readonly bucket: Bucket;
  readonly clock: Clock;
  readonly times: LeaseTimes;
  readonly self: Identity;
  readonly onOwned: (shard: number, leaseSeq: number, grounds: Grounds) => void;
  readonly onLost: (shard: number, reason: LostReason) => void;
  /** After every step of a shard's lease. */
  readonly onStep: (shard: number) => void;
}

export interface Leases {
  input(shard: number, input: LeaseInput): void;
  state(shard: number): LeaseState;
  /** Two readings of the clock and a comparison. */
  isOwner(shard: number): boolean;
  /** Told owned and not yet told lost. */
  isTold(shard: number): boolean;
  stop(): void;
}

/** What a key of the bucket holds, as the protocol sees it. */
export function keyContent(text: string | undefined): KeyContent {
  return text === undefined ? "absent" : (decodeLease(text) ?? "unreadable");
}

export function createLeases(options: LeasesOptions): Leases {
  const { spool, clock, times, self } = options;
  const states: LeaseState[] = Array.from({ length: spool.options.shards }, () => openLease(self));
  const told = new Set<number>();
  let stopped = false;

  const context = (): Context => ({ at: { wall: clock.now(), mono: clock.monotonic() }, times });
  const stateOf = (shard: number): LeaseState => states[shard] ?? openLease(self);

  const input = (shard: number, what: LeaseInput): void => {
    if (stopped || states[shard] === undefined) return;
    const next = step(stateOf(shard), what, context());
    states[shard] = next.state;
    for (const action of next.actions) perform(shard, action);
    options.onStep(shard);
  };

  const perform = (shard: number, action: LeaseAction): void => {
    switch (action.kind) {
      case "owned":
        told.add(shard);
        options.onOwned(shard, action.leaseSeq, action.grounds);
        return;
      case "lost":
        told.delete(shard);
        options.onLost(shard, action.reason);
        return;
      case "read":
      case "write":
      case "read-epoch":
      case "publish-epoch":
        void carryOut(options, shard, action).then((result) => input(shard, result));
        return;
      default:
        return action satisfies never;
    }
  };

  return {
    input,
    state: stateOf,
    isOwner: (shard) => !stopped && isOwner(stateOf(shard), context()),
    isTold: (shard) => told.has(shard),
    stop() {
      stopped = true;
    },
  };
}

type Request = Exclude<LeaseAction, { kind: "owned" } | { kind: "lost" }>;

async function carryOut(options: LeasesOptions, shard: number, action: Request): Promise<LeaseInput> {
  const { spool, bucket } = options;
  const { op } = action;
  switch (action.kind) {
    case "read": {
      const read = await bucket.read(leaseKey(shard));
      if (read.kind === "failed") return { kind: "failed", op };
      const record = keyContent(read.kind === "found" ? read.text : undefined);
      return { kind: "read", op, revision: read.revision, record };
    }
    case "write": {
      const text = encodeLease(action.record);
      const written = await bucket.write(leaseKey(shard), text, action.expected);
      return written.kind === "written"
        ? { kind: "written", op, revision: written.seq }
        : unwritten(op, written);
    }
    case "read-epoch": {
      const read = await readLast(spool, spool.names.shardStream(shard), spool.names.leaseSubject(shard));
      return read.kind === "failed" ? { kind: "failed", op } : { kind: "epoch-read", op, seq: read.revision };
    }
    case "publish-epoch": {
      const written = await publishEpoch(options, shard, action.expected);
      return written.kind === "written"
        ? { kind: "epoch-published", op, seq: written.seq }
        : unwritten(op, written);
    }
    default:
      return action satisfies never;
  }
}

function unwritten(op: number, written: Exclude<Written, { kind: "written" }>): LeaseInput {
  return written.kind === "refused" ? { kind: "refused", op } : { kind: "failed", op };
}

async function publishEpoch(
  { spool, self }: LeasesOptions,
  shard: number,
  expected: number,
): Promise<Written> {
  const subject = spool.names.leaseSubject(shard);
  const written = await writeIf(spool, {
    subject,
    payload: JSON.stringify({ v: 1, pod: self.pod, incarnation: self.incarnation }),
    expected,
    headers: [["Nats-Rollup", "sub"]],
  });
  if (written.kind !== "full" || expected === 0) return written;
  // A full shard must still be taken over, or nobody could ever empty it: the old epoch makes room for a smaller one.
  // Its writers are fenced as soon as it is gone, and two who do this still meet in the comparison with 0.
  if (!(await deleteMessage(spool, spool.names.shardStream(shard), expected))) return written;
  return writeIf(spool, { subject, payload: "", expected: 0 });
}
