/** What a reply or fault is about: one word of a closed list, for metrics, events and pace; never decides an outcome. Pure. */
import type { Reply } from "#mta-pod/smtp/reply.ts";
import type { Fault } from "#mta-pod/smtp/transaction.ts";
import { codeRules, enhancedRules, policyTexts, textRules } from "./reply-rules.ts";
import type { OutcomeClass } from "./reply-rules.ts";

/** Bytes of a peer's text that are looked at: a peer must not buy our time with a long reply. */
const maxText = 512;

/**
 * The class of a reply. Text before enhanced code before code, since codes collide: Google uses numbers of the
 * IANA registry with other meanings, and 5.7.1 says nothing at all.
 * @example classifyReply(reply(421, "4.7.28", "Our system has detected an unusual rate")) === "rate-limited"
 */
export function classifyReply(reply: Reply): OutcomeClass {
  if (reply.code >= 200 && reply.code < 300) return "delivered";
  if (reply.code < 400 || reply.code > 599) return "protocol";
  const text = reply.text.slice(0, maxText).toLowerCase();
  const byText = textRules.find((rule) => rule.texts.some((part) => text.includes(part)));
  if (byText !== undefined) return byText.class;
  const detail = reply.enhanced.slice(reply.enhanced.indexOf(".") + 1);
  const byDetail = enhancedRules.get(detail);
  if (byDetail !== undefined) return byDetail;
  if (policyTexts.some((part) => text.includes(part))) return "policy";
  return codeRules.get(reply.code) ?? "other";
}

/** The class of a fault; one that carries a reply is classed by that reply. */
export function classifyFault(fault: Fault): OutcomeClass {
  if (fault.kind === "fenced") return "fenced";
  if (fault.kind === "unsupported") return "unsupported";
  if (fault.reply !== undefined) {
    const byReply = classifyReply(fault.reply);
    if (byReply !== "delivered") return byReply;
  }
  if (isUnanswered(fault)) return "unanswered";
  switch (fault.kind) {
    case "refused":
    case "closed":
    case "network":
    case "proxy":
    case "full":
      return "connect";
    case "timeout":
      return "timeout";
    case "tls":
      return "tls";
    case "protocol":
      return "protocol";
    default:
      return fault.kind satisfies never;
  }
}

/** The message was sent whole and no reply came: its peer may have taken it (RFC 1047). */
export function isUnanswered({ stage, kind, reply }: Fault): boolean {
  return (
    stage === "final" &&
    reply === undefined &&
    (kind === "closed" || kind === "network" || kind === "timeout")
  );
}
