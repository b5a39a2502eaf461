/** Who may send what: logins, senders, recipients, sizes, rates and quotas of one configuration. Pure; says no with a reply. */
import type { PriorityClass } from "#crds/wire/envelope.ts";
import type { PodConfig, TenantConfig } from "#crds/pod-config/schema.ts";
import { normalizeDomain } from "#crds/values/domain.ts";
import { defaultMessageBytes } from "#crds/values/message-bounds.ts";
import { rateInWords } from "#crds/values/rate.ts";
import type { BucketRate } from "./bucket.ts";
import { createLogins } from "./login.ts";
import type { AdmittedLogin, LoginVerdict } from "./login.ts";
import { quoted, refuse } from "./refusal.ts";
import type { Refusal } from "./refusal.ts";
import { expiryOf, sendAtOf } from "./send-at.ts";

type Verdict = { readonly ok: true } | Refusal;

export interface MessageFacts {
  readonly from: string;
  readonly to: readonly string[];
  /** Addresses of the From header, without names and brackets. */
  readonly headerFrom: readonly string[];
  readonly size: number;
  /** Of `X-Mailboat-Stream` or the HTTP field; null = none. */
  readonly streamHeader: string | null;
  /** Values of `X-Send-At`, or the HTTP field. */
  readonly sendAtHeaders: readonly string[];
}

/** What the pod knows of the tenant's use so far. */
export interface Usage {
  /** Whether the tenant's quota of this UTC day, if it has one, lets this message through. */
  readonly quota: "open" | "used-up" | "unknown";
  /** Whether the tenant's limit of queued messages, if it has one, leaves room for this one. */
  readonly room: "open" | "full" | "unknown";
  /** Whether the tenant's rate, if it has one, lets this message through: a number is how long it does not, ms. */
  readonly rate: "open" | "unknown" | number;
}

type MessageVerdict =
  | {
      readonly ok: true;
      readonly stream: string;
      readonly class: PriorityClass;
      /** 0 = at once. */
      readonly sendAt: number;
      readonly expiresAt: number;
    }
  | Refusal;

export interface Admission {
  /** An unknown name costs as much as a wrong password. */
  login(username: string, password: string): LoginVerdict;
  /** The login of a client that the pool trusts by its address; null = it has to authenticate. */
  trusted(remoteAddress: string): AdmittedLogin | null;
  /** `declaredSize` is SIZE= of MAIL, 0 = not given. */
  mail(login: AdmittedLogin, from: string, declaredSize: number): Verdict;
  /** `to` are the recipients taken so far. */
  recipient(login: AdmittedLogin, to: readonly string[], next: string): Verdict;
  message(login: AdmittedLogin, facts: MessageFacts, usage: Usage, now: number): MessageVerdict;
  /**
   * Largest message the tenant may send, bytes; 0 for an unknown tenant. Before a login (null) the largest that anybody may send, the default at
   * least: what EHLO announces then is a promise that a client may hold us to after it has logged in (RFC 1870).
   */
  maxMessageBytes(login: AdmittedLogin | null): number;
}

interface TenantIndex {
  readonly config: TenantConfig;
  readonly domains: ReadonlySet<string>;
  /** Sender domains of the envelope: the tenant's and their return paths. */
  readonly envelopeDomains: ReadonlySet<string>;
  readonly streams: ReadonlyMap<string, PriorityClass>;
}

