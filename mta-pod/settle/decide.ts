/** What becomes of each recipient after an attempt, and of the entry: by reply code, never by text. Pure; never fails. */
import type { Random } from "#mta-pod/runtime/clock.ts";
import type { Reply } from "#mta-pod/smtp/reply.ts";
import { describeReply, maxDescription, ownReply } from "#mta-pod/smtp/reply.ts";
import type { Fault, TransactionResult } from "#mta-pod/smtp/transaction.ts";
import { classifyFault, classifyReply, isUnanswered } from "./classify.ts";
import { lastOf, readLast } from "./last-reply.ts";
import type { OutcomeClass } from "./reply-rules.ts";
import { nextDelay } from "./retry.ts";
import type { RetryPolicy } from "./retry.ts";
import { isSurplus, turnsOf } from "./surplus.ts";

export interface DecideInput {
  /** All recipients of the envelope. */
  readonly to: readonly string[];
  /** Indexes into `to` that this attempt was for. */
  readonly open: readonly number[];
  /** Others that are open: this round has put them off before; `last` is what they were told. Default none. */
  readonly waiting?: { readonly open: readonly number[]; readonly last: string };
  /** Attempts made before this one. */
  readonly attempt: number;
  readonly receivedAt: number;
  readonly expiresAt: number;
  /** Reverse path, "" = the null sender: nobody is told. */
  readonly from: string;
  /** Its replies are parallel to `open`. */
  readonly result: TransactionResult;
  readonly policy: RetryPolicy;
  readonly now: number;
  readonly random: Random;
}

export interface RecipientOutcome {
  /** Into the envelope's recipients. */
  readonly index: number;
  readonly outcome: "delivered" | "deferred" | "bounced" | "expired";
  readonly class: OutcomeClass;
  /** The peer's reply, or ours in its place; null where none was given. */
  readonly reply: Reply | null;
  /** One line for people; at most 512 characters. */
  readonly text: string;
}

/**
 * `unreachable`: charge the site. `proxy`: charge the source at this site. `throttled`: the peer wants less. `neutral`: says
 * nothing about the site.
 */
type Feedback = "good" | "throttled" | "unreachable" | "proxy" | "neutral";

type Next =
  /** Every recipient is settled: delete the entry. */
  | { readonly kind: "done" }
  | {
      readonly kind: "defer";
      readonly due: number;
      /** Attempts made, this one included. */
      readonly attempt: number;
      readonly open: readonly number[];
      /** So many of them, the first, go at once, and the others when those had their turn; absent = all together. */
      readonly fresh?: number;
      readonly last: string;
    }
  /**
   * Nothing was tried at mail level (the site, or our fence): the lane waits, no state record is written. `due`: the lane goes on, and
   * this entry waits beside it until then.
   */
  | { readonly kind: "requeue"; readonly reason: OutcomeClass; readonly text: string; readonly due?: number };

export interface Decision {
  /** One per open recipient in the order of `open`, but those that go at once in the next transaction; none for a requeue. */
  readonly recipients: readonly RecipientOutcome[];
  readonly next: Next;
  /** Recipients a DSN must speak of. */
  readonly notify: readonly number[];
  readonly feedback: Feedback;
  /** The dot was sent and no reply came: the peer may have taken the mail. */
  readonly possibleDuplicate: boolean;
}

/** Decides by RFC 5321 4.2.1: the first digit of the code is the outcome, whatever the text says. */
export function decide(input: DecideInput): Decision {
  const { result } = input;
  if (result.kind === "answered") {
    const isTaken = result.replies.some(({ code }) => code < 300);
    const recipients = input.open.map((index, at) => {
      const given = result.replies[at];
      const outcome = outcomeOfReply(index, given);
      return isTaken && isSurplus(given) ? { ...outcome, outcome: "deferred" as const } : outcome;
    });
    return settled(input, recipients, { feedback: feedbackOf(recipients), possibleDuplicate: false });
  }
  return decideFault(input, result.fault, result.replies);
}

