/**
 * CORRIDOR: session → admit → route → spool → 250. Answers 250 only after JetStream's PubAck; trouble of our own is
 * 4xx, never 5xx. What was refused is counted and recorded; what was accepted has an id that stands in every trace of it.
 */
import { type Admission, type MessageFacts, rateOf, type Usage } from "./admit/admission.ts";
import type { BucketRate } from "./admit/bucket.ts";
import { weightOf } from "./admit/queue-ledger.ts";
import { type Refusal, refuse } from "./admit/refusal.ts";
import type { Intake } from "./intake.ts";
import { type Pod, record } from "./pod.ts";
import { fromAddresses, type HeaderField, headerFields, isWholeHeader, valuesOf } from "./smtp/header.ts";
import type { QueueLimits, Room } from "./queue-limits.ts";
import type { Inbound, InboundHooks, Login, SessionFacts } from "./smtp/inbound.ts";
import { type Reply, reply } from "./smtp/reply.ts";
import { dateField, messageIdField, receivedField, rewritten } from "./smtp/trace.ts";
import { inLeastUtf8, withALabels } from "./smtp/utf8.ts";
import type { Stored } from "./spool/publisher.ts";
import type { Quotas, Taken } from "./spool/quota.ts";
import { createOwnLimits } from "./telemetry/own-limits.ts";
import type { Rated, TenantRates } from "./tenant-rates.ts";

/** A header section larger than this is not looked into further: RFC 5322 has no limit, hostile clients do. */
const headerBound = 256 * 1024;
const streamField = "x-mailboat-stream";
const sendAtField = "x-send-at";
/** Not passed on: what is meant for us alone, who else got it (RFC 5322 3.6.3), and what the last host writes (RFC 5321 4.4). */
const droppedFields = [streamField, sendAtField, "bcc", "resent-bcc", "return-path"] as const;

export interface ReceiveDeps {
  readonly pod: Pod;
  readonly intake: Intake;
  readonly quotas: Quotas;
  readonly rates: TenantRates;
  readonly queueLimits: QueueLimits;
  admission(): Admission;
}

/** Reasons that are a limit of the tenant's own, and the limit's name in the metric. */
const limitOf: Partial<Record<Refusal["reason"], string>> = {
  rate: "rate",
  quota: "quota",
  "queue-full": "queued",
};

