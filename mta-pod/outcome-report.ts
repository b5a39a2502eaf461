/** CORRIDOR: what is told of one recipient's outcome: metrics and its event. Never fails. */
import { type Pod, record } from "./pod.ts";
import type { Decision, RecipientOutcome } from "./settle/decide.ts";
import type { Attempted } from "./settlement.ts";

export function report(pod: Pod, attempted: Attempted, decision: Decision, outcome: RecipientOutcome): void {
  const { envelope, peer, provider } = attempted;
  const tenant = pod.metrics.tenantLabel(envelope.tenant);
  const label = pod.metrics.providerLabel(provider);
  const seconds = (pod.clock.now() - Math.max(envelope.receivedAt, envelope.sendAt)) / 1000;
  if (outcome.outcome === "deferred")
    pod.metrics.deferrals.inc({ tenant, provider: label, class: outcome.class });
  else
    pod.metrics.recipients.inc({
      tenant,
      stream: envelope.stream,
      provider: label,
      outcome: outcome.outcome,
    });
  if (outcome.outcome === "delivered")
    pod.metrics.delivery.observe({ tenant, stream: envelope.stream }, seconds);
  record(pod, {
    id: envelope.id,
    type: outcome.outcome,
    tenant: envelope.tenant,
    stream: envelope.stream,
    from: envelope.from,
    to: [envelope.to[outcome.index] ?? ""],
    site: envelope.site,
    provider,
    source: attempted.source,
    seconds,
    text: outcome.text,
    class: outcome.outcome === "delivered" ? undefined : outcome.class,
    code: outcome.reply?.code,
    enhanced: outcome.reply?.enhanced,
    mx: peer?.target.host,
    tls: peer?.tls,
    rule: attempted.rule,
    attempt: attempted.attempt,
    // Of others of the message that are deferred there may be one, of this recipient there is none.
    nextAttempt:
      outcome.outcome === "deferred" && decision.next.kind === "defer" && decision.next.fresh === undefined
        ? decision.next.due
        : undefined,
  });
}
