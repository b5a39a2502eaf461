/** The lease protocol of a pod that holds the lease: renewals, the epoch, release, loss. Pure; see lease-protocol.ts. */
import { isSame, type LeaseRecord } from "./lease-record.ts";
import {
  type Context,
  type Holding,
  type KeyContent,
  type LeaseAction,
  type LeaseInput,
  type LeaseState,
  type LostReason,
  observe,
  type Reading,
  type Step,
  stay,
} from "./lease-state.ts";

/** Writes without an answer that may still be applied; one older than these is taken for lost. */
const maxUnconfirmed = 16;

interface Held {
  readonly state: LeaseState;
  readonly phase: Holding;
  readonly context: Context;
}

export function lose(state: LeaseState, phase: Holding, reason: LostReason): Step {
  // Without an epoch nobody was told that the shard is owned.
  const wasTold = phase.epoch.kind === "published";
  const { isSent = false, handOver = null } = phase.release ?? {};
  // Who has it now, or will, finds what we told, although the answer to our release was lost.
  const isReleased = (reason === "taken" || reason === "fenced") && isSent && handOver !== null;
  return {
    state: { ...state, phase: { kind: "outside" } },
    actions: wasTold ? [{ kind: "lost", reason: isReleased ? "released" : reason }] : [],
  };
}

export function stepHolding(held: Held, input: LeaseInput): Step {
  const { state, phase } = held;
  switch (input.kind) {
    case "seen":
      // "absent" or a lower revision: a lagging watch, or a bucket that lost data; the next renewal will tell.
      return input.record === "absent" || input.revision < phase.revision ? stay(state) : found(held, input);
    case "tick":
      return proceed(held);
    case "release":
      return phase.release === undefined
        ? release(held, phase.epoch.kind === "published" ? input.handOver : phase.grounds.from?.handOver)
        : stay(state);
    case "epoch-lost":
      return loseEpoch(held);
    case "written":
      return phase.op?.id === input.op ? written(held, input.revision) : stay(state);
    case "refused":
      return refused(held, input.op);
    case "failed":
      return failed(held, input.op);
    case "read":
      return phase.op?.id === input.op
        ? found({ ...held, phase: { ...phase, op: undefined } }, input)
        : stay(state);
    case "epoch-read":
      return epochRead(held, input);
    case "epoch-published":
      return epochPublished(held, input);
    default:
      return input satisfies never;
  }
}

/** The key was seen to hold this: is it still ours? */
function found(held: Held, key: { readonly revision: number; readonly record: KeyContent }): Step {
  const { phase, context } = held;
  const state = observe(held.state, key, context.at.mono);
  const { record } = key;
  if (typeof record === "string" || !isSame(record, state.self)) return lose(state, phase, "taken");
  if (record.state === "released") return lose(state, phase, "released");
  if (record.state === "freed") return lose(state, phase, "freed");
  return confirm({ state, phase: { ...phase, revision: key.revision }, context }, record.renewals);
}

/** The write `renewals` is known to be applied: the fence counts from when it was sent. */
function confirm({ state, phase, context }: Held, renewals: number): Step {
  const sent = phase.unconfirmed.find((write) => write.renewals === renewals);
  const confirmed = sent === undefined ? phase.confirmed : later(phase.confirmed, sent.at);
  const unconfirmed = phase.unconfirmed.filter((write) => write.renewals > renewals);
  const next = { ...phase, confirmed, unconfirmed };
  const { epoch } = next;
  // Only a write that this process sent after reading proves anything about what it read.
  if (epoch.kind !== "proving" || renewals <= epoch.after) return stay({ ...state, phase: next });
  const op = state.lastOp + 1;
  void context;
  return {
    state: { ...state, lastOp: op, phase: { ...next, epoch: { kind: "publishing", op } } },
    actions: [{ kind: "publish-epoch", op, expected: epoch.expected }],
  };
}

function later(a: Reading, b: Reading): Reading {
  return b.mono > a.mono ? b : a;
}

function written(held: Held, revision: number): Step {
  const { phase, context } = held;
  const op = phase.op;
  if (op === undefined || op.kind === "read") return stay(held.state);
  const record: LeaseRecord = {
    ...held.state.self,
    renewals: op.renewals,
    state: op.kind === "release" ? "released" : "held",
  };
  const state = observe(held.state, { revision, record }, context.at.mono);
  if (op.kind === "release") return lose(state, phase, "released");
  const next = confirm({ state, phase: { ...phase, revision, op: undefined }, context }, op.renewals);
  if (phase.release === undefined || next.state.phase.kind !== "holding") return next;
  return chain(next, (after, holding) => sendRelease({ state: after, phase: holding, context }));
}

