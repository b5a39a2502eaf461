/** What the reply subject of a delivered JetStream message says. Pure; undefined when it is not such a subject. */

export interface Delivery {
  /** Sequence in the stream. */
  readonly seq: number;
  /** Sequence among what this consumer delivered, from 1 without gaps. */
  readonly consumerSeq: number;
  /** How many more the consumer has to deliver. */
  readonly pending: number;
}

/**
 * Both forms the server may use: `$JS.ACK.<stream>.<consumer>.<delivered>.<seq>.<consumer seq>.<time>.<pending>` and, with
 * `<domain>.<account>` before the stream and possibly more tokens behind, the one announced for later servers.
 */
export function parseDelivery(reply: string): Delivery | undefined {
  if (!reply.startsWith("$JS.ACK.")) return undefined;
  const tokens = reply.split(".");
  const first = tokens.length === 9 ? 4 : tokens.length >= 11 ? 6 : undefined;
  if (first === undefined) return undefined;
  const seq = Number(tokens[first + 1]);
  const consumerSeq = Number(tokens[first + 2]);
  const pending = Number(tokens[first + 4]);
  if (!Number.isSafeInteger(seq) || !Number.isSafeInteger(consumerSeq) || !Number.isSafeInteger(pending))
    return undefined;
  return { seq, consumerSeq, pending };
}
