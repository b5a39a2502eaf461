/**
 * The lease of one shard as one pod sees it: (state, input, clock readings) → (state, actions). Pure, so that the very
 * module that runs is the one that is model-checked. Never throws; an answer that is not waited for is ignored.
 *
 * Why two pods never own at once: an owner counts itself one for `fenceMs` from when it SENT the last write known to be
 * applied; another takes over only after one write stood unchanged for `ttlMs` of its own monotonic clock, and a write
 * is seen only after it was sent. So clocks may differ in speed by less than ttlMs / fenceMs.
 */
import { isSame, type LeaseRecord } from "./lease-record.ts";
import { lose, stepHolding } from "./lease-holding.ts";
import {
  type Context,
  elapsedMs,
  type Grounds,
  isPastFence,
  isSameWrite,
  type LeaseInput,
  type LeaseState,
  observe,
  type Phase,
  type Seen,
  type Step,
  stay,
} from "./lease-state.ts";

/** May work on the shard go on? Asked synchronously before MAIL and before the final dot. */
export function isOwner(state: LeaseState, context: Context): boolean {
  const { phase } = state;
  if (phase.kind !== "holding" || phase.epoch.kind !== "published") return false;
  return phase.release === undefined && !isPastFence(phase, context);
}

export function step(state: LeaseState, input: LeaseInput, context: Context): Step {
  const { phase } = state;
  if (phase.kind !== "holding") return stepOutside(state, input, context);
  if (!isPastFence(phase, context)) return stepHolding({ state, phase, context }, input);
  // The fence first: whatever has just arrived, an owner past it has lost what it had.
  const lost = lose(state, phase, "fenced");
  const next = stepOutside(lost.state, input, context);
  return { state: next.state, actions: [...lost.actions, ...next.actions] };
}

function stepOutside(state: LeaseState, input: LeaseInput, context: Context): Step {
  const { phase } = state;
  switch (input.kind) {
    case "seen":
      return stay(isLagging(state.seen, input.revision) ? state : look(state, input, context));
    case "tick":
      return prepare(state, input, context);
    case "read":
      return phase.kind === "confirming" && phase.op === input.op
        ? afterRead(state, phase.grounds, { found: input, context })
        : stay(state);
    case "epoch-read":
      return phase.kind === "reading-epoch" && phase.op === input.op
        ? claim(state, phase.grounds, { expected: input.seq, context })
        : stay(state);
    case "written":
      return phase.kind === "claiming" && phase.op === input.op
        ? win(state, phase, { revision: input.revision, context })
        : stay(state);
    case "refused":
    case "failed":
      // A claim that was applied all the same shows as a record of our own, and is resumed.
      return phase.kind !== "outside" && phase.kind !== "holding" && phase.op === input.op
        ? stay({ ...state, phase: { kind: "outside" } })
        : stay(state);
    case "release":
    case "epoch-lost":
    case "epoch-published":
      return stay(state);
    default:
      return input satisfies never;
  }
}

/** A watch that was set up anew, on another replica, may be behind what was read or written here. */
function isLagging(seen: Seen | undefined, revision: number): boolean {
  return seen !== undefined && revision < seen.revision;
}

/** What is decided about one write does not hold for the next: a claim that was being prepared on it is dropped. */
function look(state: LeaseState, found: LeaseInput & { kind: "seen" }, { at }: Context): LeaseState {
  const next = observe(state, found, at.mono);
  const { kind } = state.phase;
  const isPreparing = kind === "confirming" || kind === "reading-epoch";
  return next !== state && isPreparing ? { ...next, phase: { kind: "outside" } } : next;
}

function prepare(state: LeaseState, input: LeaseInput & { kind: "tick" }, context: Context): Step {
  if (state.phase.kind !== "outside" || state.seen === undefined) return stay(state);
  const grounds = groundsFor(state, state.seen, { input, context });
  if (grounds === undefined) return stay(state);
  const op = state.lastOp + 1;
  return {
    state: { ...state, lastOp: op, phase: { kind: "confirming", op, grounds } },
    actions: [{ kind: "read", op }],
  };
}

interface Asked {
  readonly input: LeaseInput & { kind: "tick" };
  readonly context: Context;
}

/** Why the lease may be claimed now, if it may. */
function groundsFor(state: LeaseState, seen: Seen, { input, context }: Asked): Grounds | undefined {
  const { record } = seen;
  if (record === "unreadable") return undefined;
  if (record !== "absent" && input.former !== undefined && record.state === "held")
    if (isSame(record, input.former))
      // Our own earlier start: wanted or not, it cannot release what it had, and nobody can have it sooner than we.
      return { how: "witnessed", from: record };
  if (!input.wanted) return undefined;
  const stood = context.at.mono - seen.since >= context.times.ttlMs;
  // A key that vanished may have had an owner a moment ago.
  if (record === "absent")
    return seen.first || stood ? { how: stood ? "expired" : "absent", from: undefined } : undefined;
  switch (record.state) {
    case "released":
      return { how: "released", from: record };
    case "freed":
      return { how: "witnessed", from: record };
    case "held":
      if (isSame(record, state.self)) return state.untold ?? { how: "resumed", from: record };
      return stood ? { how: "expired", from: record } : undefined;
    default:
      return record.state satisfies never;
  }
}

interface Found {
  readonly found: LeaseInput & { kind: "read" };
  readonly context: Context;
}

function afterRead(state: LeaseState, grounds: Grounds, { found, context }: Found): Step {
  const same =
    state.seen !== undefined &&
    state.seen.revision === found.revision &&
    isSameWrite(state.seen.record, found.record);
  if (!same) return stay({ ...observe(state, found, context.at.mono), phase: { kind: "outside" } });
  const op = state.lastOp + 1;
  return {
    state: { ...state, lastOp: op, phase: { kind: "reading-epoch", op, grounds } },
    actions: [{ kind: "read-epoch", op }],
  };
}

interface Ready {
  /** The epoch's sequence, read before the claim: if the claim is applied, nobody won between. */
  readonly expected: number;
  readonly context: Context;
}

function claim(state: LeaseState, grounds: Grounds, { expected, context }: Ready): Step {
  const op = state.lastOp + 1;
  const renewals = state.renewals + 1;
  const record: LeaseRecord = { ...state.self, renewals, state: "held" };
  const sent = { renewals, at: context.at };
  return {
    state: {
      ...state,
      lastOp: op,
      renewals,
      untold: grounds,
      phase: { kind: "claiming", op, grounds, expected, sent },
    },
    actions: [{ kind: "write", op, expected: state.seen?.revision ?? 0, record }],
  };
}

interface Won {
  readonly revision: number;
  readonly context: Context;
}

function win(state: LeaseState, phase: Phase & { kind: "claiming" }, { revision, context }: Won): Step {
  const record: LeaseRecord = { ...state.self, renewals: phase.sent.renewals, state: "held" };
  const known = observe(state, { revision, record }, context.at.mono);
  if (elapsedMs(phase.sent.at, context.at) >= context.times.fenceMs)
    return stay({ ...known, phase: { kind: "outside" } });
  const op = state.lastOp + 1;
  return {
    state: {
      ...known,
      lastOp: op,
      phase: {
        kind: "holding",
        revision,
        confirmed: phase.sent.at,
        lastSent: phase.sent,
        unconfirmed: [],
        op: undefined,
        epoch: { kind: "publishing", op },
        grounds: phase.grounds,
        release: undefined,
      },
    },
    actions: [{ kind: "publish-epoch", op, expected: phase.expected }],
  };
}
