/** A TrafficShape's rule as written → the rule a pod runs: units, defaults, providers by their hosts. Pure, never fails. */
import { compiledDefaults } from "#crds/api/v1alpha1/defaults.ts";
import { identityOf } from "#crds/api/v1alpha1/metadata.ts";
import { providerSuffixes } from "#crds/api/v1alpha1/providers.ts";
import type { Resource } from "#crds/api/v1alpha1/snapshot.ts";
import type { TrafficRule, TrafficShapeSpec } from "#crds/api/v1alpha1/traffic-shape.ts";
import { defaultTimeouts } from "#crds/pod-config/default-timeouts.ts";
import type { Rule } from "#crds/pod-config/schema.ts";
import { parseDuration } from "#crds/values/duration.ts";
import { parseRate } from "#crds/values/rate.ts";

export function compileShape(shape: Resource<TrafficShapeSpec>): Rule[] {
  return shape.spec.rules.map((rule) => compileRule(identityOf(shape.metadata), rule));
}

function compileRule(shape: string, rule: TrafficRule): Rule {
  const { match, limits = {} } = rule;
  return {
    name: `${shape}/${rule.name}`,
    provider: match.provider ?? rule.name,
    match: {
      domains: sortedSet(match.domains ?? []),
      mxSuffixes: sortedSet([
        ...(match.mxSuffixes ?? []),
        ...(match.provider === undefined ? [] : providerSuffixes[match.provider]),
      ]),
    },
    limits: limitsOf(limits),
    ...optional("slices", slicesOf(limits, rule.slices)),
    timeouts: timeoutsOf(rule),
    tls: { mode: rule.tls?.mode ?? compiledDefaults.tlsMode },
    retry: retryOf(rule),
    routes: (rule.routes ?? []).map(({ host, port }) => ({ host: host.toLowerCase(), port })),
  };
}

type Limits = NonNullable<TrafficRule["limits"]>;

function limitsOf(limits: Limits): Rule["limits"] {
  const { perTenant, perSenderDomain } = limits;
  const ofTenant = {
    ...optional("connections", perTenant?.connections),
    ...optional("messagesPerSecond", perSecond(perTenant?.messageRate)),
  };
  const ofDomain = optional("messagesPerSecond", perSecond(perSenderDomain?.messageRate));
  return {
    connections: limits.connections ?? compiledDefaults.connections,
    ...optional("messagesPerConnection", limits.messagesPerConnection),
    ...optional("messagesPerSecond", perSecond(limits.messageRate)),
    ...optional("connectionsPerSecond", perSecond(limits.connectionRate)),
    ...optional("perTenant", unlessEmpty(ofTenant)),
    ...optional("perSenderDomain", unlessEmpty(ofDomain)),
  };
}

/** Whole numbers, so that in no period the slices together do more than the site may: of 30/s four have 8, 8, 7 and 7; 7.5 each could make 32. */
function slicesOf(limits: Limits, wanted = 1): Rule["limits"][] | undefined {
  const divisible = [
    limits.connections ?? compiledDefaults.connections,
    limits.perTenant?.connections,
    ...[limits, limits.perTenant, limits.perSenderDomain].map((of) => countOf(of?.messageRate)),
    countOf(limits.connectionRate),
  ];
  const count = Math.min(wanted, ...divisible.filter((number) => number !== undefined));
  if (count < 2) return undefined;
  return Array.from({ length: count }, (_, slice) => limitsOf(shareOf(limits, slice, count)));
}

/** What the slice has of the limits; those of one connection are the same for all. */
function shareOf(limits: Limits, slice: number, count: number): Limits {
  const { messagesPerConnection, connections = compiledDefaults.connections, perTenant } = limits;
  const part = (whole: number): number => Math.floor(whole / count) + Number(slice < whole % count);
  const partOfRate = (rate: string | undefined): string | undefined =>
    rate?.replace(/^\d+/, (number) => String(part(Number(number))));
  return {
    ...optional("messagesPerConnection", messagesPerConnection),
    connections: part(connections),
    ...optional("messageRate", partOfRate(limits.messageRate)),
    ...optional("connectionRate", partOfRate(limits.connectionRate)),
    perTenant: {
      ...optional(
        "connections",
        perTenant?.connections === undefined ? undefined : part(perTenant.connections),
      ),
      ...optional("messageRate", partOfRate(perTenant?.messageRate)),
    },
    perSenderDomain: optional("messageRate", partOfRate(limits.perSenderDomain?.messageRate)),
  };
}

/** @example countOf("30/m") === 30 */
function countOf(rate: string | undefined): number | undefined {
  return rate === undefined ? undefined : Number.parseInt(rate, 10);
}

function unlessEmpty<Value extends object>(value: Value): Value | undefined {
  return Object.keys(value).length === 0 ? undefined : value;
}

function timeoutsOf({ timeouts = {} }: TrafficRule): Rule["timeouts"] {
  const { connect, banner, command, data, final } = timeouts;
  return {
    connectMs: given(connect) ?? defaultTimeouts.connectMs,
    bannerMs: given(banner) ?? defaultTimeouts.bannerMs,
    commandMs: given(command) ?? defaultTimeouts.commandMs,
    dataMs: given(data) ?? defaultTimeouts.dataMs,
    finalMs: given(final) ?? defaultTimeouts.finalMs,
  };
}

/** A rule that sets only one of first and max moves the other's default out of its way. */
function retryOf({ retry = {} }: TrafficRule): Rule["retry"] {
  const [first, max, age] = [given(retry.first), given(retry.max), given(retry.maxAge)];
  const firstMs = first ?? lesser(milliseconds(compiledDefaults.retryFirst), max);
  const maxMs = max ?? greater(milliseconds(compiledDefaults.retryMax), first);
  return { ...optional("firstMs", firstMs), ...optional("maxMs", maxMs), ...optional("maxAgeMs", age) };
}

function given(text: string | undefined): number | undefined {
  return text === undefined ? undefined : milliseconds(text);
}

function lesser(byDefault: number, max: number | undefined): number | undefined {
  return max === undefined ? undefined : Math.min(byDefault, max);
}

function greater(byDefault: number, first: number | undefined): number | undefined {
  return first === undefined ? undefined : Math.max(byDefault, first);
}

/** `{}` for undefined: what is not set is absent. */
export function optional<Name extends string, Value>(
  name: Name,
  value: Value | undefined,
): { [field in Name]?: Value } {
  // A computed key is typed as any string: the assertion says what the line before it builds.
  return value === undefined ? {} : ({ [name]: value } as { [field in Name]: Value });
}

/** The schema has checked the text; anything else is a bug. */
export function milliseconds(text: string): number {
  const ms = parseDuration(text);
  if (ms === undefined) throw new RangeError(`Cannot compile a duration: expected e.g. "90s", got "${text}"`);
  return ms;
}

export function perSecond(text: string | undefined): number | undefined {
  return text === undefined ? undefined : parseRate(text);
}

export function sortedSet(texts: readonly string[]): string[] {
  return [...new Set(texts)].sort();
}
