/** Addresses of a From, To or Cc value (RFC 5322 §3.4). Pure; a list that cannot be read whole is refused whole. */
import { parseMailbox, parsePath } from "./address.ts";

/** One element of the list while it is read. */
interface Element {
  /** Comments removed. */
  raw: string;
  /** `raw` without its quoted strings. */
  unquoted: string;
  angle: string;
  place: "before" | "inside" | "after";
}

function emptyElement(): Element {
  return { raw: "", unquoted: "", angle: "", place: "before" };
}

/** The position after the quoted string at `start`, or -1. */
function endOfQuoted(text: string, start: number): number {
  for (let position = start + 1; position < text.length; position++) {
    if (text[position] === "\\") position++;
    else if (text[position] === '"') return position + 1;
  }
  return -1;
}

/** The position after the comment at `start` (they nest), or -1. */
function endOfComment(text: string, start: number): number {
  let depth = 0;
  for (let position = start; position < text.length; position++) {
    const character = text[position];
    if (character === "\\") position++;
    else if (character === "(") depth++;
    else if (character === ")" && --depth === 0) return position + 1;
  }
  return -1;
}

/** Unquoted words with an @ in a display name: some readers take those for the address, so they count as one. */
function namedAddresses(unquoted: string): string[] | undefined {
  if (!unquoted.includes("@")) return [];
  const words = unquoted.split(/\s+/).filter((word) => word.includes("@"));
  const addresses = words.map(parseMailbox);
  return addresses.every((address) => address !== undefined) ? addresses : undefined;
}

/** Addresses of one finished element; undefined when it is malformed. */
function addressesOf(element: Element): string[] | undefined {
  if (element.place === "before") {
    const text = element.raw.trim();
    if (text === "") return [];
    const address = parseMailbox(text);
    return address === undefined ? undefined : [address];
  }
  const path = `<${element.angle.trim()}>`;
  const parsed = parsePath(path, 0, true);
  if (parsed.kind !== "path" || parsed.end !== path.length || parsed.address === "") return undefined;
  const named = namedAddresses(element.unquoted);
  return named === undefined ? undefined : [...named, parsed.address];
}

/** Where the text ends, from `start` on, that has no character with a meaning of its own. */
function endOfPlain(text: string, start: number): number {
  const length = text.slice(start).search(/[()<>",:;]/);
  return length < 0 ? text.length : start + length;
}

/** Adds an angle bracket; false when it cannot stand there. */
function addBracket(element: Element, bracket: "<" | ">"): boolean {
  if (element.place !== (bracket === "<" ? "before" : "inside")) return false;
  element.place = bracket === "<" ? "inside" : "after";
  return true;
}

/** Adds what stands outside quotes and comments; false when it cannot stand there. */
function addText(element: Element, text: string): boolean {
  if (element.place === "inside") element.angle += text;
  else if (element.place === "before") {
    element.raw += text;
    element.unquoted += text;
  } else return /^[ \t]*$/.test(text);
  return true;
}

/** Adds a quoted string; false after an angle address. */
function addQuoted(element: Element, quoted: string): boolean {
  if (element.place === "inside") element.angle += quoted;
  else if (element.place === "before") {
    element.raw += quoted;
    element.unquoted += " ";
  } else return false;
  return true;
}

export class AddressListReader {
  readonly addresses: string[] = [];
  #element = emptyElement();
  #inGroup = false;

  /** Reads one step from `position`; the next position, or -1 when the list is malformed. */
  step(text: string, position: number): number {
    const character = text[position] ?? "";
    if (character === "(") return endOfComment(text, position);
    if (character === '"') {
      const end = endOfQuoted(text, position);
      return end > 0 && addQuoted(this.#element, text.slice(position, end)) ? end : -1;
    }
    if (this.#element.place !== "inside" && ",:;".includes(character))
      return this.#separate(character) ? position + 1 : -1;
    if (character === "<" || character === ">")
      return addBracket(this.#element, character) ? position + 1 : -1;
    const end = endOfPlain(text, position + 1);
    return addText(this.#element, text.slice(position, end)) ? end : -1;
  }

  #separate(character: string): boolean {
    if (character === ":") {
      const named = this.#inGroup || this.#element.place !== "before" ? undefined : this.#groupName();
      if (named === undefined) return false;
      this.#inGroup = true;
      this.addresses.push(...named);
      this.#element = emptyElement();
      return true;
    }
    if (character === ";") {
      if (!this.#inGroup) return false;
      this.#inGroup = false;
    }
    return this.#finishElement();
  }

  #groupName(): string[] | undefined {
    return this.#element.raw.trim() === "" ? undefined : namedAddresses(this.#element.unquoted);
  }

  #finishElement(): boolean {
    if (this.#element.place === "inside") return false;
    const found = addressesOf(this.#element);
    if (found === undefined) return false;
    this.addresses.push(...found);
    this.#element = emptyElement();
    return true;
  }

  finish(): boolean {
    return !this.#inGroup && this.#finishElement();
  }
}
