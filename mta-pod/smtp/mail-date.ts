/** Times as RFC 5322 writes them, in UTC, from milliseconds since 1970. Pure; the time is the caller's. Never fails. */

/** The last second that was asked for: of a thousand messages a second all but one have it. */
let known = { second: Number.NaN, text: "" };

/** @example mailDate(0) === "Thu, 01 Jan 1970 00:00:00 +0000" */
export function mailDate(time: number): string {
  const second = Math.floor(time / 1000);
  // ECMAScript fixes the form of toUTCString; only the zone is written in another way.
  if (second !== known.second) known = { second, text: new Date(time).toUTCString().replace("GMT", "+0000") };
  return known.text;
}
