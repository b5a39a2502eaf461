/** The notification (RFC 3464) to a sender about recipients that failed; pure. Whatever peers and senders wrote, it is well-formed. */
import type { Envelope } from "#crds/wire/envelope.ts";
import type { Random } from "#mta-pod/runtime/clock.ts";
import { mailDate } from "#mta-pod/smtp/mail-date.ts";
import { describeReply } from "#mta-pod/smtp/reply.ts";
import type { RecipientOutcome } from "./decide.ts";
import { cleanText, foldField, maxName, originalHeader } from "./dsn-text.ts";

export interface DsnInput {
  /** Host name that From, Message-ID and Reporting-MTA speak of. */
  readonly reportingMta: string;
  /** Of the mail that failed; its `from` is the one who is told, never "". */
  readonly envelope: Pick<Envelope, "id" | "from" | "to" | "receivedAt" | "smtpUtf8">;
  /** The mail that failed, or its header: only the header is returned, 32 KiB at most. Empty = it cannot be read any more. */
  readonly original: Buffer;
  /** Recipients to speak of, 1 or more: bounced and expired ones. */
  readonly outcomes: readonly RecipientOutcome[];
  /** Host that gave the replies, where one did. */
  readonly remoteMta?: string | undefined;
  readonly now: number;
  readonly random: Random;
}

/**
 * The message, CRLF lines of at most 998 octets. ASCII, unless the mail that failed was SMTPUTF8: then UTF-8 in the
 * types of RFC 6533, to be sent with SMTPUTF8. The same input gives the same Message-ID, so a repeat is seen as one.
 */
export function composeDsn(input: DsnInput): Buffer {
  const { envelope } = input;
  const utf8 = envelope.smtpUtf8;
  const boundary = `=_${hex(input.random)}${hex(input.random)}${hex(input.random)}`;
  const global = utf8 ? "global-" : "";
  const headersType = utf8 ? "message/global-headers" : "text/rfc822-headers";
  const returned = [`Content-Type: ${headersType}`, originalHeader(input.original, utf8)] as const;
  const parts = [
    [`Content-Type: text/plain; charset=${utf8 ? "utf-8" : "us-ascii"}`, explanation(input)],
    [`Content-Type: message/${global}delivery-status`, deliveryStatus(input)],
    // RFC 6522 3: it may be missing.
    ...(input.original.length === 0 ? [] : [returned]),
  ] as const;
  const encoding = `Content-Transfer-Encoding: ${utf8 ? "8bit" : "7bit"}`;
  const body = parts.map(
    ([type, content]) => `--${boundary}\r\n${type}\r\n${encoding}\r\n\r\n${content}\r\n`,
  );
  const header = [
    ...messageHeader(input),
    `Content-Type: multipart/report; report-type=${global}delivery-status;`,
  ];
  const text = `${header.join("\r\n")}\r\n boundary="${boundary}"\r\n${encoding}\r\n\r\n${body.join("")}--${boundary}--\r\n`;
  return Buffer.from(text, "utf8");
}

function hex(random: Random): string {
  return Math.floor(random() * 2 ** 32)
    .toString(16)
    .padStart(8, "0");
}

function messageHeader({ reportingMta, envelope, outcomes, now }: DsnInput): string[] {
  const host = cleanText(reportingMta, false, maxName);
  const id = cleanText(envelope.id, false);
  return [
    `Date: ${mailDate(now)}`,
    `From: Mail Delivery System <MAILER-DAEMON@${host}>`,
    foldField("To", `<${cleanText(envelope.from, envelope.smtpUtf8, maxName)}>`),
    "Subject: Undelivered mail returned to sender",
    `Message-ID: <${id}.${outcomes[0]?.index ?? 0}.dsn@${host}>`,
    // RFC 3834: nobody's vacation program is to answer this.
    "Auto-Submitted: auto-replied",
    "MIME-Version: 1.0",
  ];
}