/** Builds the indexes once; each call is a few look-ups. Make a new one when the configuration changes. */
export function createAdmission(config: PodConfig): Admission {
  const tenants = new Map([...config.tenants].map(([id, tenant]) => [id, indexTenant(tenant)]));
  const logins = createLogins(config);
  let largest = defaultMessageBytes;
  for (const { limits } of config.tenants.values()) largest = Math.max(largest, limits.messageSizeBytes);
  const { maxAgeMs } = config.manifest.retry;
  return {
    login: logins.login,
    trusted: logins.trusted,
    mail: (login, from, declaredSize) => admitMail(tenants.get(login.tenant), from, declaredSize),
    recipient: (login, to, next) => admitRecipient(tenants.get(login.tenant), to, next),
    message: (login, facts, usage, now) => {
      const tenant = tenants.get(login.tenant);
      const refusal = refuseMessage(tenant, facts);
      if (refusal !== undefined) return refusal;
      return tenant === undefined ? unknownTenant() : spend(tenant, { login, facts, usage, now, maxAgeMs });
    },
    maxMessageBytes: (login) =>
      login === null ? largest : (tenants.get(login.tenant)?.config.limits.messageSizeBytes ?? 0),
  };
}

function indexTenant(config: TenantConfig): TenantIndex {
  const domains = config.domains.map((domain) => domain.name);
  const returnPaths = config.domains.flatMap((domain) => domain.returnPath ?? []);
  return {
    config,
    domains: new Set(domains),
    envelopeDomains: new Set([...domains, ...returnPaths]),
    streams: new Map(config.streams.map((stream) => [stream.name, stream.class])),
  };
}

function unknownTenant(): Refusal {
  return refuse("unknown-tenant", "this tenant is not configured here yet, try again later");
}

/** Domain of an address as it is compared; undefined when there is none or it is malformed. */
function domainOf(address: string): string | undefined {
  const at = address.lastIndexOf("@");
  return at < 1 ? undefined : normalizeDomain(address.slice(at + 1));
}

function admitMail(tenant: TenantIndex | undefined, from: string, declaredSize: number): Verdict {
  if (tenant === undefined) return unknownTenant();
  return refuseSender(tenant, from) ?? refuseSize(tenant, declaredSize) ?? { ok: true };
}

function refuseSender(tenant: TenantIndex, from: string): Refusal | undefined {
  if (tenant.config.state === "Reject" || tenant.config.isGoing === true)
    return refuse("tenant-rejected", "sending is switched off for this account");
  if (from === "")
    return refuse("null-sender", "the null sender is for mail servers, use an address of yours");
  const domain = domainOf(from);
  if (domain !== undefined && tenant.envelopeDomains.has(domain)) return undefined;
  const named = domain ?? quoted(from.slice(from.lastIndexOf("@") + 1));
  return refuse("sender-domain", `sender domain "${named}" is not one of this account's domains`);
}

function refuseSize(tenant: TenantIndex, size: number): Refusal | undefined {
  const limit = tenant.config.limits.messageSizeBytes;
  if (size <= limit) return undefined;
  return refuse("too-large", `message of ${size} bytes is larger than the ${limit} bytes permitted`);
}

function admitRecipient(tenant: TenantIndex | undefined, to: readonly string[], next: string): Verdict {
  if (tenant === undefined) return unknownTenant();
  const limit = tenant.config.limits.recipientsPerMessage;
  if (to.length >= limit)
    return refuse("too-many-recipients", `at most ${limit} recipients per message, send the rest in another`);
  return isDeliverable(next) ? { ok: true } : refuseRecipient(next);
}

function refuseRecipient(address: string): Refusal {
  // RFC 5321 4.5.1 wants it taken, but nobody has a mailbox here: all mail is for somewhere else.
  if (address.toLowerCase() === "postmaster")
    return refuse("no-mailbox", "there are no mailboxes here: say at which domain the postmaster is meant");
  return refuse("bad-recipient", `"${quoted(address)}" is not a full address with a domain`);
}

const addressLiteral = /^\[(?:\d{1,3}(?:\.\d{1,3}){3}|IPv6:[0-9a-f:.]{2,45})\]$/i;

/** Full domains and address literals; what resolves there is the router's business. */
function isDeliverable(address: string): boolean {
  const at = address.lastIndexOf("@");
  const domain = at < 1 ? "" : address.slice(at + 1);
  return addressLiteral.test(domain) || normalizeDomain(domain)?.includes(".") === true;
}