export function createReceive(deps: ReceiveDeps): InboundHooks {
  const { pod } = deps;
  const ownLimits = createOwnLimits(pod.clock, (tenant, limit, seconds) =>
    pod.metrics.tenantLimit.inc({ tenant: pod.metrics.tenantLabel(tenant), limit }, seconds),
  );

  const refused = (
    tenant: string,
    { reply: answer, reason }: Refusal,
    session: SessionFacts,
    from = "",
  ): Reply => {
    pod.metrics.rejections.inc({ tenant: pod.metrics.tenantLabel(tenant), reason });
    const limit = limitOf[reason];
    if (limit !== undefined) ownLimits.refused(tenant, limit);
    pod.log.info("rejected", { tenant, reason, from, session: session.id, remote: session.remoteAddress });
    // Of somebody who is known: strangers must not be able to push the events of mail out of the log.
    if (session.login !== null)
      record(pod, {
        id: session.id,
        type: "rejected",
        tenant,
        from,
        code: answer.code,
        enhanced: answer.enhanced,
        text: answer.text,
        class: reason,
      });
    return answer;
  };

  const usageOf = (room: Room, taken: Taken | undefined, rated: Rated | undefined): Usage => ({
    quota: taken === undefined || taken.kind === "taken" ? "open" : quotaOf[taken.kind],
    room,
    rate:
      rated === undefined || rated.kind === "taken"
        ? "open"
        : rated.kind === "over"
          ? rated.waitMs
          : "unknown",
  });

  /** What is left to decide once the tenant's queue, quota and rate, if they have limits, have said yes or no. */
  const decide = (arrived: Arrived, taken: Taken | undefined, rated: Rated | undefined): void => {
    const { inbound, login, fields, facts, answer, weight, room } = arrived;
    const { session, from, to } = inbound;
    const now = pod.clock.now();
    const giveBack = (): void => {
      if (taken?.kind === "taken") deps.quotas.giveBack(login.tenant, taken.day);
      if (rated?.kind === "taken" && arrived.rate !== undefined)
        deps.rates.giveBack(login.tenant, arrived.rate);
    };
    const leave = (was: "stored" | "unused"): void => {
      if (weight > 0 && room === "open") deps.queueLimits.end(login.tenant, weight, was);
    };
    const verdict = deps.admission().message(login, facts, usageOf(room, taken, rated), now);
    if (!verdict.ok) {
      giveBack();
      leave("unused");
      return answer(refused(login.tenant, verdict, session, from));
    }
    const id = pod.newId();
    const message = {
      id,
      tenant: login.tenant,
      stream: verdict.stream,
      class: verdict.class,
      from,
      to,
      body: stored(pod, inbound, { id, now, fields }),
      eightBit: inbound.eightBit,
      smtpUtf8: inbound.smtpUtf8,
      receivedAt: now,
      expiresAt: verdict.expiresAt,
      sendAt: verdict.sendAt,
    };
    deps.intake.put(
      message,
      (result) => {
        if (result.kind === "stored") {
          ownLimits.accepted(message.tenant);
          accepted(pod, message, session);
        } else giveBack();
        // What could not be reached may have it all the same.
        leave(result.kind === "stored" || result.reason === "unavailable" ? "stored" : "unused");
        answer(replyTo(result, id));
      },
      { isUrgent: inbound.isLast },
    );
    return undefined;
  };

  const takeQuota = (arrived: Arrived, quota: number | undefined): void => {
    // As below.
    if (quota === undefined || arrived.room !== "open") return takeRate(arrived, undefined);
    return deps.quotas.take(arrived.login.tenant, quota, (taken) => takeRate(arrived, taken));
  };

  const takeRate = (arrived: Arrived, taken: Taken | undefined): void => {
    // Refused anyway: it must not cost the tenant a token as well.
    const isRefused = arrived.room !== "open" || (taken !== undefined && taken.kind !== "taken");
    if (arrived.rate === undefined || isRefused) return decide(arrived, taken, undefined);
    return deps.rates.take(arrived.login.tenant, arrived.rate, (rated) => decide(arrived, taken, rated));
  };

  return {
    async authenticate(session, username, password) {
      const verdict = deps.admission().login(username, password);
      return verdict.ok ? verdict : { ok: false, reply: refused("unknown", verdict, session) };
    },
    trusted: (remoteAddress) => deps.admission().trusted(remoteAddress),
    mail(session, from, size) {
      if (session.login === null) return authenticationRequired;
      const verdict = deps.admission().mail(session.login, from, size);
      return verdict.ok ? null : refused(session.login.tenant, verdict, session, from);
    },
    recipient(session, from, to, next) {
      if (session.login === null) return authenticationRequired;
      const verdict = deps.admission().recipient(session.login, to, next);
      return verdict.ok ? null : refused(session.login.tenant, verdict, session, from);
    },
    malformed: (session, from, text) =>
      refused(session.login?.tenant ?? "unknown", refuse("malformed", text), session, from),
    message(given, answer) {
      const { session } = given;
      const login: Login | null = session.login;
      if (login === null) return answer(authenticationRequired);
      const fields = headerFields(given.body, headerBound);
      const inbound = given.smtpUtf8 ? inLeastUtf8(given, fields) : given;
      const { from, to } = inbound;
      // What could hide behind a malformed line (a second From) is not for us to guess.
      if (!isWholeHeader(inbound.body, fields))
        return answer(refused(login.tenant, malformedHeader, session, from));
      if (hopsOf(fields) > maxHops) return answer(refused(login.tenant, looping, session, from));
      const facts = {
        from,
        to,
        headerFrom: authors(fields),
        size: inbound.body.length,
        streamHeader: valuesOf(fields, streamField)[0] ?? null,
        sendAtHeaders: valuesOf(fields, sendAtField),
      };
      const tenant = pod.config().tenants.get(login.tenant);
      const rate = tenant === undefined ? undefined : rateOf(tenant);
      const quota = tenant?.limits.messagesPerDay;
      const limit = tenant?.limits.queuedMessages;
      const weight = limit === undefined ? 0 : weightOf(to, limit);
      const arrived: Arrived = { inbound, login, fields, facts, rate, weight, room: "open", answer };
      if (limit === undefined) return takeQuota(arrived, quota);
      return deps.queueLimits.take(login.tenant, { limit, weight }, (room) =>
        takeQuota({ ...arrived, room }, quota),
      );
    },
  };
}

