/** Finds the ids of a received message in its header section. Pure; a message without any gets "". */

/** Header sections beyond this are not searched: hostile mail must not cost more. */
const maxHeaderBytes = 65_536;

export interface MessageIds {
  /** Message-ID without brackets. */
  readonly messageId: string;
  /** Mailboat's own: `X-Mailboat-Id`, else the `id` of a Received header that looks like one. */
  readonly mailboatId: string;
  /** Value of the header that the caller chose. */
  readonly chosen: string;
}

/** The header section with folded lines joined, as latin1 text. */
function headerText(raw: Buffer): string {
  const head = raw.subarray(0, maxHeaderBytes);
  const end = head.indexOf("\r\n\r\n");
  return (end < 0 ? head : head.subarray(0, end)).toString("latin1").replace(/\r\n[ \t]+/g, " ");
}

/** Value of the first header of that name, trimmed; "" when it is missing. */
function headerValue(text: string, name: string): string {
  const wanted = `${name.toLowerCase()}:`;
  for (const line of text.split("\r\n"))
    if (line.slice(0, wanted.length).toLowerCase() === wanted)
      return ownText(line.slice(wanted.length).trim());
  return "";
}

export function readIds(raw: Buffer, chosenHeader: string | undefined): MessageIds {
  const text = headerText(raw);
  const received = /^received:.* id ([0-9a-z]{26})\b/im.exec(text)?.[1] ?? "";
  return {
    messageId: headerValue(text, "message-id").replace(/^<|>$/g, ""),
    mailboatId: headerValue(text, "x-mailboat-id") || ownText(received),
    chosen: chosenHeader === undefined ? "" : headerValue(text, chosenHeader),
  };
}

/** A copy of its own: a slice would keep the whole header section alive for as long as the id is counted. */
function ownText(text: string): string {
  return Buffer.from(text, "latin1").toString("latin1");
}
