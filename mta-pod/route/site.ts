/** The site of a recipient domain: its name, its hosts, its rule. Pure; never fails. */
import { isIP } from "node:net";
import { getDomain } from "tldts";
import type { Rule } from "#crds/pod-config/schema.ts";
import { hash32 } from "#crds/values/hash.ts";
import { hostsToken, sharedPlaces, siteBeside, siteOfHosts, sliceName } from "#crds/wire/subject.ts";
import { hostAndPort, isCatchAll, routeName } from "./match.ts";
import type { Ruleset } from "./match.ts";
import type { MxRecord } from "./resolver.ts";

export interface Hop {
  /** Lower case; an address only for a smart host or an address literal. */
  readonly host: string;
  readonly port: number;
  readonly preference: number;
  /** Where its connections are counted, when that is not this site: the place of the sites that lead to it first. */
  readonly home?: string;
}

export interface SiteRoute {
  /** Two domains with one id have one rule: limits hang on the id. */
  readonly id: string;
  /** The rule's, else the label: for metrics. */
  readonly provider: string;
  /** For people: the most preferred host. */
  readonly label: string;
  readonly rule: Rule | null;
  /** Most preferred first, equals by name, so that the list of a domain is the same each time. */
  readonly hops: readonly Hop[];
  /** A part of a hot site: its name and limits are its own. */
  readonly isSlice?: true;
}

const smtpPort = 25;
/** Hosts of one domain that are looked at; RFC 5321 5.1 wants at least two tried. */
const maxHops = 20;

/** MX hosts in use order: sorted, each once, real host names only, at most 20. A hostile zone can say anything. */
export function mxHops(records: readonly MxRecord[]): readonly Hop[] {
  const sorted = records
    .filter(({ host }) => isHostName(host))
    .sort((left, right) => left.preference - right.preference || (left.host < right.host ? -1 : 1));
  const hosts = new Map<string, Hop>();
  for (const { host, preference } of sorted)
    if (!hosts.has(host) && hosts.size < maxHops) hosts.set(host, { host, port: smtpPort, preference });
  return [...hosts.values()];
}

/** The hops of a domain that is its own host: no MX (RFC 5321 5.1) or an address literal. */
export function singleHop(host: string): readonly Hop[] {
  return [{ host, port: smtpPort, preference: 0 }];
}

/**
 * Hosts by which `mxSuffixes` are compared: those that mail goes to first. A backup host at a provider does not make a
 * domain one of that provider's, or anybody could put slow hosts of their own into a provider's site.
 */
export function preferredHosts(hops: readonly Hop[]): readonly string[] {
  const [best] = hops;
  return hops.filter((hop) => hop.preference === best?.preference).map((hop) => hop.host);
}

/** @example siteOf(rules, null, mxHops([{ host: "mx.a.example", preference: 10 }])).id === "mx:a.example/mx" */
export function siteOf(rules: Ruleset, rule: Rule | null, mx: readonly Hop[]): SiteRoute {
  const hops = rule !== null && rule.routes.length > 0 ? routeHops(rule) : mx;
  const label = hops[0]?.host ?? "";
  const id = siteId(rules, rule, hops);
  return { id, provider: rule?.provider ?? label, label, rule, hops: withHomes(rules, rule, { id, hops }) };
}

function withHomes(
  rules: Ruleset,
  rule: Rule | null,
  { id, hops }: Pick<SiteRoute, "id" | "hops">,
): readonly Hop[] {
  if (hops.length < 2) return hops;
  const own = sharedPlaces(id);
  return hops.map((hop) => {
    const isRoute = rule !== null && rule.routes.length > 0;
    const provider = isRoute ? undefined : rules.providerOf([hop.host]);
    const place = isRoute
      ? hostAndPort(hop)
      : (provider?.name ?? siteOfHosts(organisationOf([hop.host]), [hop.host]));
    if (own.includes(place)) return hop;
    // Of a provider with slices the first one lets guests in, within its share.
    return { ...hop, home: provider?.slices === undefined ? place : sliceName(place, 0) };
  });
}

/** The slice that mail of this id goes to, the same each time it is asked; a site without slices is its own. */
export function sliceFor(site: SiteRoute, id: string): SiteRoute {
  const { rule, isSlice = false } = site;
  return rule?.slices === undefined || isSlice ? site : sliceOf(site, rule, hash32(id) % rule.slices.length);
}

/** The site or the slice of it that has this name now; undefined = none has. */
export function sliceNamed(site: SiteRoute, name: string): SiteRoute | undefined {
  const { id, rule } = site;
  if (rule?.slices === undefined) return id === name ? site : undefined;
  const slice = rule.slices.findIndex((_, index) => sliceName(id, index) === name);
  return slice < 0 ? undefined : sliceOf(site, rule, slice);
}

function sliceOf(site: SiteRoute, rule: Rule, slice: number): SiteRoute {
  const rules = slicedRules.get(rule) ?? (rule.slices ?? []).map((limits) => ({ ...rule, limits }));
  slicedRules.set(rule, rules);
  return { ...site, id: sliceName(site.id, slice), rule: rules[slice] ?? rule, isSlice: true };
}

/** Of each rule those of its slices. */
const slicedRules = new WeakMap<Rule, readonly Rule[]>();

function routeHops(rule: Rule): readonly Hop[] {
  return rule.routes.map(({ host, port }, preference) => ({ host: host.toLowerCase(), port, preference }));
}

function siteId(rules: Ruleset, rule: Rule | null, hops: readonly Hop[]): string {
  // A provider is known by its MX hosts: whoever is served by them is one site, however many hosts that are.
  if (rule !== null && rule.match.mxSuffixes.length > 0) return rule.name;
  const route = rule === null ? undefined : routeName(rule);
  if (rule !== null && route !== undefined)
    return rules.ownsRoute(rule) ? route : siteBeside(route, rule.name);
  const names = hops.map((hop) => hop.host);
  // A rule for some domains only has a site of its own: other domains of these hosts have other limits. A rule for
  // all of them needs none: it is then the only one that can lead here without a name.
  const site = siteOfHosts(organisationOf(preferredHosts(hops)), names);
  if (rule === null || isCatchAll(rule)) return site;
  const provider = rules.providerOf(preferredHosts(hops));
  return provider === undefined
    ? siteBeside(site, rule.name)
    : siteBeside(provider.name, `${rule.name}:${hostsToken(names)}`);
}

/**
 * The registrable domain that the preferred hosts have in common, by the public suffix list with its private part: customers of a
 * hoster are organisations of their own. undefined = there is none: a zone that names somebody else's hosts beside its own, slow ones
 * must not have them share a limit. A backup host is its own affair, as in `preferredHosts`.
 */
function organisationOf(hosts: readonly string[]): string | undefined {
  const [first, ...others] = hosts.map((host) => getDomain(host, { allowPrivateDomains: true }) ?? undefined);
  return others.every((other) => other === first) ? first : undefined;
}

const hostName = /^[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*$/;

function isHostName(host: string): boolean {
  // RFC 5321 5.1: an MX names a host; an address in its place is a mistake that is not guessed at.
  return host.length <= 253 && hostName.test(host) && isIP(host) === 0;
}
