/** Foreign text made safe for a notification: no new header lines, no controls, bounded lines. Pure; never fails. */

/** Of one value; RFC 5322 2.1.1 bounds a line at 998 octets and a character of UTF-8 has up to 4. */
const maxValue = 960;
/** Of a host name or an address in `cleanText`: more than either may have. */
export const maxName = 320;
const foldAt = 76;
const maxHeaderBytes = 32 * 1024;
const maxLineBytes = 998;

/** One line of printable text: what breaks lines or hides becomes a space or "?", other than ASCII only with `utf8`. */
export function cleanText(text: string, utf8: boolean, maxLength = maxValue): string {
  const bounded = text.slice(0, maxLength).toWellFormed();
  // eslint-disable-next-line no-control-regex
  const printable = bounded.replace(/[\x00-\x1f\x7f-\x9f\u2028\u2029]+/g, " ");
  // eslint-disable-next-line no-control-regex
  return (utf8 ? printable : printable.replace(/[^\x00-\x7f]/gu, "?")).trim();
}

/**
 * `name: value` folded at spaces to lines of about 76; a word that is longer than a line may be is cut into several.
 * With `indent` given it is plain text: the name stands as it is and following lines begin with `indent`.
 */
export function foldField(name: string, value: string, indent?: string): string {
  const lines: string[] = [];
  let line = indent === undefined ? `${name}:` : name;
  for (const word of value.split(" ").flatMap(chopped)) {
    const isEmpty = line.trim() === "";
    if (!isEmpty && line.length + 1 + word.length > foldAt) {
      lines.push(line);
      line = `${indent ?? " "}${word}`;
    } else line += ` ${word}`;
  }
  return [...lines, line].join("\r\n");
}

/** No address is torn; in UTF-8 it is still within a line. */
const maxWord = maxName;

function chopped(word: string): string[] {
  const pieces = [word.slice(0, maxWord).toWellFormed()];
  for (let start = maxWord; start < word.length; start += maxWord)
    pieces.push(word.slice(start, start + maxWord).toWellFormed());
  return pieces;
}

/**
 * The header of a message as it may stand in a part: up to the empty line, 32 KiB at most and whole lines only, CRLF,
 * lines of at most 998 octets; other than ASCII becomes "?" without `utf8`.
 */
export function originalHeader(original: Buffer, utf8: boolean): string {
  if (original.subarray(0, 2).toString("latin1") === "\r\n") return "";
  const end = original.indexOf("\r\n\r\n");
  // Without an empty line all of it is the header.
  const header = original.subarray(0, Math.min(end < 0 ? original.length : end, maxHeaderBytes));
  const isCut = header.length === maxHeaderBytes;
  const text = utf8 ? header.toString("utf8") : header.toString("latin1");
  const lines = text.split(/\r\n|\r|\n/);
  if (isCut) lines.pop();
  const safe = lines.map((line) => safeLine(line, utf8)).filter((line) => line !== "");
  return safe.length === 0 ? "" : `${safe.join("\r\n")}\r\n`;
}

function safeLine(line: string, utf8: boolean): string {
  // Tabs are folding white space; other controls have no business in a header.
  // eslint-disable-next-line no-control-regex
  const printable = line.replace(/[\x00-\x08\x0b-\x1f\x7f]/g, "?");
  // eslint-disable-next-line no-control-regex
  const plain = utf8 ? printable : printable.replace(/[^\x00-\x7f]/g, "?");
  return Buffer.byteLength(plain) <= maxLineBytes ? plain : plain.slice(0, maxLineBytes / 4);
}
