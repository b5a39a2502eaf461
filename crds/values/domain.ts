/** Domain names as they are compared everywhere: A-labels, lower case, no final dot. Pure; undefined when malformed. */
import { domainToASCII } from "node:url";
import { remember } from "./remember.ts";

/** RE2-compatible; a domain as resources must spell it. */
export const domainPattern =
  "^[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?([.][a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*$";

export const maxDomainLength = 253;

const wellFormed = new RegExp(domainPattern);
// What WHATWG's host parser would read as more than a name: percent escapes, ports, paths, addresses in brackets.
// eslint-disable-next-line no-control-regex
const foreign = /[\x00-\x2c/:-@[-^`{-\x7f]/;

/**
 * `text` as an A-label domain. Underscores pass (they occur in host names that receive mail); addresses do not:
 * a last label of digits only, or hexadecimal, is one to the host parser and no top-level domain has it.
 * @example normalizeDomain("BÜCHER.example.") === "xn--bcher-kva.example"
 */
export const normalizeDomain: (text: string) => string | undefined = remember(
  // A message asks several times for the same few domains, at 1 µs each.
  { max: 20_000, maxLength: maxDomainLength },
  parseDomain,
);

function parseDomain(text: string): string | undefined {
  if (text.length > 1024 || foreign.test(text)) return undefined;
  const bare = text.endsWith(".") ? text.slice(0, -1) : text;
  const lower = bare.toLowerCase();
  const ascii = wellFormed.test(lower) ? lower : domainToASCII(lower);
  if (ascii.length > maxDomainLength || !wellFormed.test(ascii)) return undefined;
  const last = ascii.slice(ascii.lastIndexOf(".") + 1);
  return /^([0-9]+|0x[0-9a-f]*)$/.test(last) ? undefined : ascii;
}
