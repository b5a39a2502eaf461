/** Rates as users write them (`30/s`, `100/h`), carried as a number per second, and in words. Pure; undefined when malformed. */

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

const periods = [
  ["second", 1],
  ["minute", 60],
  ["hour", 3600],
  ["day", 86_400],
] as const;

/**
 * For people, in the shortest period that has a whole number of messages: nearly always the one that was written.
 * @example rateInWords(1 / 60) === "1 message per minute"
 */
export function rateInWords(perSecond: number): string {
  const found = periods.find(([, seconds]) => isWhole(perSecond * seconds));
  const [period, seconds] = found ?? periods[0];
  const count = found === undefined ? Number(perSecond.toPrecision(2)) : Math.round(perSecond * seconds);
  return `${count} ${count === 1 ? "message" : "messages"} per ${period}`;
}

/** But for the last bits of a division. */
function isWhole(value: number): boolean {
  return value > 0.5 && Math.abs(value - Math.round(value)) < 1e-6;
}
