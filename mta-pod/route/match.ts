/** Which rule a recipient domain falls under: the first that matches, by domain or by MX host. Pure; never fails. */
import type { Rule } from "#crds/pod-config/schema.ts";

export interface Ruleset {
  /**
   * `hosts` are the domain's preferred MX hosts (lower case), undefined while they are not known: then the answer may
   * be "needs-mx". null = no rule matches.
   */
  match(domain: string, hosts: readonly string[] | undefined): Rule | null | "needs-mx";
  /** The rule whose site the hosts belong to: the first that matches by MX host and sends there. */
  providerOf(hosts: readonly string[]): Rule | undefined;
  /** True for the rule that owns its first route: the first rule that has it. */
  ownsRoute(rule: Rule): boolean;
}

interface Matcher {
  readonly rule: Rule;
  readonly isCatchAll: boolean;
  readonly names: ReadonlySet<string>;
  /** With their leading dot. */
  readonly below: readonly string[];
}

export function createRuleset(rules: readonly Rule[]): Ruleset {
  const matchers = rules.map(matcherOf);
  const owners = new Map<string, Rule>();
  for (const rule of rules) {
    const route = routeName(rule);
    if (route !== undefined && !owners.has(route)) owners.set(route, rule);
  }
  return {
    providerOf: (hosts) =>
      rules.find(({ match, routes }) => routes.length === 0 && servesAny(match.mxSuffixes, hosts)),
    match(domain, hosts) {
      for (const matcher of matchers) {
        if (matchesDomain(matcher, domain)) return matcher.rule;
        const { mxSuffixes } = matcher.rule.match;
        if (mxSuffixes.length === 0) continue;
        if (hosts === undefined) return "needs-mx";
        if (servesAny(mxSuffixes, hosts)) return matcher.rule;
      }
      return null;
    },
    ownsRoute: (rule) => owners.get(routeName(rule) ?? "") === rule,
  };
}

/** `host:port` of the first route. */
export function routeName(rule: Rule): string | undefined {
  const [route] = rule.routes;
  return route === undefined ? undefined : hostAndPort(route);
}

export function hostAndPort({ host, port }: Pick<Rule["routes"][number], "host" | "port">): string {
  return `${host}:${port}`;
}

export function isCatchAll(rule: Rule): boolean {
  return rule.match.domains.includes("*");
}

function matcherOf(rule: Rule): Matcher {
  const { domains } = rule.match;
  return {
    rule,
    isCatchAll: isCatchAll(rule),
    names: new Set(domains),
    below: domains.filter((domain) => domain.startsWith("*.")).map((domain) => domain.slice(1)),
  };
}

function matchesDomain(matcher: Matcher, domain: string): boolean {
  return (
    matcher.isCatchAll || matcher.names.has(domain) || matcher.below.some((suffix) => domain.endsWith(suffix))
  );
}

/** Is one of the hosts, in lower case, a provider's with these `mxSuffixes`? */
export function servesAny(suffixes: readonly string[], hosts: readonly string[]): boolean {
  return hosts.some((host) => suffixes.some((suffix) => isServedBy(host, suffix)));
}

/** A suffix without a leading dot is a name: itself and what is below it, never a part of a label. */
function isServedBy(host: string, suffix: string): boolean {
  if (suffix.startsWith(".")) return host.endsWith(suffix);
  return host === suffix || host.endsWith(`.${suffix}`);
}
