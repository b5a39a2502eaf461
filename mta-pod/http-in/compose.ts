/** Makes a message and its envelope of what was posted: JSON or message/rfc822. Throws Problem on what cannot be sent. */
import MailComposer from "nodemailer/lib/mail-composer";
import { encodeWord } from "nodemailer/lib/mime-funcs";
import { toCrlf } from "#mta-pod/smtp/crlf.ts";
import { addressList, headerFields, isWholeHeader, valuesOf } from "#mta-pod/smtp/header.ts";
import { withALabels } from "#mta-pod/smtp/utf8.ts";
import type { PostedMessage } from "./message-schema.ts";
import { Problem } from "./problem.ts";

export interface Composed {
  readonly from: string;
  readonly to: readonly string[];
  readonly body: Buffer;
}

/** The header section of a posted message. */
const maxHeaderBytes = 256 * 1024;

/** RFC 5322 2.1.1: a line has 998 octets, and a folded one begins with a space. */
const maxWordBytes = 997;
/** Of an encoded word in a subject; RFC 2047 allows 75 with what is around it. */
const maxEncodedLength = 52;

/** What the envelope of a posted message is made of when the request says nothing else. */
const recipientFields: ReadonlySet<string> = new Set(["to", "cc", "bcc"]);

const noRecipients = "to: expected addresses, got none";

function refuse(text: string): Problem {
  return new Problem(422, "bad-message", text);
}

/** Addresses of one value, none of an empty group (`undisclosed-recipients:;`); their domains as A-labels: each recipient is counted once. */
function addressesOf(field: string, value: string): string[] {
  const addresses = value.trim() === "" ? undefined : addressList(value);
  if (addresses === undefined) throw refuse(`${field}: expected addresses, got something else`);
  return addresses.map(withALabels);
}

function asList(value: string | readonly string[] | undefined): readonly string[] {
  return value === undefined ? [] : typeof value === "string" ? [value] : value;
}

function finish({ from, to }: { from: string; to: readonly string[] }, body: Buffer): Composed {
  return { from, to: [...new Set(to)], body };
}

/** What the request says beside the message travels as the header fields that SMTP clients use for it. */
function withOwnFields(
  body: Buffer,
  { stream, sendAt }: { stream: string | undefined; sendAt?: string | undefined },
): Buffer {
  const fields = [
    ...(stream === undefined ? [] : [`X-Mailboat-Stream: ${stream}\r\n`]),
    ...(sendAt === undefined ? [] : [`X-Send-At: ${sendAt}\r\n`]),
  ];
  return fields.length === 0 ? body : Buffer.concat([Buffer.from(fields.join("")), body]);
}

/** The composer folds at spaces: what has none for long is cut into encoded words. It encodes what is more than ASCII itself. */
function foldable(subject: string): string {
  return subject.split(" ").some((word) => word.length > maxWordBytes)
    ? encodeWord(subject, "Q", maxEncodedLength)
    : subject;
}

/** Encoded words have no place in an address, an id or a link, so what cannot be folded there cannot be sent. */
function refuseLongLines(message: Buffer): void {
  for (const { start, end } of headerFields(message, message.length)) {
    const field = message.toString("latin1", start, end);
    if (field.split("\r\n").every((line) => line.length <= maxWordBytes + 1)) continue;
    const name = field.slice(0, field.indexOf(":"));
    throw refuse(`${name}: expected white space every ${maxWordBytes} octets, to fold it at`);
  }
}

export async function composeJson(message: PostedMessage): Promise<Composed> {
  const [from, ...more] = new Set(addressesOf("from", message.from));
  if (from === undefined) throw refuse("from: expected an address, got none");
  if (more.length > 0) throw refuse("from: expected one address, got several");
  const lists = (["to", "cc", "bcc"] as const).map((field) => ({ field, values: asList(message[field]) }));
  const to = lists.flatMap(({ field, values }) => values.flatMap((value) => addressesOf(field, value)));
  if (to.length === 0) throw refuse(noRecipients);
  // The composer leaves out what it cannot read.
  if (message.replyTo !== undefined) addressesOf("replyTo", message.replyTo);
  const node = new MailComposer({
    from: message.from,
    to: [...asList(message.to)],
    cc: [...asList(message.cc)],
    subject: foldable(message.subject),
    ...(message.replyTo === undefined ? {} : { replyTo: message.replyTo }),
    ...(message.text === undefined ? {} : { text: message.text }),
    ...(message.html === undefined ? {} : { html: message.html }),
    headers: message.headers ?? {},
    attachments: (message.attachments ?? []).map(({ filename, content, contentType, cid }) => ({
      filename,
      content: Buffer.from(content, "base64"),
      ...(contentType === undefined ? {} : { contentType }),
      ...(cid === undefined ? {} : { cid }),
    })),
    // A message must never make us read our own disk or network.
    disableFileAccess: true,
    disableUrlAccess: true,
  }).compile();
  const built = toCrlf(await node.build());
  refuseLongLines(built);
  return finish({ from, to }, withOwnFields(built, { stream: message.stream, sendAt: message.sendAt }));
}

export interface PostedEnvelope {
  /** Undefined = the message's own From, or To, Cc and Bcc. */
  readonly from: string | undefined;
  readonly to: string | undefined;
  readonly stream: string | undefined;
}

/** A message as it is; line ends become CRLF. */
export function composeRaw(posted: Buffer, envelope: PostedEnvelope): Composed {
  const whole = toCrlf(posted);
  if (whole.includes(0)) throw refuse("the message has a NUL byte");
  const body = whole.at(-1) === 10 ? whole : Buffer.concat([whole, Buffer.from("\r\n")]);
  const fields = headerFields(body, maxHeaderBytes);
  if (fields.length === 0 || !isWholeHeader(body, fields)) throw refuse("the message has no header section");
  const fromValue = envelope.from ?? valuesOf(fields, "from")[0] ?? "";
  const [from] = addressesOf("from", fromValue);
  if (from === undefined) throw refuse("from: expected an address, got none");
  const to =
    envelope.to === undefined
      ? fields
          .filter(({ name, value }) => recipientFields.has(name) && value !== "")
          .flatMap(({ name, value }) => addressesOf(name, value))
      : addressesOf("to", envelope.to);
  if (to.length === 0) throw refuse(noRecipients);
  return finish({ from, to }, withOwnFields(body, { stream: envelope.stream }));
}