function explanation({ reportingMta, envelope, original, outcomes, remoteMta, now }: DsnInput): string {
  const utf8 = envelope.smtpUtf8;
  const said = remoteMta === undefined ? "Reason:" : `${cleanText(remoteMta, utf8, maxName)} said:`;
  const recipients = outcomes.flatMap((one) => {
    const lead = isPeers(one) ? said : "Reason:";
    return [
      `<${cleanText(envelope.to[one.index] ?? "", utf8, maxName)}>: ${headline(one)}`,
      ...foldField(`    ${lead}`, cleanText(reasonOf(one), utf8), "        ").split("\r\n"),
      "",
    ];
  });
  return [
    `This is the mail system at ${cleanText(reportingMta, utf8, maxName)}.`,
    "",
    "Your message could not be delivered to the recipients below, and no further",
    "attempt will be made. Other recipients of the message are not affected.",
    "",
    ...recipients,
    `Message id:  ${cleanText(envelope.id, utf8)}`,
    `Accepted:    ${mailDate(envelope.receivedAt)}`,
    `Given up:    ${mailDate(now)}`,
    "",
    original.length > 0
      ? "The header of your message is attached."
      : "Of your message itself nothing is left that could be attached.",
  ].join("\r\n");
}

function headline(one: RecipientOutcome): string {
  if (one.outcome === "expired") return "not delivered in time";
  return isPeers(one) ? "refused" : "not delivered";
}

/** A host said it: what we say in its place must not be quoted as its words. */
function isPeers({ reply }: RecipientOutcome): boolean {
  return reply !== null && reply.isOurs !== true;
}

/** What is ours goes without a code, which would look like a host's. */
function reasonOf({ reply, text }: RecipientOutcome): string {
  return reply?.isOurs === true ? reply.text : text;
}

function deliveryStatus({ reportingMta, envelope, outcomes, remoteMta, now }: DsnInput): string {
  const utf8 = envelope.smtpUtf8;
  const fields = [
    foldField("Reporting-MTA", `dns; ${cleanText(reportingMta, utf8, maxName)}`),
    `X-Mailboat-Id: ${cleanText(envelope.id, utf8)}`,
    `Arrival-Date: ${mailDate(envelope.receivedAt)}`,
  ];
  const groups = outcomes.map((one) => {
    const address = cleanText(envelope.to[one.index] ?? "", utf8, maxName);
    // RFC 6533 3: only an address that needs it has the type utf-8.
    const type = isAscii(address) ? "rfc822" : "utf-8";
    return [
      foldField("Final-Recipient", `${type}; ${address}`),
      "Action: failed",
      `Status: ${statusOf(one)}`,
      ...(remoteMta !== undefined && isPeers(one)
        ? [foldField("Remote-MTA", `dns; ${cleanText(remoteMta, utf8, maxName)}`)]
        : []),
      foldField("Diagnostic-Code", diagnostic(one, utf8)),
      // Whose time ran out while it waited, or whom an operator gave up, was attempted before if at all: when is not kept.
      ...(remoteMta === undefined && (one.outcome === "expired" || !isPeers(one))
        ? []
        : [`Last-Attempt-Date: ${mailDate(now)}`]),
    ].join("\r\n");
  });
  return `${[fields.join("\r\n"), ...groups].join("\r\n\r\n")}\r\n`;
}

/** `smtp` is only for what an SMTP server said, word for word (RFC 3464 2.3.6). */
function diagnostic(one: RecipientOutcome, utf8: boolean): string {
  return one.reply !== null && isPeers(one)
    ? `smtp; ${cleanText(describeReply(one.reply), utf8)}`
    : `x-mailboat; ${cleanText(reasonOf(one), utf8)}`;
}

/** RFC 3463, of the class that the outcome has: 5 for a refusal, 4.4.7 for time that ran out. */
export function statusOf({ outcome, reply }: RecipientOutcome): string {
  if (outcome === "expired") return "4.4.7";
  const enhanced = reply?.enhanced ?? "";
  if (/^5\.\d{1,3}\.\d{1,3}$/.test(enhanced)) return enhanced;
  return statusByCode.get(reply?.code ?? 0) ?? "5.0.0";
}

const statusByCode: ReadonlyMap<number, string> = new Map([
  [550, "5.1.1"],
  [551, "5.1.6"],
  [552, "5.2.2"],
  [553, "5.1.3"],
  [556, "5.1.10"],
]);

function isAscii(text: string): boolean {
  // eslint-disable-next-line no-control-regex
  return /^[\x00-\x7f]*$/.test(text);
}
