/** What can be answered without asking the peer: a message it cannot take, an address that cannot be written. Pure. */
import { ownReply, type Reply } from "../smtp/reply.ts";
import type { Fault, Transaction, TransactionResult } from "../smtp/transaction.ts";
import { chunkParts, totalLength } from "./body.ts";
import type { Extensions } from "./extensions.ts";

/** Longer than RFC 5321 §4.5.3.1.3 allows (256), since peers do, and short enough for a command line of 1,000. */
const maxPathLength = 900;

// oxlint-disable-next-line no-control-regex -- a control character in a path would be another command
const notWritable = /[\x00-\x1f\x7f]/;
/** Outside of a quoted local part these would end the path, and what follows be a parameter. */
const endsPath = /[ <>]/;
const quotedLocalPart = /^"(?:[^"\\]|\\.)*"/;
// oxlint-disable-next-line no-control-regex -- the ASCII range
const ascii = /^[\x00-\x7f]*$/;

/** Undefined: go ahead. Else the transaction's result, and nothing must be written. */
export function refuseWhole(transaction: Transaction, offers: Extensions): TransactionResult | undefined {
  if (transaction.size > offers.maxSize) {
    const text = `the message has ${transaction.size} bytes, the peer takes ${offers.maxSize}`;
    return answered(transaction, ownReply(552, "5.3.4", text));
  }
  const from = refusePath(transaction.from, transaction.smtpUtf8);
  if (from !== undefined) return answered(transaction, from);
  // Converting here would break the signature of whoever signed the message before us (RFC 6152 §3, RFC 6376 §5.3).
  if (transaction.eightBit && !offers.eightBitMime) {
    return unsupported(
      transaction,
      ownReply(554, "5.6.3", "the peer does not offer 8BITMIME, which the message needs"),
    );
  }
  if (transaction.smtpUtf8 && !offers.smtpUtf8) {
    return unsupported(
      transaction,
      ownReply(553, "5.6.7", "the peer does not offer SMTPUTF8, which the message needs"),
    );
  }
  // The fence comes last: it speaks of this very instant.
  if (transaction.mayProceed()) return undefined;
  const text = "the lease does not allow another transaction";
  return faulted(transaction, { stage: "mail", kind: "fenced", text });
}

/** For a connection that the peer closed while the caller made up its mind. */
export function tooLate(transaction: Transaction): TransactionResult {
  return faulted(transaction, { stage: "mail", kind: "closed", text: "the connection is closed" });
}

/** Within one window of the wire, so that no reply can come while the message is half written. */
const maxBdatBytes = 200_000;

/** The length a message goes by in one BDAT with its envelope; undefined = it goes by DATA. */
export function bdatSize(transaction: Transaction, offers: Extensions, limit: number): number | undefined {
  if (!offers.pipelining || !offers.chunking || transaction.size > Math.min(limit, maxBdatBytes))
    return undefined;
  return totalLength(chunkParts(transaction.message));
}

/** Undefined: the path can be written as it is. */
export function refusePath(path: string, smtpUtf8: boolean): Reply | undefined {
  if (path.length > maxPathLength) return ownReply(553, "5.1.3", "the address is too long to be sent");
  if (notWritable.test(path)) return ownReply(553, "5.1.3", "the address has a control character");
  if (endsPath.test(path) && endsPath.test(path.replace(quotedLocalPart, ""))) {
    return ownReply(553, "5.1.3", "the address has a space or a bracket outside of quotes");
  }
  if (!smtpUtf8 && !ascii.test(path))
    return ownReply(553, "5.6.7", "the address is not ASCII and the message not SMTPUTF8");
  return undefined;
}

export const overRecipientLimit = ownReply(
  452,
  "4.5.3",
  "the peer takes fewer recipients in one transaction",
);

function answered(transaction: Transaction, answer: Reply): TransactionResult {
  return { kind: "answered", replies: transaction.to.map(() => answer) };
}

/** Another target may offer what this one does not; `fault.reply` is what a bounce would say. */
function unsupported(transaction: Transaction, answer: Reply): TransactionResult {
  return faulted(transaction, { stage: "mail", kind: "unsupported", text: answer.text, reply: answer });
}

function faulted(transaction: Transaction, fault: Fault): TransactionResult {
  return { kind: "fault", fault, replies: transaction.to.map(() => undefined) };
}
