/** What of a message is more than ASCII, hence what it needs of the hosts on its way. Pure; never fails. */
import { isAscii } from "node:buffer";
import { domainOf } from "./address.ts";
import type { HeaderField } from "./header.ts";
import type { Inbound } from "./inbound.ts";

function isAsciiText(text: string): boolean {
  return Buffer.byteLength(text) === text.length;
}

/** The address with its domain as an A-label in lower case: only its local part can then need SMTPUTF8. Without a domain as it is. */
export function withALabels(address: string): string {
  const domain = domainOf(address);
  return domain === "" ? address : `${address.slice(0, address.lastIndexOf("@"))}@${domain}`;
}

/**
 * A message whose client asked for SMTPUTF8, as it goes on: with A-labels for domains, and in need of SMTPUTF8 only when a local part or
 * the header has more than ASCII (RFC 6531 3.4). Many ask for it always, and not all hosts offer it.
 */
export function inLeastUtf8(inbound: Inbound, fields: readonly HeaderField[]): Inbound {
  const plain = (address: string): string => (isAsciiText(address) ? address : withALabels(address));
  const from = plain(inbound.from);
  const to = inbound.to.map(plain);
  const isHeaderAscii = !inbound.eightBit || isAscii(inbound.body.subarray(0, fields.at(-1)?.end ?? 0));
  return { ...inbound, from, to, smtpUtf8: !isHeaderAscii || ![from, ...to].every(isAsciiText) };
}
