/** When a message asks to be sent (`X-Send-At`, the HTTP field `sendAt`): a date, or what is wrong with it. Pure. */
import { quoted } from "./refusal.ts";

/** The longest that any mail may stay (decisions.md 11: large bodies are kept for two days more). */
export const maxStayMs = 168 * 3_600_000;
/** Mail for later has so long to be tried in. */
const leastTrialMs = 3_600_000;

const rfc3339 = /^\d{4}-\d\d-\d\dT\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?(?:Z|[+-]\d\d:\d\d)$/;
const rfc5322 =
  /^(?:[A-Z][a-z]{2}, )?\d{1,2} [A-Z][a-z]{2} \d{4} \d\d:\d\d(?::\d\d)? (?:[+-]\d{4}|GMT|UT|UTC)$/;

type SendAt =
  /** ms since 1970, 0 = at once. */
  { readonly ok: true; readonly at: number } | { readonly ok: false; readonly text: string };

/** A time that is over means at once. @param values one per field of that name in the message, in order */
export function sendAtOf(values: readonly string[], now: number): SendAt {
  const [value] = values;
  if (value === undefined) return { ok: true, at: 0 };
  if (values.length > 1) return { ok: false, text: `X-Send-At stands ${values.length} times in the message` };
  const text = value.trim();
  // eslint-disable-next-line no-restricted-globals -- of a text that names its zone: no clock is read
  const at = rfc3339.test(text) || rfc5322.test(text) ? Date.parse(text) : Number.NaN;
  if (Number.isNaN(at))
    return {
      ok: false,
      text: `X-Send-At: expected a date such as 2027-01-31T08:30:00Z, got "${quoted(text)}"`,
    };
  if (at > now + maxStayMs - leastTrialMs)
    return { ok: false, text: "X-Send-At: expected a time within the next 167 hours" };
  return { ok: true, at: at > now ? at : 0 };
}

/** The tenant's time for retries counts from when it may be sent first; no mail stays longer than 168 h. */
export function expiryOf({
  now,
  sendAt,
  maxAgeMs,
}: {
  now: number;
  sendAt: number;
  maxAgeMs: number;
}): number {
  return sendAt === 0 ? now + maxAgeMs : Math.min(sendAt + maxAgeMs, now + maxStayMs);
}