/** Outcome of an entry whose time ran out without an attempt; `last` is what its last attempt left. */
export function expire(input: {
  readonly open: readonly number[];
  readonly from: string;
  readonly last: string;
}): Decision {
  const { reply, text } = readLast(input.last === "" ? "could not be delivered in time" : input.last);
  const recipients = input.open.map((index) => expired(index, reply, text));
  return {
    recipients,
    next: { kind: "done" },
    notify: input.from === "" ? [] : input.open,
    feedback: "neutral",
    possibleDuplicate: false,
  };
}

/** What stays of an entry some of whose recipients are settled without an attempt; as it was. */
export type Rest = Omit<Extract<Next, { kind: "defer" }>, "kind">;

/** Outcome of an entry, or of those of its recipients that are in `open`, that is returned without an attempt, by `reply` (a 5xx of our own). */
export function refuse(input: {
  readonly open: readonly number[];
  readonly from: string;
  readonly reply: Reply;
  readonly rest?: Rest | undefined;
}): Decision {
  return {
    recipients: input.open.map((index) => outcomeOfReply(index, input.reply)),
    next: input.rest === undefined ? { kind: "done" } : { kind: "defer", ...input.rest },
    notify: input.from === "" ? [] : input.open,
    feedback: "neutral",
    possibleDuplicate: false,
  };
}

function decideFault(input: DecideInput, fault: Fault, replies: readonly (Reply | undefined)[]): Decision {
  // A fenced owner owns nothing any more: whatever it knows, the next owner has to find out for itself.
  if (fault.kind === "fenced") return requeue(fault, "neutral");
  // The next connection does without what the peer did not understand here.
  if (isDisorder(fault) && input.now < input.expiresAt) return requeue(fault, "neutral");
  const rest = outcomeOfFault(fault);
  const recipients = input.open.map((index, at) => {
    const own = replies[at];
    return own === undefined ? { ...rest, index } : outcomeOfReply(index, own);
  });
  if (fault.kind === "unsupported")
    return settled(input, recipients, { feedback: "neutral", possibleDuplicate: false });
  if (isBeforeMail(fault)) {
    // Charge the site, not the message: RFC 5321 4.5.4.1 wants unreachable hosts remembered.
    const feedback = fault.kind === "proxy" ? "proxy" : "unreachable";
    if (input.now < input.expiresAt) return requeue(fault, feedback);
    return settled(input, recipients, { feedback, possibleDuplicate: false });
  }
  return settled(input, recipients, {
    feedback: fault.kind === "protocol" && fault.reply === undefined ? "neutral" : "throttled",
    // With a reply (421 to the dot) the peer said that it did not take the mail (RFC 1047 is about silence).
    possibleDuplicate: fault.stage === "final" && fault.reply === undefined,
  });
}

/** The peer does not follow the protocol that it offers, and says so (RSET, BDAT): no verdict on the mail. */
function isDisorder(fault: Fault): boolean {
  return fault.kind === "protocol" && fault.reply !== undefined && !isBeforeMail(fault);
}

/** Nothing was said of any mail yet. */
export function isBeforeMail(fault: Pick<Fault, "stage">): boolean {
  switch (fault.stage) {
    case "connect":
    case "greeting":
    case "ehlo":
    case "tls":
      return true;
    case "mail":
    case "rcpt":
    case "data":
    case "body":
    case "final":
      return false;
    default:
      return fault.stage satisfies never;
  }
}

function outcomeOfReply(index: number, given: Reply | undefined): RecipientOutcome {
  if (given === undefined)
    return {
      index,
      outcome: "deferred",
      class: "protocol",
      reply: null,
      text: "no reply for this recipient",
    };
  return {
    index,
    outcome: outcomeOfCode(given.code),
    class: classifyReply(given),
    reply: given,
    text: describeReply(given),
  };
}

function outcomeOfCode(code: number): RecipientOutcome["outcome"] {
  if (code >= 200 && code < 300) return "delivered";
  if (code >= 500 && code < 600) return "bounced";
  // Also what no server may say here (1xx, 3xx, 6xx): neither taken nor refused, so it is tried again.
  return "deferred";
}

