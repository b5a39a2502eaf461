/**
 * CORRIDOR: makes a decision of settle true, in the order of design.md §3: DSN before delete, entry before its state,
 * state acknowledged before the wait. What cannot be written is kept in memory and written again; nothing is retried early.
 */
import { hashToken } from "#crds/values/hash.ts";
import { type Envelope, entryName } from "#crds/wire/envelope.ts";
import { idHashOf, type StateRecord } from "#crds/wire/state-record.ts";
import type { Intake } from "./intake.ts";
import { moveEntry } from "./moves.ts";
import { report } from "./outcome-report.ts";
import type { Pod } from "./pod.ts";
import type { Dispatch } from "./schedule/types.ts";
import { composeDsn } from "./settle/dsn.ts";
import type { Decision } from "./settle/decide.ts";
import type { PeerFacts } from "./smtp/transaction.ts";

const rewriteMs = 2000;
/** A shard whose epoch was lost with the end of its stream, or whose owner was cut off, is ours again within so many of those. */
const maxWaits = 6;

/** One attempt's facts, as settlement needs them. */
export interface Attempted {
  readonly handle: number;
  readonly shard: number;
  readonly seq: number;
  readonly subject: string | undefined;
  readonly leaseSeq: number;
  /** Sequence of the state record this attempt began from, 0 = none. */
  readonly stateSeq: number;
  /** When both were read or stored, monotonic ms. */
  readonly since?: number | undefined;
  /** How often it was attempted, this time included. */
  readonly attempt: number;
  readonly envelope: Envelope;
  readonly body: Buffer;
  readonly provider: string;
  readonly source: string;
  readonly rule: string | undefined;
  readonly peer: PeerFacts | undefined;
}

interface Deferral {
  readonly attempted: Attempted;
  /** What is left to do. */
  readonly rest: StateRecord;
  /** Somebody has it by now, or was told that nobody will. */
  readonly isTaken: boolean;
  /** How often it was looked whether the shard is ours again. */
  readonly waits: number;
}

export interface Settlement {
  /** `done` once the entry is deleted, or its state is stored, or its shard is gone. */
  carryOut(attempted: Attempted, decision: Decision, done: () => void): void;
  /**
   * Only tells: the entry is somebody else's to change, as a parent is. `done(false)` = the shard is gone before the report is stored, and the
   * next owner finds all as it was.
   */
  tell(attempted: Attempted, decision: Decision, done: (isTold: boolean) => void): void;
}

export interface SettlementDeps {
  readonly pod: Pod;
  readonly intake: Intake;
  owns(shard: number): boolean;
  /** Of the lease under which the shard is owned now. */
  leaseSeqOf(shard: number): number;
  /** It is being handed over: its index is gone, and the next owner reads all states. */
  isLeaving(shard: number): boolean;
  /** An owner of the shard before us has it under way. */
  isOthers(shard: number, seq: number): boolean;
  /** It was told to the shard's next owner as still under way here: that one leaves it alone until we are through with it. */
  isAwaited(shard: number, seq: number): boolean;
}

