/** Times as RFC 5322 writes them, in UTC, from milliseconds since 1970. Pure; the time is the caller's. Never fails. */

/** @example mailDate(0) === "Thu, 01 Jan 1970 00:00:00 +0000" */
export function mailDate(time: number): string {
  // ECMAScript fixes the form of toUTCString; only the zone is written in another way.
  return new Date(time).toUTCString().replace("GMT", "+0000");
}
