/** A request header as text. Pure; never fails. */
import { isUtf8 } from "node:buffer";

/** Node gives a character for each byte; clients send UTF-8 (curl what is typed). What is none stays Latin-1, as HTTP has it. Repeated ones are a list. */
export function headerText(value: string | readonly string[] | undefined): string | undefined {
  if (value === undefined) return undefined;
  const bytes = Buffer.from(typeof value === "string" ? value : value.join(", "), "latin1");
  return bytes.toString(isUtf8(bytes) ? "utf8" : "latin1");
}
