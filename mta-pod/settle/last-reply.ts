/** What an attempt left, in the one line that a state record keeps of it, and how that is read again. Pure; never fails. */
import type { Reply } from "#mta-pod/smtp/reply.ts";

interface Last {
  /** null = it was nobody's reply. */
  readonly reply: Reply | null;
  /** As `describeReply` has it, or what a fault said. */
  readonly text: string;
}

/** Before a reply of ours; no reply of a peer's begins so. */
const oursMark = "ours: ";
/** What `describeReply` makes. */
const described = /^([45]\d\d) (?:([245]\.\d{1,3}\.\d{1,3}) )?(.*)$/;

export function lastOf({ reply, text }: Last): string {
  return reply?.isOurs === true ? `${oursMark}${text}` : text;
}

export function readLast(line: string): Last {
  const isOurs = line.startsWith(oursMark);
  const text = isOurs ? line.slice(oursMark.length) : line;
  const match = described.exec(text);
  if (match === null) return { reply: null, text };
  const [, code = "", enhanced = "", said = ""] = match;
  const given = { code: Number(code), enhanced, text: said };
  return { reply: isOurs ? { ...given, isOurs } : given, text };
}