/** What a fault means for the recipients that have no reply of their own; the index is the caller's. */
function outcomeOfFault(fault: Fault): Omit<RecipientOutcome, "index"> {
  const text = textOfFault(fault).slice(0, maxDescription);
  const shared = { class: classifyFault(fault), reply: fault.reply ?? null, text };
  if (fault.kind === "unsupported")
    return { ...shared, outcome: "bounced", reply: fault.reply ?? unsupportedReply(text) };
  const code = fault.reply?.code ?? 0;
  // A refusal while connecting is about us and the host; only from MAIL on is it about this mail.
  const refused = !isBeforeMail(fault) && !isDisorder(fault) && code >= 500 && code < 600;
  return { ...shared, outcome: refused ? "bounced" : "deferred" };
}

/** Who reads it wants to know that the mail may have arrived, whatever ended the connection. */
function textOfFault(fault: Fault): string {
  if (!isUnanswered(fault)) return fault.text;
  return `${fault.kind === "timeout" ? "no answer" : "connection lost"} after the dot: ${fault.text}`;
}

function unsupportedReply(text: string): Reply {
  const upper = text.toUpperCase();
  if (upper.includes("SMTPUTF8")) return ownReply(553, "5.6.7", text);
  if (upper.includes("8BITMIME")) return ownReply(554, "5.6.3", text);
  if (upper.includes("SIZE")) return ownReply(552, "5.3.4", text);
  return ownReply(554, "5.6.1", text);
}

function expired(index: number, given: Reply | null, text: string): RecipientOutcome {
  return { index, outcome: "expired", class: "expired", reply: given, text };
}

function requeue(fault: Fault, feedback: Feedback): Decision {
  const text = fault.text.slice(0, maxDescription);
  return {
    recipients: [],
    next: { kind: "requeue", reason: classifyFault(fault), text },
    notify: [],
    feedback,
    possibleDuplicate: false,
  };
}

function settled(
  input: DecideInput,
  tried: readonly RecipientOutcome[],
  { feedback, possibleDuplicate }: Pick<Decision, "feedback" | "possibleDuplicate">,
): Decision {
  const isOver = input.now >= input.expiresAt;
  const recipients = tried.map((one) =>
    one.outcome === "deferred" && isOver ? expired(one.index, one.reply, one.text) : one,
  );
  const failed = recipients.filter((one) => one.outcome === "bounced" || one.outcome === "expired");
  const notify = input.from === "" ? [] : failed.map((one) => one.index);
  const deferred = recipients.filter((one) => one.outcome === "deferred");
  const { open: waiting, last } = input.waiting ?? { open: [], last: "" };
  if (deferred.length + waiting.length === 0)
    return { recipients, next: { kind: "done" }, notify, feedback, possibleDuplicate };
  const own = deferred.find((one) => !isSurplus(one.reply));
  const told = own ?? (waiting.length > 0 ? undefined : deferred[0]);
  // No wait, and no attempt that counts but the first, which says that there is a record: somebody's turn is over, so that it has an end.
  const { open, fresh } = turnsOf(deferred, waiting);
  const goesOn = input.result.kind === "answered" && fresh > 0 && fresh < recipients.length;
  const waitMs = goesOn ? 0 : nextDelay(input.attempt, input.policy, input.random);
  return {
    recipients: goesOn ? recipients.filter((one) => !isSurplus(one.reply)) : recipients,
    next: {
      kind: "defer",
      // The last try falls on the expiry itself, so that no time is left unused and none is waited in vain.
      due: Math.min(input.now + waitMs, input.expiresAt),
      attempt: goesOn ? Math.max(1, input.attempt) : input.attempt + 1,
      open,
      ...(goesOn && fresh < open.length ? { fresh } : {}),
      last: told === undefined ? last : lastOf(told),
    },
    notify,
    feedback,
    possibleDuplicate,
  };
}

function feedbackOf(recipients: readonly RecipientOutcome[]): Feedback {
  // 421 closes the connection, whoever else was served before it (RFC 5321 3.8).
  if (recipients.some((one) => one.reply?.code === 421)) return "throttled";
  if (recipients.some((one) => one.outcome === "delivered")) return "good";
  const slowed = recipients.some(
    (one) => one.class === "rate-limited" || (one.class === "reputation" && one.outcome === "deferred"),
  );
  return slowed ? "throttled" : "neutral";
}