interface Arrived {
  readonly inbound: Inbound;
  readonly login: Login;
  readonly fields: readonly HeaderField[];
  readonly facts: MessageFacts;
  readonly rate: BucketRate | undefined;
  /** Of the queue's limit, 0 = there is none. */
  readonly weight: number;
  /** Whether it was taken. */
  readonly room: Room;
  readonly answer: (reply: Reply) => void;
}

const quotaOf = { "used-up": "used-up", unavailable: "unknown" } as const;

/**
 * A From field that cannot be read is one of nobody's, which is refused: it must not hide behind a second, good one. An address that is its own
 * name (`a@b.example <a@b.example>`) is one.
 */
function authors(fields: readonly HeaderField[]): string[] {
  const all: string[] = [];
  for (const value of valuesOf(fields, "from")) {
    const addresses = fromAddresses(value);
    if (addresses.length === 0) all.push("");
    else all.push(...new Set(addresses.map(withALabels)));
  }
  return all;
}

const malformedHeader = refuse("malformed", "the message header is malformed or larger than 256 KiB");
/** RFC 5321 6.3: mail with more Received fields than 100 at least goes in a circle, and comes back with one more each time. */
const maxHops = 100;
const looping = refuse("loop", `the message has more than ${maxHops} Received fields: it goes in a circle`);
const authenticationRequired = reply(530, "5.7.0", "authentication required");

function hopsOf(fields: readonly HeaderField[]): number {
  let hops = 0;
  for (const field of fields) if (field.is("received")) hops++;
  return hops;
}

function accepted(
  pod: Pod,
  message: { id: string; tenant: string; stream: string; from: string; to: readonly string[]; body: Buffer },
  session: SessionFacts,
): void {
  const { id, tenant, stream, from, to, body } = message;
  pod.metrics.received.inc({ tenant: pod.metrics.tenantLabel(tenant), stream });
  record(pod, { id, type: "received", tenant, stream, from, to, size: body.length, tls: session.tls });
}

/** 452 tells a client that the space is missing, 451 that something else is: both mean "try again" (RFC 5321 4.2.3). */
function replyTo(result: Stored, id: string): Reply {
  if (result.kind === "stored") return reply(250, "2.0.0", `queued as ${id}`);
  switch (result.reason) {
    case "full":
      return reply(452, "4.3.1", "the queue is full, try again later");
    case "overloaded":
      return reply(451, "4.3.2", "too busy, try again later");
    case "unavailable":
      return reply(451, "4.3.0", "the queue cannot be reached, try again later");
    case "oversized":
      return reply(452, "4.5.3", "too many recipients for one message, send the rest in another");
    default:
      return result.reason satisfies never;
  }
}

/** The message as it is kept: our trace first, what a submission server adds, without what was meant for us only. */
function stored(
  pod: Pod,
  inbound: Inbound,
  { id, now, fields }: { id: string; now: number; fields: readonly HeaderField[] },
): Buffer {
  const { hostname } = pod.config().manifest;
  const { helo, remoteAddress, listener } = inbound.session;
  const protocol = listener === "http" ? "HTTP" : inbound.session.protocol;
  let added = receivedField({ helo, remoteAddress, hostname, protocol, id, time: now });
  if (!fields.some((field) => field.is("message-id"))) added += messageIdField(id, hostname);
  if (!fields.some((field) => field.is("date"))) added += dateField(now);
  return rewritten(inbound, { added, fields, dropped: droppedFields });
}