function refused(held: Held, op: number): Step {
  const { state, phase } = held;
  if (phase.epoch.kind === "publishing" && phase.epoch.op === op)
    return stay({ ...state, phase: { ...phase, epoch: { kind: "reading", op: undefined } } });
  if (phase.op?.id !== op) return stay(state);
  const id = state.lastOp + 1;
  return {
    state: { ...state, lastOp: id, phase: { ...phase, op: { id, kind: "read", renewals: 0 } } },
    actions: [{ kind: "read", op: id }],
  };
}

function failed(held: Held, op: number): Step {
  const { state, phase } = held;
  if (phase.op?.id === op) return stay({ ...state, phase: { ...phase, op: undefined } });
  const { epoch } = phase;
  // Tried again at the next tick, not at once: a broken connection answers immediately.
  if ((epoch.kind === "publishing" || epoch.kind === "reading") && epoch.op === op)
    return stay({ ...state, phase: { ...phase, epoch: { kind: "reading", op: undefined } } });
  return stay(state);
}

function loseEpoch({ state, phase }: Held): Step {
  if (phase.epoch.kind !== "published") return stay(state);
  // The next owner has published its own.
  if (phase.release?.isSent === true) return lose(state, phase, "taken");
  const grounds = { how: "resumed", from: undefined } as const;
  return {
    state: { ...state, phase: { ...phase, grounds, epoch: { kind: "reading", op: undefined } } },
    actions: [{ kind: "lost", reason: "fenced" }],
  };
}

function epochRead(held: Held, input: LeaseInput & { kind: "epoch-read" }): Step {
  const { state, phase } = held;
  if (phase.epoch.kind !== "reading" || phase.epoch.op !== input.op) return stay(state);
  const epoch = { kind: "proving", expected: input.seq, after: state.renewals } as const;
  return proceed({ ...held, phase: { ...phase, epoch } });
}

function epochPublished({ state, phase }: Held, input: LeaseInput & { kind: "epoch-published" }): Step {
  if (phase.epoch.kind !== "publishing" || phase.epoch.op !== input.op) return stay(state);
  const holding = { ...phase, epoch: { kind: "published", seq: input.seq } as const };
  return {
    state: { ...state, untold: undefined, phase: holding },
    actions: [{ kind: "owned", leaseSeq: input.seq, grounds: phase.grounds }],
  };
}

function release(held: Held, handOver: unknown): Step {
  const phase = { ...held.phase, release: { handOver, isSent: false } };
  if (phase.op !== undefined) return stay({ ...held.state, phase });
  return sendRelease({ ...held, phase });
}

/** What is due on the key and on the epoch, one operation each at a time. */
function proceed(held: Held): Step {
  const { phase, context } = held;
  let next = stay({ ...held.state, phase });
  if (phase.epoch.kind === "reading" && phase.epoch.op === undefined && phase.release === undefined) {
    const op = held.state.lastOp + 1;
    next = {
      state: { ...held.state, lastOp: op, phase: { ...phase, epoch: { kind: "reading", op } } },
      actions: [{ kind: "read-epoch", op }],
    };
  }
  return chain(next, (state, holding) => {
    if (holding.op !== undefined) return stay(state);
    if (holding.release !== undefined) return sendRelease({ state, phase: holding, context });
    return isRenewalDue(holding, context) ? send({ state, phase: holding, context }, "renewal") : stay(state);
  });
}

function isRenewalDue(phase: Holding, { at, times }: Context): boolean {
  if (phase.epoch.kind === "proving" && phase.lastSent.renewals <= phase.epoch.after) return true;
  return at.mono - phase.lastSent.at.mono >= times.renewEveryMs;
}

function sendRelease(held: Held): Step {
  return send(held, "release");
}

function send({ state, phase, context }: Held, kind: "renewal" | "release"): Step {
  const id = state.lastOp + 1;
  const renewals = state.renewals + 1;
  const sent = { renewals, at: context.at };
  const handOver = kind === "release" ? phase.release?.handOver : undefined;
  const record: LeaseRecord = {
    ...state.self,
    renewals,
    state: kind === "release" ? "released" : "held",
    ...(handOver === undefined ? {} : { handOver }),
  };
  const holding: Holding = {
    ...phase,
    release:
      kind === "release" && phase.release !== undefined ? { ...phase.release, isSent: true } : phase.release,
    lastSent: sent,
    unconfirmed: [...phase.unconfirmed, sent].slice(-maxUnconfirmed),
    op: { id, kind, renewals },
  };
  return {
    state: { ...state, renewals, lastOp: id, phase: holding },
    actions: [{ kind: "write", op: id, expected: phase.revision, record }],
  };
}

function chain(first: Step, then: (state: LeaseState, phase: Holding) => Step): Step {
  if (first.state.phase.kind !== "holding") return first;
  const second = then(first.state, first.state.phase);
  const actions: readonly LeaseAction[] = [...first.actions, ...second.actions];
  return { state: second.state, actions };
}
