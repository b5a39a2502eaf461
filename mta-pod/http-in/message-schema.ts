/** The JSON a client posts as a message. Issues name the field; unknown fields are refused, never dropped in silence. */
import { z } from "zod";
import { formatIssue } from "#crds/values/issue.ts";
import { parseBy } from "#crds/values/zod-issue.ts";
import { Problem } from "./problem.ts";

/** Printable: what must not be able to end a header line. */
// eslint-disable-next-line no-control-regex
const oneLine = /^[^\x00-\x1f\x7f]*$/;
const addressText = z.string().min(3).max(1000).regex(oneLine, "one line");
const addressTexts = z.union([addressText, z.array(addressText).min(1).max(1000)], {
  error: "an address, or a list of 1 to 1000 of them",
});

/** Made by us from other fields, or not the sender's to say. */
const reserved =
  /^(?:from|to|cc|bcc|subject|mime-version|received|return-path|dkim-signature|content-.*|x-mailboat-.*|x-send-at)$/i;

const headerName = z
  .string()
  .regex(/^[!-9;-~]{1,76}$/, "a header field's name")
  .refine((name) => !reserved.test(name), "a header field that no other field of the request makes");

const attachment = z.strictObject({
  filename: z.string().min(1).max(255).regex(oneLine, "one line"),
  /** base64, padded. */
  content: z.base64(),
  contentType: z
    .string()
    .max(200)
    .regex(/^[a-z0-9!#$&^_.+-]+\/[a-z0-9!#$&^_.+-]+(?:;[ -~]*)?$/i, "type/subtype")
    .optional(),
  /** For `cid:` links in the HTML; makes it inline. */
  cid: z
    .string()
    .regex(/^[!-;=?-~]{1,200}$/, "one word")
    .optional(),
});

const messageSchema = z
  .strictObject({
    from: addressText,
    to: addressTexts,
    cc: addressTexts.optional(),
    bcc: addressTexts.optional(),
    replyTo: addressText.optional(),
    subject: z.string().max(2000).regex(oneLine, "one line").default(""),
    text: z.string().optional(),
    html: z.string().optional(),
    headers: z.record(headerName, z.string().max(16_384).regex(oneLine, "one line")).optional(),
    attachments: z.array(attachment).max(100).optional(),
    /** Not before then: RFC 3339, at most 167 hours ahead. */
    sendAt: z.iso.datetime({ offset: true }).optional(),
    /** One of the tenant's streams. */
    stream: z
      .string()
      .regex(/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/, "a stream's name")
      .optional(),
  })
  .refine(
    ({ text, html, attachments = [] }) => text !== undefined || html !== undefined || attachments.length > 0,
    { message: "text, html or attachments", params: { got: "none of them" } },
  );

const maxIssues = 10;

/** In the order of the documentation. */
export const postedFields: readonly string[] = Object.keys(messageSchema.shape);

export type PostedMessage = z.output<typeof messageSchema>;

/** Throws as `parsedBy` does. */
export function parsePostedMessage(body: unknown): PostedMessage {
  return parsedBy(messageSchema, body);
}

/** Throws Problem 400 with the first ten issues. @example "to: expected an address, or a list of 1 to 1000 of them, got nothing" */
export function parsedBy<Schema extends z.ZodType>(schema: Schema, input: unknown): z.output<Schema> {
  const parsed = parseBy(schema, input);
  if (parsed.ok) return parsed.value;
  throw new Problem(400, "bad-request", parsed.issues.slice(0, maxIssues).map(formatIssue).join("; "));
}
