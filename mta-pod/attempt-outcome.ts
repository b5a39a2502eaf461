/** CORRIDOR: what one attempt has come to: results made of replies that nobody gave, the decision, its count and its event. */
import { type Pod, record } from "./pod.ts";
import type { SiteRoute } from "./route/router.ts";
import type { Dispatch } from "./schedule/types.ts";
import { type Decision, decide } from "./settle/decide.ts";
import { ownReply } from "./smtp/reply.ts";
import type { Fault, TransactionResult } from "./smtp/transaction.ts";
import type { Connection } from "./smtp-out/connection.ts";
import type { Loaded } from "./load.ts";
import type { AtHosts } from "./host-trouble.ts";

/** Called once, when the entry is at rest. `isUntried`: as it was before, and its state record as well. */
export type Ended = (isUntried?: boolean) => void;

/** One attempt on its way. */
export interface Run {
  readonly dispatch: Dispatch;
  readonly loaded: Loaded;
  readonly ended: Ended;
  /** Recipients that it is for, by index; `waiting` have had their turn before those. */
  readonly open: readonly number[];
  readonly waiting: readonly number[];
  key: string;
  route: SiteRoute | undefined;
  connection: Connection | undefined;
  /** Where the site has other hosts than those of this attempt. */
  at: AtHosts | undefined;
  isAnswered: boolean;
}

export function newRun(dispatch: Dispatch, loaded: Loaded, ended: Ended): Run {
  const nothing = { route: undefined, connection: undefined, at: undefined } as const;
  const { open: all, fresh = all.length } = loaded;
  const turns = { open: all.slice(0, fresh), waiting: all.slice(fresh) };
  return { dispatch, loaded, ended, ...turns, key: "", ...nothing, isAnswered: false };
}

/**
 * The peer closed an idle connection while our MAIL was on its way, or has had enough mail by it (421, RFC 5321 3.8): says nothing of the
 * mail, nor of the site. What it thinks of us it says on a new connection.
 */
export function wasStale(connection: Connection, result: TransactionResult): boolean {
  if (result.kind !== "fault" || connection.sent < 2) return false;
  const { kind, stage, reply } = result.fault;
  if (stage !== "mail") return false;
  return reply === undefined ? kind === "closed" || kind === "network" : reply.code === 421;
}

export function answered(run: Run, reply: Parameters<typeof replied>[1]): TransactionResult {
  return replied(run.open.length, reply);
}

function replied(
  count: number,
  reply: Extract<TransactionResult, { kind: "answered" }>["replies"][number],
): TransactionResult {
  return { kind: "answered", replies: Array.from({ length: count }, () => reply) };
}

/** No recipient has a reply of its own. */
export function unanswered(run: Run, fault: Fault): TransactionResult {
  return { kind: "fault", fault, replies: run.open.map(() => undefined) };
}

/** DNS trouble of one domain is that entry's, not the site's: 451 4.4.3 as RFC 3463 names it. */
export function unresolved(run: Run, text: string): TransactionResult {
  return answered(run, ownReply(451, "4.4.3", text));
}

export function decisionOf(pod: Pod, run: Run, result: TransactionResult): Decision {
  const { envelope, last } = run.loaded;
  const { open, waiting } = run;
  const defaults = pod.config().manifest.retry;
  const own = run.route?.rule?.retry;
  return decide({
    to: envelope.to,
    open,
    waiting: { open: waiting, last },
    attempt: run.dispatch.entry.attempt,
    receivedAt: envelope.receivedAt,
    expiresAt: envelope.expiresAt,
    from: envelope.from,
    result,
    policy: { firstMs: own?.firstMs ?? defaults.firstMs, maxMs: own?.maxMs ?? defaults.maxMs },
    now: pod.clock.now(),
    random: pod.random,
  });
}

/** A proxy that fails is no place of the destination's. */
function placeOf({ kind, stage }: Fault): string {
  return kind === "proxy" ? kind : stage;
}

export function countAttempt(pod: Pod, run: Run, result: TransactionResult, decision: Decision): void {
  const provider = pod.metrics.providerLabel(run.route?.provider ?? run.dispatch.lane.site);
  const outcome =
    result.kind === "fault" ? placeOf(result.fault) : (decision.recipients[0]?.outcome ?? "requeued");
  pod.metrics.attempts.inc({ provider, source: run.dispatch.source, result: outcome });
  if (decision.next.kind !== "requeue" || result.kind !== "fault") return;
  const { envelope } = run.loaded;
  const { entry, source, lane } = run.dispatch;
  const { site } = lane;
  const { text, reply, target } = result.fault;
  // The scheduler reckons in fractions; up, so that it is not said to begin before it does.
  const nextAttempt = Math.ceil(Math.max(decision.next.due ?? 0, pod.scheduler.siteState(site).backoffUntil));
  record(pod, {
    id: envelope.id,
    type: "attempted",
    tenant: envelope.tenant,
    stream: envelope.stream,
    from: envelope.from,
    to: run.open.map((index) => envelope.to[index] ?? ""),
    site,
    provider: run.route?.provider ?? site,
    source,
    // The one that it was to be: it does not count, and the next has the same number.
    attempt: entry.attempt + 1,
    class: decision.next.reason,
    text: `${placeOf(result.fault)}: ${text}`,
    nextAttempt: nextAttempt > pod.clock.now() ? nextAttempt : undefined,
    code: reply?.code,
    enhanced: reply?.enhanced,
    rule: run.route?.rule?.name,
    mx: target?.host,
  });
}
