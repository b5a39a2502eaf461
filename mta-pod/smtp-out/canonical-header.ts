/** Header fields as DKIM signs them: canonicalisation "relaxed" (RFC 6376 §3.4.2) and the choice of fields. Pure. */

/** The header as Latin-1 characters, so that each is a byte, and where the body starts. */
export interface Split {
  readonly header: string;
  readonly bodyStart: number;
}

const blankLine = Buffer.from("\r\n\r\n");

/** A message without a blank line is all header; one that starts with it, all body. */
export function splitMessage(message: Buffer): Split {
  if (message[0] === 13 && message[1] === 10) return { header: "", bodyStart: 2 };
  const at = message.indexOf(blankLine);
  if (at < 0) return { header: message.toString("latin1"), bodyStart: message.length };
  return { header: message.toString("latin1", 0, at), bodyStart: at + 4 };
}

/**
 * What is signed when it is there (RFC 6376 §5.4.1, and what mailbox providers ask to be covered: RFC 8058
 * List-Unsubscribe-Post, Feedback-ID, RFC 9477 CFBL-Address). Not: what is changed or added on the way.
 */
const signedNames = [
  "from",
  "sender",
  "reply-to",
  "to",
  "cc",
  "subject",
  "date",
  "message-id",
  "in-reply-to",
  "references",
  "mime-version",
  "content-type",
  "content-transfer-encoding",
  "content-id",
  "content-description",
  "resent-date",
  "resent-from",
  "resent-sender",
  "resent-to",
  "resent-cc",
  "resent-message-id",
  "auto-submitted",
  "list-id",
  "list-help",
  "list-unsubscribe",
  "list-unsubscribe-post",
  "list-subscribe",
  "list-post",
  "list-owner",
  "list-archive",
  "feedback-id",
  "cfbl-address",
  "cfbl-feedback-id",
] as const;

/** Named once more than they occur, so that adding one breaks the signature: what readers see of a message. */
const oversigned: ReadonlySet<string> = new Set(["from", "reply-to", "to", "cc", "subject", "date"]);

const wanted: ReadonlySet<string> = new Set(signedNames);

/** More of one field than this are left alone from the top down; a signature line has to end somewhere. */
const maxOfOneName = 50;

export interface SignedFields {
  /** The value of `h=`. */
  readonly names: string;
  /** The fields in the order of `names`, relaxed, each with its CRLF. */
  readonly text: string;
}

export function signedFields(header: string): SignedFields {
  const found = new Map<string, string[]>();
  for (let start = 0; start < header.length; ) {
    const end = fieldEnd(header, start);
    const colon = header.indexOf(":", start);
    if (colon > start && colon < end) {
      const name = header.slice(start, colon).replace(trailingSpace, "").toLowerCase();
      if (wanted.has(name)) {
        const field = `${name}:${relaxValue(header.slice(colon + 1, end))}\r\n`;
        const known = found.get(name);
        if (known === undefined) found.set(name, [field]);
        else known.push(field);
      }
    }
    start = end + 2;
  }
  const names: string[] = [];
  let text = "";
  for (const name of signedNames) {
    // The bottom-most is signed first (§5.4.2): verifiers count from there, and relays add on top.
    const fields = (found.get(name) ?? []).slice(-maxOfOneName).reverse();
    for (const field of fields) {
      names.push(name);
      text += field;
    }
    if (oversigned.has(name) && fields.length < maxOfOneName) names.push(name);
  }
  return { names: names.join(":"), text };
}

const trailingSpace = /[ \t]+$/;
// Only these are white space here: trim() would also eat the byte 0xA0, the end of an "à" in UTF-8.
const outerSpace = /^[ \t]+|[ \t]+$/g;
const spaceRun = /[ \t]+/g;

/** Unfolded, runs of white space as one space, none around it. */
export function relaxValue(value: string): string {
  const unfolded = value.includes("\n") ? value.replaceAll("\r\n", "") : value;
  const even =
    unfolded.includes("\t") || unfolded.includes("  ") ? unfolded.replace(spaceRun, " ") : unfolded;
  return even.replace(outerSpace, "");
}

/** The end of the field, its continuation lines included, without the last CRLF. */
function fieldEnd(header: string, start: number): number {
  let end = header.indexOf("\r\n", start);
  while (end >= 0) {
    const next = header.charCodeAt(end + 2);
    if (next !== 32 && next !== 9) return end;
    end = header.indexOf("\r\n", end + 2);
  }
  return header.length;
}
