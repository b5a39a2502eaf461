/** Rates as users write them (`30/s`, `100/h`), carried as a number per second. Pure; undefined when malformed. */

/** RE2-compatible; the CRD schemas carry the same text. */
export const ratePattern = "^[1-9][0-9]{0,8}/(s|m|h|d)$";

export const maxRateLength = 16;

const secondsOf: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600, d: 86_400 };
const wellFormed = new RegExp(ratePattern);

/** @example parseRate("30/m") === 0.5 */
export function parseRate(text: string): number | undefined {
  if (text.length > maxRateLength || !wellFormed.test(text)) return undefined;
  const [count, unit] = text.split("/");
  return Number(count) / (secondsOf[unit ?? ""] ?? Number.NaN);
}