/** Checks that hold whatever was used so far; RFC 6409 6.1 wants them at the end of DATA as well. */
function refuseMessage(tenant: TenantIndex | undefined, facts: MessageFacts): Refusal | undefined {
  if (tenant === undefined) return unknownTenant();
  const limit = tenant.config.limits.recipientsPerMessage;
  if (facts.to.length > limit)
    return refuse("too-many-recipients", `at most ${limit} recipients per message, send the rest in another`);
  const bad = facts.to.find((address) => !isDeliverable(address));
  if (bad !== undefined) return refuseRecipient(bad);
  return (
    refuseSender(tenant, facts.from) ??
    refuseSize(tenant, facts.size) ??
    refuseHeader(tenant, facts.headerFrom)
  );
}

function refuseHeader(tenant: TenantIndex, headerFrom: readonly string[]): Refusal | undefined {
  const [address] = headerFrom;
  if (address === undefined) return refuse("from-header", "the message has no From header with an address");
  if (headerFrom.length > 1)
    return refuse("from-header", "the message has several From addresses, providers accept only one");
  const domain = domainOf(address);
  if (domain !== undefined && tenant.domains.has(domain)) return undefined;
  const named = domain ?? quoted(address.slice(address.lastIndexOf("@") + 1));
  return refuse("from-header", `From domain "${named}" is not one of this account's domains`);
}

interface Spending {
  readonly login: AdmittedLogin;
  readonly facts: MessageFacts;
  readonly usage: Usage;
  readonly now: number;
  readonly maxAgeMs: number;
}

function spend(tenant: TenantIndex, { login, facts, usage, now, maxAgeMs }: Spending): MessageVerdict {
  const stream = login.stream ?? facts.streamHeader ?? "default";
  const priority = tenant.streams.get(stream);
  if (priority === undefined)
    return refuse("unknown-stream", `stream "${quoted(stream)}" is not one of this account's streams`);
  const { limits, retry } = tenant.config;
  const sendAt = sendAtOf(facts.sendAtHeaders, now);
  if (!sendAt.ok) return refuse("send-at", sendAt.text);
  if (limits.queuedMessages !== undefined && usage.room === "full")
    return refuse("queue-full", `${limits.queuedMessages} messages are queued, try again later`);
  if (limits.queuedMessages !== undefined && usage.room === "unknown")
    return refuse("queue-unknown", "the queued messages cannot be counted, try again later");
  const quota = limits.messagesPerDay;
  if (quota !== undefined && usage.quota === "used-up")
    return refuse("quota", `the quota of ${quota} messages per day is used up until 00:00 UTC`);
  if (quota !== undefined && usage.quota === "unknown")
    return refuse("quota-unknown", "the quota cannot be read, try again later");
  const perSecond = limits.messagesPerSecond;
  if (perSecond !== undefined && usage.rate === "unknown")
    return refuse("rate-unknown", "the rate cannot be read, try again later");
  if (perSecond !== undefined && typeof usage.rate === "number") {
    const seconds = Math.max(1, Math.ceil(usage.rate / 1000));
    const text = `over the rate of ${rateInWords(perSecond)}, try again in ${seconds} s`;
    const refusal = refuse("rate", text);
    return { ...refusal, reply: { ...refusal.reply, retrySeconds: seconds } };
  }
  const expiresAt = expiryOf({ now, sendAt: sendAt.at, maxAgeMs: retry.maxAgeMs ?? maxAgeMs });
  return { ok: true, stream, class: priority, sendAt: sendAt.at, expiresAt };
}

/** The tenant's token bucket; undefined = it has no rate. Without a burst it may send one second's worth at once. */
export function rateOf({ limits }: TenantConfig): BucketRate | undefined {
  const { messagesPerSecond, burst } = limits;
  return messagesPerSecond === undefined
    ? undefined
    : { perSecond: messagesPerSecond, burst: burst ?? messagesPerSecond };
}
