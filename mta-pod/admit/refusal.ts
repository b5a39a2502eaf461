/** What admission says no with: a reply for the client and a reason for the metric. Pure; never fails. */
import type { Reply } from "#mta-pod/smtp/reply.ts";
import { reply } from "#mta-pod/smtp/reply.ts";

/** Values of `mailboat_rejections_total{reason}`. */
export const rejectionReasons = [
  "bad-credentials",
  "unknown-tenant",
  "null-sender",
  "sender-domain",
  "tenant-rejected",
  "malformed",
  "loop",
  "too-large",
  "too-many-recipients",
  "bad-recipient",
  "no-mailbox",
  "from-header",
  "unknown-stream",
  "send-at",
  "rate",
  "rate-unknown",
  "quota",
  "quota-unknown",
  "queue-full",
  "queue-unknown",
] as const;
export type RejectionReason = (typeof rejectionReasons)[number];

export interface Refusal {
  readonly ok: false;
  readonly reply: Reply;
  readonly reason: RejectionReason;
}

const replies: Readonly<Record<RejectionReason, readonly [code: number, enhanced: string]>> = {
  "bad-credentials": [535, "5.7.8"],
  // The configuration of a tenant may arrive after its credentials: later is better than never.
  "unknown-tenant": [451, "4.3.0"],
  "null-sender": [550, "5.7.1"],
  "sender-domain": [550, "5.7.1"],
  "tenant-rejected": [550, "5.7.1"],
  malformed: [550, "5.6.0"],
  // RFC 3463 3.5: routing loop detected.
  loop: [554, "5.4.6"],
  "too-large": [552, "5.3.4"],
  "too-many-recipients": [452, "4.5.3"],
  "bad-recipient": [550, "5.1.3"],
  "no-mailbox": [550, "5.1.1"],
  "from-header": [550, "5.7.1"],
  "unknown-stream": [550, "5.7.1"],
  "send-at": [550, "5.6.0"],
  rate: [451, "4.7.1"],
  "rate-unknown": [451, "4.3.0"],
  quota: [452, "4.3.1"],
  "quota-unknown": [451, "4.3.0"],
  "queue-full": [452, "4.3.1"],
  "queue-unknown": [451, "4.3.0"],
};

/** The codes follow from the reason; `text` may hold what the client sent, bounded and without controls. */
export function refuse(reason: RejectionReason, text: string): Refusal {
  const [code, enhanced] = replies[reason];
  return { ok: false, reply: reply(code, enhanced, text), reason };
}

/** Client input as it may stand in a reply: printable, at most 64 characters. */
export function quoted(text: string): string {
  // eslint-disable-next-line no-control-regex
  return text.slice(0, 64).replace(/[\x00-\x1f\x7f]/g, "?");
}
