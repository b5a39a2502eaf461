/** The addresses of a site's hosts, in the order they are to be tried; asks DNS, never rejects. */
import { isIP } from "node:net";
import type { Random } from "#mta-pod/runtime/clock.ts";
import { ownReply } from "#mta-pod/smtp/reply.ts";
import type { Reply } from "#mta-pod/smtp/reply.ts";
import type { Target } from "#mta-pod/smtp/transaction.ts";
import type { Destinations } from "./destinations.ts";
import type { DnsCache } from "./dns-cache.ts";
import type { AddressRecord } from "./resolver.ts";
import type { Hop, SiteRoute } from "./site.ts";

export type Targets =
  | { readonly kind: "targets"; readonly targets: readonly Target[] }
  | { readonly kind: "refused"; readonly reply: Reply }
  | { readonly kind: "unknown"; readonly text: string };

export interface TargetOptions {
  readonly cache: DnsCache;
  readonly destinations: Destinations;
  readonly random: Random;
  /** Which family of a host is tried first. */
  readonly prefer: "ipv4" | "ipv6";
}

const maxTargets = 16;
/** So that one host cannot take all places. */
const maxPerHost = 8;

type Found =
  | { readonly kind: "addresses"; readonly targets: readonly Target[]; readonly refused: readonly string[] }
  | { readonly kind: "none" }
  | { readonly kind: "failed"; readonly text: string };

/** Resolves every host before it says that there is no way: one of them may be the only one that exists. */
export async function resolveTargets(site: SiteRoute, options: TargetOptions): Promise<Targets> {
  const order = shuffledByPreference(site.hops, options.random);
  const found = await Promise.all(order.map((hop) => addressesOf(hop, options)));
  const targets = new Map<string, Target>();
  for (const one of found)
    for (const target of one.kind === "addresses" ? one.targets : []) {
      const key = `${target.address} ${target.port}`;
      if (targets.size < maxTargets && !targets.has(key)) targets.set(key, target);
    }
  if (targets.size > 0) return { kind: "targets", targets: [...targets.values()] };
  const failed = found.find((one) => one.kind === "failed");
  if (failed !== undefined) return { kind: "unknown", text: failed.text };
  const refused = found.flatMap((one) => (one.kind === "addresses" ? one.refused : []));
  const text =
    refused.length > 0
      ? `no host of ${site.label} has an address that mail may be sent to (${refused.slice(0, 3).join(", ")})`
      : `no host of ${site.label} has an address`;
  // A smart host is the platform's own: its mistake must not cost the tenants their mail.
  if (site.rule !== null && site.rule.routes.length > 0) return { kind: "unknown", text };
  return { kind: "refused", reply: ownReply(550, "5.4.4", text) };
}

async function addressesOf(hop: Hop, options: TargetOptions): Promise<Found> {
  const family = isIP(hop.host);
  if (family !== 0)
    return toFound(hop, [{ address: hop.host, family: family === 4 ? 4 : 6, ttl: 0 }], options);
  const { answer } = await options.cache.addresses(hop.host);
  switch (answer.kind) {
    case "found":
      return toFound(hop, answer.records, options);
    case "none":
      return { kind: "none" };
    case "failed":
      return { kind: "failed", text: `${hop.host}: ${answer.text}` };
    default:
      return answer satisfies never;
  }
}

function toFound(hop: Hop, records: readonly AddressRecord[], options: TargetOptions): Found {
  const { destinations, random, prefer } = options;
  const preferred = prefer === "ipv4" ? 4 : 6;
  const ordered = [
    ...shuffled(
      records.filter((record) => record.family === preferred),
      random,
    ),
    ...shuffled(
      records.filter((record) => record.family !== preferred),
      random,
    ),
  ];
  const targets: Target[] = [];
  const refused: string[] = [];
  const { host, port, home } = hop;
  const to = { host, port, ...(home === undefined ? {} : { home }) };
  for (const { address } of ordered) {
    if (!destinations.isAllowed(address)) refused.push(address);
    else if (targets.length < maxPerHost) targets.push({ ...to, address });
  }
  return { kind: "addresses", targets, refused };
}

/** RFC 5321 5.1: hosts of equal preference are tried in random order, to spread the load. */
function shuffledByPreference(hops: readonly Hop[], random: Random): readonly Hop[] {
  return shuffled(hops, random).sort((left, right) => left.preference - right.preference);
}

function shuffled<Item>(items: readonly Item[], random: Random): Item[] {
  return items
    .map((item) => ({ item, key: random() }))
    .sort((left, right) => left.key - right.key)
    .map(({ item }) => item);
}
