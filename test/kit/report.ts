/** Takes a delivery report (RFC 3464) apart, strictly, for tests: what is not in its form throws. */

export interface Report {
  readonly header: string;
  readonly text: string;
  /** Fields about the message, by lower-case name. */
  readonly message: Readonly<Record<string, string>>;
  /** Fields about each recipient. */
  readonly recipients: readonly Readonly<Record<string, string>>[];
  /** Header of the mail that failed. */
  readonly original: string;
}

export function readReport(raw: Buffer): Report {
  const [header, body] = halves(raw.toString("utf8"));
  const fields = fieldsOf(header);
  const type = fields["content-type"] ?? "";
  if (!/^multipart\/report;\s*report-type=delivery-status;/.test(type)) throw new Error(`no report: ${type}`);
  const boundary = /boundary="([^"]+)"/.exec(type)?.[1] ?? "";
  if (!body.includes(`--${boundary}--`)) throw new Error("no end of the parts");
  const parts = body
    .split(`--${boundary}`)
    .slice(1, -1)
    .map((part) => halves(part.slice(2, -2)));
  const types = parts.map(([head]) => (fieldsOf(head)["content-type"] ?? "").split(";")[0]);
  if (types.join() !== "text/plain,message/delivery-status,text/rfc822-headers")
    throw new Error(`other parts: ${types.join()}`);
  const [text = "", status = "", original = ""] = parts.map(([, content]) => content);
  const [message = {}, ...recipients] = status.trim().split("\r\n\r\n").map(fieldsOf);
  return { header, text, message, recipients, original };
}

function halves(text: string): [string, string] {
  const end = text.indexOf("\r\n\r\n");
  if (end < 0) throw new Error("no empty line");
  return [text.slice(0, end), text.slice(end + 4)];
}

function fieldsOf(text: string): Record<string, string> {
  const lines = text
    .replace(/\r\n[ \t]+/g, " ")
    .split("\r\n")
    .filter((line) => line !== "");
  return Object.fromEntries(
    lines.map((line) => {
      const colon = line.indexOf(":");
      if (colon < 1) throw new Error(`no field: "${line}"`);
      return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()];
    }),
  );
}