export function createSettlement(deps: SettlementDeps): Settlement {
  const { pod, intake, owns, leaseSeqOf, isLeaving, isAwaited, isOthers } = deps;
  const { scheduler, clock, entries, states } = pod;

  const remove = (attempted: Attempted, done: () => void) => {
    const { shard, seq, subject, handle, stateSeq, envelope, since } = attempted;
    // Before the delete: if this pod dies in between, whoever owns the shard next has heard that it is done.
    pod.settled.note(envelope);
    entries.remove({ shard, seq, subject, entry: envelope, since }, () => {
      scheduler.settle(handle);
      // Only now: a state without its entry is an orphan that the next owner drops; the reverse would forget attempts.
      if (stateSeq > 0) states.remove(shard, stateSeq, { of: seq, since });
      if (envelope.bodyChunks > 0 && !envelope.isBodyShared) void entries.removeBody(envelope.id);
      done();
    });
  };

  /** Of what nobody has taken yet the next owner knows all: a copy too many would do more harm than an attempt too many. */
  const mayStoreAnew = ({ attempted: { shard, seq, leaseSeq }, isTaken }: Deferral): boolean =>
    owns(shard) ? leaseSeqOf(shard) !== leaseSeq : isTaken && isAwaited(shard, seq);

  const writeState = (deferral: Deferral, done: () => void) => {
    const { attempted, rest, isTaken, waits } = deferral;
    const { shard, seq, handle, leaseSeq } = attempted;
    const again = (next: Deferral): void => void setTimeout(() => writeState(next, done), rewriteMs);
    void states.write(shard, seq, { record: rest, leaseSeq }).then((written) => {
      if (written.kind === "unavailable" && owns(shard)) {
        pod.log.warn("state not stored", { shard, seq, id: attempted.envelope.id, reason: written.text });
        return again(deferral);
      }
      if (written.kind !== "written" && mayStoreAnew(deferral)) return storeAnew(deferral, done);
      // Nobody else need have it: a stream that lost its end has lost our epoch, and who was cut off may come back to its shard.
      if (written.kind !== "written" && isTaken && waits < maxWaits)
        return again({ ...deferral, waits: waits + 1 });
      if (written.kind !== "written") return done();
      // The index was read again meanwhile: it has the entry as one that was never attempted, and does not look for its state.
      if (scheduler.entryOf(handle) === undefined && owns(shard) && !isLeaving(shard))
        return storeAnew({ ...deferral, attempted: { ...attempted, stateSeq: written.stateSeq } }, done);
      scheduler.defer(handle, rest.due, rest.attempt, clock.now());
      return done();
    });
  };

  /**
   * While the attempt was under way its shard was read again, or went and came back, or is another's now, who waits for us. The index there
   * has the entry as it was before, and would send it again to who has it by now: it goes, and what is left of it comes as a new one.
   */
  const storeAnew = (deferral: Deferral, done: () => void): void => {
    const { attempt, due, open } = deferral.rest;
    const { shard, seq, envelope } = deferral.attempted;
    const again = (): void => {
      if (owns(shard) || mayStoreAnew(deferral)) setTimeout(() => storeAnew(deferral, done), rewriteMs);
      else done();
    };
    void isUntouched(deferral).then((answer) => {
      if (answer === "unknown") return again();
      // Somebody else has had the shard in between, and has done with it, has tried it as well, or is still at it.
      if (answer === "no" || pod.settled.was(envelope) || isOthers(shard, seq)) return done();
      const changed = { attempt, due };
      return moveEntry(pod, { ...deferral.attempted, open }, { shard, changed }, (isMoved) => {
        // A replica that lags would still show it to whoever has it in an index, and waits for us.
        if (isMoved) setTimeout(done, rewriteMs);
        else again();
      });
    });
  };

  /** The entry is there, and what is noted of it is what this attempt began from, or has noted itself. */
  const isUntouched = async ({ attempted, rest }: Deferral): Promise<"yes" | "no" | "unknown"> => {
    const { shard, seq, envelope, stateSeq } = attempted;
    const [stored, state] = await Promise.all([entries.fetch(shard, seq), states.read(shard, seq)]);
    if (stored.kind === "unavailable" || state.kind === "unavailable") return "unknown";
    if (stored.kind !== "entry" || entryName(stored.envelope) !== entryName(envelope)) return "no";
    if (state.kind === "none") return "yes";
    const { attempt, due } = state.record;
    const isOurs = attempt === rest.attempt && due === rest.due;
    return state.stateSeq <= stateSeq || isOurs ? "yes" : "no";
  };

  /** `told` once the report is stored; `left` when the shard is gone before: the next owner finds the entry as it was, and tells. */
  const notify = (
    attempted: Attempted,
    decision: Decision,
    { told, left }: { told(): void; left(): void },
  ) => {
    const { envelope } = attempted;
    if (decision.notify.length === 0) return told();
    const now = clock.now();
    const body = composeDsn({
      reportingMta: pod.config().manifest.hostname,
      envelope,
      original: attempted.body,
      outcomes: decision.recipients.filter(({ index }) => decision.notify.includes(index)),
      remoteMta: attempted.peer?.target.host,
      now,
      random: pod.random,
    });
    const id = pod.newId();
    const message = {
      id,
      tenant: envelope.tenant,
      stream: "default",
      class: "transactional",
      from: "",
      to: [envelope.from],
      body,
      eightBit: envelope.smtpUtf8,
      smtpUtf8: envelope.smtpUtf8,
      receivedAt: now,
      expiresAt: now + pod.config().manifest.retry.maxAgeMs,
      sendAt: 0,
    } as const;
    const isDelivered = decision.recipients.some(({ outcome }) => outcome === "delivered");
    let isOver = false;
    const over = (then: () => void) => {
      if (!isOver) then();
      isOver = true;
    };
    const attempt = () =>
      intake.put(
        message,
        (stored) => {
          if (stored.kind === "stored") return over(told);
          if (!owns(attempted.shard)) {
            if (!isDelivered) return left();
            // The next owner would deliver it once more to who has it: it goes now, and its report as soon as it can.
            over(told);
          }
          // A pod that ends does not wait for it.
          setTimeout(attempt, rewriteMs).unref();
          return undefined;
        },
        { messageId: `dsn:${envelope.id}:${hashToken(envelope.to[decision.notify[0] ?? 0] ?? "")}` },
      );
    attempt();
    return undefined;
  };

  return {
    tell(attempted, decision, done) {
      for (const outcome of decision.recipients) report(pod, attempted, decision, outcome);
      notify(attempted, decision, { told: () => done(true), left: () => done(false) });
    },
    carryOut(attempted, decision, done) {
      for (const outcome of decision.recipients) report(pod, attempted, decision, outcome);
      switch (decision.next.kind) {
        case "done":
          return notify(attempted, decision, { told: () => remove(attempted, done), left: done });
        case "defer": {
          const { due, attempt, open, fresh, last } = decision.next;
          const turns = fresh === undefined ? {} : { fresh };
          const rest = { attempt, due, open, idHash: idHashOf(attempted.envelope.id), last, ...turns };
          const isTaken = decision.recipients.some(({ outcome }) => outcome !== "deferred");
          const told = () => writeState({ attempted, rest, isTaken, waits: 0 }, done);
          return notify(attempted, decision, { told, left: done });
        }
        case "requeue": {
          const { due } = decision.next;
          const { handle, attempt, envelope } = attempted;
          if (due === undefined) scheduler.requeue(handle, clock.now());
          // The attempt that was not made does not count.
          else scheduler.defer(handle, Math.min(due, envelope.expiresAt), attempt - 1, clock.now());
          return done();
        }
        default:
          return decision.next satisfies never;
      }
    },
  };
}

/** The entry as it was dispatched and as it was loaded, and what the attempt adds. */
export function attemptedOf(
  { handle, entry, source }: Pick<Dispatch, "handle" | "entry" | "source">,
  loaded: Pick<Attempted, "envelope" | "body" | "subject" | "stateSeq" | "leaseSeq" | "since">,
  { attempt, provider, rule, peer }: Pick<Attempted, "attempt" | "provider" | "rule" | "peer">,
): Attempted {
  return {
    handle,
    shard: entry.shard,
    seq: entry.seq,
    subject: loaded.subject,
    leaseSeq: loaded.leaseSeq,
    stateSeq: loaded.stateSeq,
    since: loaded.since,
    attempt,
    envelope: loaded.envelope,
    body: loaded.body,
    provider,
    source,
    rule,
    peer,
  };
}
