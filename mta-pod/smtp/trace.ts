/** The header fields that intake puts in front of a message: trace (RFC 5321 4.4) and what RFC 6409 8 lets a submission server add. Pure. */

export interface TraceFacts {
  readonly helo: string;
  readonly remoteAddress: string;
  readonly hostname: string;
  /** "ESMTPSA" and the like (RFC 3848). */
  readonly protocol: string;
  readonly id: string;
  /** ms since 1970. */
  readonly time: number;
}

const days = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
const months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

function two(value: number): string {
  return value < 10 ? `0${value}` : String(value);
}

/** RFC 5322 date-time in UTC: "Tue, 24 Nov 2026 17:36:26 +0000". */
export function mailDate(time: number): string {
  const at = new Date(time);
  const day = `${days[at.getUTCDay()]}, ${two(at.getUTCDate())} ${months[at.getUTCMonth()]} ${at.getUTCFullYear()}`;
  return `${day} ${two(at.getUTCHours())}:${two(at.getUTCMinutes())}:${two(at.getUTCSeconds())} +0000`;
}

/** Keeps what a client said of itself from breaking out of a header line. */
function token(text: string): string {
  return text.replace(/[^\x21-\x7e]|[()<>\\;,]/g, "?").slice(0, 255);
}

/** The client's address stands in it as RFC 5321 asks; `for` is left out, since it would tell recipients of each other. */
export function receivedField(facts: TraceFacts): string {
  const address = facts.remoteAddress.includes(":") ? `IPv6:${facts.remoteAddress}` : facts.remoteAddress;
  return (
    `Received: from ${token(facts.helo)} ([${token(address)}])\r\n` +
    `\tby ${facts.hostname} with ${facts.protocol} id ${facts.id};\r\n\t${mailDate(facts.time)}\r\n`
  );
}

export function messageIdField(id: string, hostname: string): string {
  return `Message-ID: <${id}@${hostname}>\r\n`;
}

export function dateField(time: number): string {
  return `Date: ${mailDate(time)}\r\n`;
}
