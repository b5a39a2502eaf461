/** Books the moment of a dispatch's MAIL with the rates that it counts against. Pure, never fails. */
import type { Flight } from "./feedback.ts";
import type { SharedLink } from "./shared-hosts.ts";

/** Answers how long it has to wait, ms. */
export function bookMail(flight: Flight, now: number): number {
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
