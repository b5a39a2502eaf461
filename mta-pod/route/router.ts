/** Recipient domain → site → addresses, by rules and DNS; remembers what it found; never rejects. */
import { LRUCache } from "lru-cache";
import { isIP } from "node:net";
import type { Rule } from "#crds/pod-config/schema.ts";
import { normalizeDomain } from "#crds/values/domain.ts";
import type { Clock, Random } from "#mta-pod/runtime/clock.ts";
import { ownReply } from "#mta-pod/smtp/reply.ts";
import type { Reply } from "#mta-pod/smtp/reply.ts";
import { createDestinations } from "./destinations.ts";
import { createDnsCache } from "./dns-cache.ts";
import type { Cached } from "./dns-cache.ts";
import { createRuleset } from "./match.ts";
import type { Ruleset } from "./match.ts";
import type { MxRecord, Resolver } from "./resolver.ts";
import { mxHops, preferredHosts, singleHop, siteOf } from "./site.ts";
import type { Hop, SiteRoute } from "./site.ts";
import { resolveTargets } from "./targets.ts";
import type { Targets } from "./targets.ts";

export { sliceFor, sliceNamed, type SiteRoute } from "./site.ts";

export type Routed =
  | { readonly kind: "site"; readonly site: SiteRoute }
  | { readonly kind: "refused"; readonly reply: Reply }
  | { readonly kind: "unknown"; readonly text: string };

export interface RouterOptions {
  readonly resolver: Resolver;
  readonly clock: Clock;
  readonly random: Random;
  /** Family of addresses that is tried first, default "ipv4". */
  readonly prefer?: "ipv4" | "ipv6";
}

export interface Router {
  /** Takes over new rules and destinations; what is known of DNS stays. */
  configure(rules: readonly Rule[], allowDestinations: readonly string[]): void;
  /** What follows "@", in any form; without asking DNS, undefined when that would be needed. */
  peek(domain: string): Routed | undefined;
  route(domain: string): Promise<Routed>;
  targets(site: SiteRoute): Promise<Targets>;
}

const maxDomains = 20_000;

interface Remembered {
  readonly routed: Routed;
  /** By the monotonic clock, ms. */
  readonly expires: number;
}

/** Starts without rules and with public destinations only, until `configure`. */
export function createRouter({ resolver, clock, random, prefer = "ipv4" }: RouterOptions): Router {
  const cache = createDnsCache(resolver, clock);
  const remembered = new LRUCache<string, Remembered>({ max: maxDomains });
  let rules = createRuleset([]);
  let destinations = createDestinations([]);

  const remember = (text: string, routed: Routed, expires: number): Routed => {
    remembered.set(text, { routed, expires });
    return routed;
  };
  const viaMx = (text: string, domain: string, { answer, expires }: Cached<MxRecord>): Routed =>
    remember(text, routeByMx(rules, domain, answer), expires);
  /** Without DNS, or the domain whose MX has to be known first. */
  const start = (text: string): Routed | { readonly kind: "needs-mx"; readonly domain: string } => {
    const known = remembered.get(text);
    if (known !== undefined && known.expires > clock.monotonic()) return known.routed;
    const parsed = parseDomain(text);
    if (parsed.kind === "malformed") return parsed.routed;
    const { domain } = parsed;
    const isLiteral = parsed.kind === "literal";
    const rule = rules.match(domain, isLiteral ? [] : undefined);
    if (isLiteral || (rule !== "needs-mx" && rule !== null && rule.routes.length > 0)) {
      const site = siteOf(rules, rule === "needs-mx" ? null : rule, isLiteral ? singleHop(domain) : []);
      return remember(text, { kind: "site", site }, Number.POSITIVE_INFINITY);
    }
    return { kind: "needs-mx", domain };
  };

  return {
    configure(nextRules, allowDestinations) {
      rules = createRuleset(nextRules);
      destinations = createDestinations(allowDestinations);
      remembered.clear();
    },
    peek(text) {
      const routed = start(text);
      if (routed.kind !== "needs-mx") return routed;
      const cached = cache.peekMx(routed.domain);
      return cached === undefined ? undefined : viaMx(text, routed.domain, cached);
    },
    async route(text) {
      const routed = start(text);
      if (routed.kind !== "needs-mx") return routed;
      return viaMx(text, routed.domain, await cache.mx(routed.domain));
    },
    targets: (site) => resolveTargets(site, { cache, destinations, random, prefer }),
  };
}

type ParsedDomain =
  | { readonly kind: "name" | "literal"; readonly domain: string }
  | { readonly kind: "malformed"; readonly routed: Routed };

function parseDomain(text: string): ParsedDomain {
  const literal = /^\[(?:IPv6:)?([0-9a-f:.]{2,45})\]$/i.exec(text)?.[1];
  if (literal !== undefined && isIP(literal) !== 0) return { kind: "literal", domain: literal.toLowerCase() };
  const domain = normalizeDomain(text);
  if (domain !== undefined) return { kind: "name", domain };
  return {
    kind: "malformed",
    routed: refused(ownReply(550, "5.1.2", "the recipient's domain is malformed")),
  };
}

function refused(given: Reply): Routed {
  return { kind: "refused", reply: given };
}

function routeByMx(rules: Ruleset, domain: string, answer: Cached<MxRecord>["answer"]): Routed {
  const mx = hopsOf(domain, answer);
  const rule = rules.match(domain, mx.kind === "hops" ? preferredHosts(mx.hops) : []);
  const hasRoutes = rule !== null && rule !== "needs-mx" && rule.routes.length > 0;
  // Only a rule that looks at MX hosts made us ask; the smart host behind it decides by itself what exists. But as
  // long as the answer is open, the mail may belong to the rule before it.
  const isDecided = mx.kind !== "unknown" || isReserved(domain);
  if (mx.kind !== "hops" && !(hasRoutes && isDecided)) return mx;
  const hops = mx.kind === "hops" ? mx.hops : [];
  return { kind: "site", site: siteOf(rules, rule === "needs-mx" ? null : rule, hops) };
}

/** RFC 6761: names that no public server can know, so that its silence says nothing new about them. */
function isReserved(domain: string): boolean {
  return /(^|\.)(example|invalid|localhost|test)$/.test(domain);
}

type Hops = { readonly kind: "hops"; readonly hops: readonly Hop[] } | Exclude<Routed, { kind: "site" }>;

function hopsOf(domain: string, answer: Cached<MxRecord>["answer"]): Hops {
  switch (answer.kind) {
    case "failed":
      return { kind: "unknown", text: `${domain}: ${answer.text}` };
    case "none":
      // RFC 5321 5.1: without MX the domain is its own host; whether it has an address shows in targets().
      return answer.isName
        ? { kind: "hops", hops: singleHop(domain) }
        : { kind: "refused", reply: ownReply(550, "5.1.2", `no such domain: ${domain}`) };
    case "found":
      return hopsOfRecords(domain, answer.records);
    default:
      return answer satisfies never;
  }
}

function hopsOfRecords(domain: string, records: readonly MxRecord[]): Hops {
  if (records.every(({ host }) => host === "" || host === "."))
    return {
      kind: "refused",
      reply: ownReply(556, "5.1.10", `the domain ${domain} accepts no mail (null MX)`),
    };
  const hops = mxHops(records);
  if (hops.length > 0) return { kind: "hops", hops };
  return { kind: "refused", reply: ownReply(550, "5.4.4", `the MX records of ${domain} name no host`) };
}
