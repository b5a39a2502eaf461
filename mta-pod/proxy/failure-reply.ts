/** What the proxy answers when a connection onward failed: whether the destination was at fault, or what is not here. Pure. */
import { isIP } from "node:net";
import { replies, type ReplyCode } from "./socks-session.ts";

/** A connection onward; `from` = the address to send from, absent = the kernel's choice. */
interface Way {
  readonly to: string;
  readonly from?: string | undefined;
}

/** What is not here (EADDRNOTAVAIL: the address to send from is not ours; EMFILE: we are full) is a failure of the proxy. */
const codes: Readonly<Record<string, ReplyCode>> = {
  ECONNREFUSED: replies.refused,
  ECONNRESET: replies.refused,
  ENETUNREACH: replies.networkUnreachable,
  EAFNOSUPPORT: replies.networkUnreachable,
  EHOSTUNREACH: replies.hostUnreachable,
  EHOSTDOWN: replies.hostUnreachable,
  ETIMEDOUT: replies.timedOut,
};

/** What a host without any IPv6 address says of an IPv6 destination. */
const withoutAddress = new Set(["EINVAL", "EADDRNOTAVAIL"]);

export function replyToFailure({ code = "" }: { readonly code?: string }, { to, from }: Way): ReplyCode {
  if (withoutAddress.has(code) && isIP(to) === 6 && from === undefined) return replies.networkUnreachable;
  return codes[code] ?? replies.failure;
}

/** Whether nothing leads there: no address of one family reaches the other. */
export function isOtherFamily({ to, from }: Way): boolean {
  return from !== undefined && isIP(to) !== isIP(from);
}
