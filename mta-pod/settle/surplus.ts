/**
 * Recipients that a transaction had no room for: they go in the next ones, at once, while each comes to a verdict on somebody. Whoever is put off
 * waits until all had their turn, or those before would be asked again and again and those behind never. Pure; never fails.
 */
import type { Reply } from "#mta-pod/smtp/reply.ts";

/**
 * One recipient too many for the transaction, also after a 552, as which this was known before (RFC 5321 4.5.3.1.10).
 */
export function isSurplus(given: Reply | null | undefined): boolean {
  if (given?.code !== 452 && given?.code !== 552) return false;
  return (
    tooManyRecipients.has(given.enhanced) ||
    (given.enhanced === "" && /too many recipients/i.test(given.text))
  );
}

const tooManyRecipients: ReadonlySet<string> = new Set(["4.5.3", "5.5.3"]);

/** What is left of an entry's recipients after a transaction. */
export interface Turns {
  /** Those that had no turn yet stand first: whoever comes next begins with them. */
  readonly open: readonly number[];
  /** So many of them had none. */
  readonly fresh: number;
}

/**
 * @param left of this transaction, those without an end: indexes, and what they were told
 * @param waiting those that this round has put off before
 */
export function turnsOf(
  left: readonly { readonly index: number; readonly reply: Reply | null }[],
  waiting: readonly number[],
): Turns {
  const { true: surplus = [], false: putOff = [] } = Object.groupBy(left, ({ reply }) =>
    isSurplus(reply) ? "true" : "false",
  );
  const others = [...waiting, ...putOff.map(({ index }) => index)].toSorted((a, b) => a - b);
  return { open: [...surplus.map(({ index }) => index), ...others], fresh: surplus.length };
}
