/** Durations as users write them (Go's notation: `90s`, `1h30m`), carried as milliseconds. Pure; undefined when malformed. */

/** RE2-compatible; the CRD schemas carry the same text. CEL's `duration()` knows no days, so neither do we. */
export const durationPattern = "^([0-9]{1,9}(ms|s|m|h))+$";

export const maxDurationLength = 32;

const unitMs: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };
const wellFormed = new RegExp(durationPattern);

/** @example parseDuration("1h30m") === 5_400_000 */
export function parseDuration(text: string): number | undefined {
  if (text.length > maxDurationLength || !wellFormed.test(text)) return undefined;
  let total = 0;
  for (const [, count, unit] of text.matchAll(/([0-9]+)(ms|s|m|h)/g))
    total += Number(count) * (unitMs[unit ?? ""] ?? Number.NaN);
  return Number.isSafeInteger(total) ? total : undefined;
}
