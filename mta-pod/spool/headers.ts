/** NATS header blocks of what the spool publishes, as text. Pure; throws RangeError on a line break. */

/** What JetStream allows one message's headers to take (its error 10097); larger is refused before it is sent. */
export const maxHeaderBytes = 65_535;

export type HeaderLine = readonly [name: string, value: string];

/** @example headerBlock([["Nats-Msg-Id", "01j…"]]) === "NATS/1.0\r\nNats-Msg-Id: 01j…\r\n\r\n" */
export function headerBlock(lines: readonly HeaderLine[]): string {
  let text = "NATS/1.0\r\n";
  for (const [name, value] of lines) {
    if (value.includes("\r") || value.includes("\n") || value.includes("\0"))
      throw new RangeError(
        `Cannot encode header ${name}: expected no line break, got ${JSON.stringify(value)}`,
      );
    text += `${name}: ${value}\r\n`;
  }
  return `${text}\r\n`;
}
