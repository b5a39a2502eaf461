/** Books the moment of a dispatch's MAIL with the rates that it counts against. Pure, never fails. */
import type { Flight } from "./feedback.ts";
import type { SharedLink } from "./shared-hosts.ts";
import { tuning } from "./tuning.ts";
import type { MailTurn } from "./turns.ts";

/** Answers how long it has to wait, ms. */
export function bookMail(flight: Flight, now: number): number {
  const { messages, shared } = flight.link;
  const holdMs = book(flight, now);
  // Its place in the pace of dispatches is long gone: those that begin from now on come behind it. Not at each hold: where answers are late that would cost the rate.
  if (holdMs > 0 && now - flight.startedAt >= tuning.lateMailMs) {
    messages.keepBehind();
    shared?.messages.keepBehind();
  }
  return holdMs;
}

function book(flight: Flight, now: number): number {
  const { messages, shared } = flight.link;
  if (shared !== null) return bookShared(flight, shared, now);
  const { holdMs, sent } = messages.book(now);
  flight.mail = sent;
  return holdMs;
}

function bookShared(flight: Flight, shared: SharedLink, now: number): number {
  const { messages } = flight.link;
  const holdMs = Math.max(0, Math.ceil(Math.max(messages.earliest(now), shared.earliest(now)) - now));
  const sent = messages.bookAt(now + holdMs, now);
  flight.mail = shared.messages.bookAt(now + holdMs, now, sent) ?? sent;
  return holdMs;
}

/** The peer has answered to its message, or never will. */
export function answered({ link, mail }: Flight, now: number): void {
  link.messages.counted.answered(mail, now);
  link.shared?.messages.counted.answered(mail, now);
}

/**
 * How long its final dot has to wait, ms; 0 = it is written now, and counted so. A booking cannot know that timers, answers to the envelope or
 * the whole process will be late.
 */
export function finalDotMs(flight: Flight, now: number): number {
  const at = dotAt(flight);
  if (at > now) return Math.ceil(at - now);
  dotWritten(flight, now);
  return 0;
}

/** The same for one that others write, at a moment from `from` on, which is answered, or up to `lateMs` later: it counts as late as that. */
export function bookFinalDot(flight: Flight, from: number, lateMs: number): number {
  const at = Math.max(from, dotAt(flight));
  dotWritten(flight, at + lateMs);
  return at;
}

function dotAt({ link, drafts }: Flight): number {
  let at = Math.max(link.messages.counted.dotAt, link.shared?.messages.counted.dotAt ?? 0);
  for (const { budget } of drafts ?? []) at = Math.max(at, budget.messages.counted.dotAt);
  return at;
}

function dotWritten({ link, drafts }: Flight, at: number): void {
  link.messages.counted.dotWritten(at);
  link.shared?.messages.counted.dotWritten(at);
  for (const { budget } of drafts ?? []) budget.messages.counted.dotWritten(at);
}

/** Of one that has its connection still and another message for it; "requeue" = its turn is not soon. */
export function bookNext(flight: Flight, now: number): MailTurn {
  answered(flight, now);
  flight.mail = null;
  const { messages, shared, pause } = flight.link;
  const opensAt = Math.max(messages.dispatches.nextAt, shared?.messages.dispatches.nextAt ?? 0, pause.until);
  if (opensAt > now + tuning.turnWaitMs) return { then: "requeue", ms: opensAt - now };
  messages.start(now);
  shared?.messages.start(now);
  return { then: "send", ms: book(flight, now) };
}
