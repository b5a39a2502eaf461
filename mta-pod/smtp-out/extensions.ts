/** What a peer's EHLO reply offers, as far as this client uses it. Pure; unknown and malformed lines are passed over. */

export interface Extensions {
  readonly pipelining: boolean;
  readonly startTls: boolean;
  readonly eightBitMime: boolean;
  readonly smtpUtf8: boolean;
  readonly chunking: boolean;
  /** SIZE is offered: MAIL carries ours. */
  readonly size: boolean;
  /** Bytes; Infinity when the peer names none (RFC 1870: 0 means none). */
  readonly maxSize: number;
  /** RFC 9422; Infinity when not named. */
  readonly maxRecipients: number;
  readonly maxTransactions: number;
}

/** Of a peer that knows only HELO. */
export const noExtensions: Extensions = {
  pipelining: false,
  startTls: false,
  eightBitMime: false,
  smtpUtf8: false,
  chunking: false,
  size: false,
  maxSize: Number.POSITIVE_INFINITY,
  maxRecipients: Number.POSITIVE_INFINITY,
  maxTransactions: Number.POSITIVE_INFINITY,
};

/** @param text the reply to EHLO: lines joined by LF, the first one is the greeting and offers nothing */
export function parseExtensions(text: string): Extensions {
  const offered = new Map<string, string>();
  for (const line of text.split("\n").slice(1)) {
    // "SIZE=1000" was common before RFC 1870 and still is met.
    const found = /^([A-Za-z0-9][A-Za-z0-9-]*)(?:[ =](.*))?$/.exec(line.trim());
    if (found?.[1] !== undefined) offered.set(found[1].toUpperCase(), found[2] ?? "");
  }
  const limits = offered.get("LIMITS") ?? "";
  return {
    pipelining: offered.has("PIPELINING"),
    startTls: offered.has("STARTTLS"),
    eightBitMime: offered.has("8BITMIME"),
    smtpUtf8: offered.has("SMTPUTF8"),
    chunking: offered.has("CHUNKING"),
    size: offered.has("SIZE"),
    maxSize: positive(offered.get("SIZE")),
    maxRecipients: limit(limits, "RCPTMAX"),
    maxTransactions: limit(limits, "MAILMAX"),
  };
}

function limit(limits: string, name: string): number {
  for (const word of limits.toUpperCase().split(" ")) {
    if (word.startsWith(`${name}=`)) return positive(word.slice(name.length + 1));
  }
  return Number.POSITIVE_INFINITY;
}

function positive(text: string | undefined): number {
  const value = /^\d{1,18}$/.test(text?.trim() ?? "") ? Number(text) : 0;
  return value > 0 ? value : Number.POSITIVE_INFINITY;
}
