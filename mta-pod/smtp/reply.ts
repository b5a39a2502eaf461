/** SMTP replies, ours and theirs: code, enhanced code (RFC 3463) and text. Pure; never fails. */

export interface Reply {
  /** 200–599. */
  readonly code: number;
  /** `2.0.0`; "" when a peer sent none. */
  readonly enhanced: string;
  /** One line or several joined by LF; of a peer: without codes, at most 1,024 characters. */
  readonly text: string;
  /** Of ours, when it is known: how long the client should wait; the text of the wire says it in words. */
  readonly retrySeconds?: number;
  /** We say it in the place of a host that was not asked, or did not say it: not to be quoted as its words. */
  readonly isOurs?: true;
}

/** @example reply(250, "2.1.0", "sender ok") */
export function reply(code: number, enhanced: string, text: string): Reply {
  return { code, enhanced, text };
}

/** As `reply`, in the place of a host's. @example ownReply(550, "5.1.2", "no such domain: gone.example") */
export function ownReply(code: number, enhanced: string, text: string): Reply {
  return { code, enhanced, text, isOurs: true };
}

/** Of what is said of a reply or a fault in one line, characters. */
export const maxDescription = 512;

/**
 * One line for people, events and reports; at most `maxDescription` characters.
 * @example describeReply(reply(550, "5.1.1", "No such user")) === "550 5.1.1 No such user"
 */
export function describeReply({ code, enhanced, text }: Reply): string {
  const line = `${code} ${enhanced === "" ? "" : `${enhanced} `}${text.replaceAll("\n", " ")}`;
  return line.slice(0, maxDescription);
}

/** Bytes for the wire: every line carries the code, and the enhanced code where there is one (RFC 2034). */
export function formatReply({ code, enhanced, text }: Reply): string {
  const prefix = enhanced === "" ? "" : `${enhanced} `;
  if (!text.includes("\n")) return `${code} ${prefix}${text}\r\n`;
  const lines = text.split("\n");
  return lines
    .map((line, index) => `${code}${index === lines.length - 1 ? " " : "-"}${prefix}${line}\r\n`)
    .join("");
}
