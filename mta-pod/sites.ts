/**
 * CORRIDOR: gives the scheduler what the router knows of each site (its limits), and takes entries to where they belong
 * when a site turns out to be another one: another lane, or another shard by publish → ack → delete (design.md §3, Moves).
 */
import { LRUCache } from "lru-cache";
import type { Rule } from "#crds/pod-config/schema.ts";
import { shardOf } from "#crds/wire/subject.ts";
import type { Envelope } from "#crds/wire/envelope.ts";
import { createRehoming, type Part } from "./rehoming.ts";
import type { Ended } from "./attempt-outcome.ts";
import type { Loaded, LoadedMoving } from "./load.ts";
import type { Pod } from "./pod.ts";
import { sliceNamed, type SiteRoute } from "./route/router.ts";
import type { Dispatch, FinishResult, Lane } from "./schedule/types.ts";
import { defaultConnections, limitsOf } from "./site-limits.ts";
import type { Slicing } from "./slicing.ts";
import { domainOf } from "./smtp/address.ts";
import type { Queued } from "./without-attempt.ts";

const retryUnknownMs = 15_000;
/** Sites of which it is kept what is wrong with them. */
const maxTroubles = 1000;
export interface Sites {
  /** An entry for `domain` found its site again: limits are set where they were not known. */
  found(site: string, route: SiteRoute, domain: string): void;
  /** The lane of an entry, by its sender's domain where limits ask for that. The scheduler knows the site then; else the router is asked. */
  laneOf(envelope: Envelope): Lane;
  /** An entry that was indexed before limits asked for its sender's domain goes to that lane. False = it is in the right one. */
  sortIn(dispatch: Dispatch, envelope: Envelope): boolean;
  /** An entry met another site than its lane's on the way out. `ended` once it is at rest, here or in another shard. */
  rehome(dispatch: Dispatch, found: Loaded, to: { route: SiteRoute; ended: Ended }): void;
  /** Its recipients belong to different sites or hosts by now: each part but the first becomes an entry of its own. */
  divide(dispatch: Dispatch, found: Loaded, to: { parts: readonly Part[]; ended: Ended }): void;
  /** Some of it was being moved, or divided off: that goes on, wherever its recipients belong by now. */
  goOn(queued: Queued, found: LoadedMoving, ended: Ended): void;
  /** False: its slices change, and nothing may be sent there yet. */
  isOpen(route: SiteRoute): boolean;
  /** It goes back to the head of its lane, which waits until the route is open. */
  wait(dispatch: Dispatch, route: SiteRoute): void;
  /** Connections at the sites of a rule. */
  openAt(rule: string): number;
  /** Nothing begins at the sites of a rule until it is open again; answers which these are. */
  hold(rule: string): readonly string[];
  /** Rules changed: ask again for the limits of every known site. */
  refresh(): void;
  providerOf(site: string): string;
  /** What an attempt there met before any mail could be sent; "" = nothing. Of a domain too, where its hosts are not all of its site's. */
  tried(place: string, trouble: string): void;
  /** What kept the last attempt there from being made, in words; "" = nothing, or it is not known here. */
  troubleOf(place: string): string;
  /** Attempts that may be under way there at once, over all sources. */
  concurrencyOf(site: string): number;
}

/** How to end a dispatch that did not touch its connection: an idle one stays idle, one to be opened never was. */
export function unused(dispatch: Dispatch): "kept" | "closed" {
  return dispatch.connection === "reuse" ? "kept" : "closed";
}

/** The end of a dispatch that came to no transaction, for a reason of our own. */
export function untried(dispatch: Dispatch): FinishResult {
  return { feedback: "neutral", connection: unused(dispatch) };
}

interface KnownSite {
  /** The last that was found there, so that its route can be asked for again. */
  domain: string;
  /** Its label for metrics. */
  readonly provider: string;
  /** Its name; "" = it has none, or it is not known yet. */
  readonly rule: string;
  readonly isResolved: boolean;
  /** The scheduler has had its limits since it met the site. */
  readonly hasLimits: boolean;
  readonly connections: number;
  /** Its limits ask for the senders' domains, or may do so once they are known. */
  readonly isBySender: boolean;
}

export interface SitesOptions {
  readonly shards: number;
  wake(): void;
  /** A site is met that the scheduler does not know (any more). */
  met(site: string): void;
  readonly slicing: Pick<Slicing, "isOpen" | "changedAt">;
  /** Others may have sent there as late as `at`, ms since 1970. */
  spent(site: string, at: number): void;
  /** The next owner of the shard waits until we are through with it. */
  isAwaited(shard: number, seq: number): boolean;
  /** A number that changes whenever somebody else has had the shard meanwhile. */
  tenureOf(shard: number): number;
}

export function createSites(
  pod: Pod,
  { shards, wake, met, isAwaited, tenureOf, slicing, spent }: SitesOptions,
): Sites {
  const { scheduler, router, clock, log } = pod;
  const known = new Map<string, KnownSite>();
  const troubles = new LRUCache<string, string>({ max: maxTroubles });
  /** Some rule has limits per sender domain. */
  let isAsked = false;

  const learn = (site: string, domain: string, route: SiteRoute): void => {
    const { rule, provider } = route;
    if (!slicing.isOpen(rule)) return holdAt(site, domain, rule);
    const changedAt = slicing.changedAt(rule);
    if (changedAt !== undefined && known.get(site)?.isResolved !== true) spent(site, changedAt);
    const limits = limitsOf(route);
    const { connections, perSenderDomain } = limits;
    const isBySender = perSenderDomain !== undefined;
    const facts = { domain, provider, rule: rule?.name ?? "", connections, isBySender };
    known.set(site, { ...facts, isResolved: true, hasLimits: true });
    return scheduler.setSite(site, { limits }, clock.now());
  };
  const unlearnt = (site: string, domain: string, { rule = "", isNew = false } = {}): void => {
    const before = known.get(site);
    known.set(site, {
      domain,
      provider: site,
      // Its connections are still those of the rule it had.
      rule: before?.rule || rule,
      isResolved: false,
      hasLimits: before?.hasLimits === true && !isNew,
      connections: defaultConnections,
      isBySender: true,
    });
  };
  const holdAt = (site: string, domain: string, rule: Pick<Rule, "name"> | null): void => {
    unlearnt(site, domain, rule === null ? {} : { rule: rule.name });
    scheduler.setSite(site, "unresolved", clock.now());
  };

  const resolve = async (site: string, domain: string): Promise<void> => {
    const routed = await router.route(domain);
    const now = clock.now();
    /** Its limits are those last known, else one connection, until a domain of it is met that tells them. */
    const leaveOpen = (): void => {
      scheduler.setSite(site, { retryAt: now }, now);
      unlearnt(site, domain);
    };
    const hasLimits = known.get(site)?.hasLimits === true;
    switch (routed.kind) {
      case "site": {
        const named = sliceNamed(routed.site, site);
        if (named !== undefined) learn(site, domain, named);
        else if (!slicing.isOpen(routed.site.rule)) holdAt(site, domain, routed.site.rule);
        // This domain's entries are taken there one by one as they are dispatched; others of the lane may have stayed.
        else leaveOpen();
        break;
      }
      case "refused":
        // The trouble of one domain is not that of others at the site. Where there are none each entry is dispatched and settled by that
        // reply; nothing connects, so limits do not matter.
        if (hasLimits) leaveOpen();
        else scheduler.setSite(site, { limits: { connections: defaultConnections } }, now);
        break;
      case "unknown":
        log.warn("site unresolved", { site, domain, reason: routed.text });
        if (hasLimits) leaveOpen();
        else {
          scheduler.setSite(site, { retryAt: now + retryUnknownMs }, now);
          unlearnt(site, domain);
        }
        break;
      default:
        routed satisfies never;
    }
    wake();
  };

  const meet = (site: string, domain: string): void => {
    unlearnt(site, domain, { isNew: true });
    met(site);
    scheduler.setSite(site, "unresolved", clock.now());
    void resolve(site, domain);
    sweep();
  };
  /** Looks at two whenever one is met: what the scheduler has forgotten goes, so that no more than those it knows stay. */
  const sweep = (): void => {
    for (const [site, of] of known.entries().take(2)) {
      known.delete(site);
      if (scheduler.knowsSite(site)) known.set(site, of);
    }
  };

  const rehoming = createRehoming(pod, { shards, wake, isAwaited, tenureOf });

  return {
    laneOf({ site, tenant, class: priority, from, to }) {
      const lane: Lane = { site, tenant, class: priority };
      const found = known.get(site);
      if (found === undefined || !scheduler.knowsSite(site)) meet(site, domainOf(to[0] ?? ""));
      const isBySender = isAsked && found?.isBySender !== false;
      return isBySender ? { ...lane, senderDomain: domainOf(from) } : lane;
    },
    sortIn(dispatch, { from }) {
      const { handle, lane } = dispatch;
      if (!isAsked || lane.senderDomain !== undefined) return false;
      if (known.get(lane.site)?.isBySender !== true) return false;
      const result = { ...untried(dispatch), isUnspent: true };
      scheduler.finish(handle, result, clock.now());
      scheduler.requeue(handle, clock.now());
      scheduler.relane(handle, { ...lane, senderDomain: domainOf(from) }, clock.now());
      return true;
    },
    rehome(dispatch, found, { route, ended }) {
      const { handle, entry, lane } = dispatch;
      const shard = shardOf(route.id, shards);
      scheduler.finish(handle, untried(dispatch), clock.now());
      log.info("site changed", { id: found.envelope.id, from: lane.site, to: route.id, shard });
      if (shard !== entry.shard) return rehoming.move(dispatch, found, { site: route.id, ended });
      scheduler.requeue(handle, clock.now());
      learn(route.id, domainOf(found.envelope.to[found.open[0] ?? 0] ?? ""), route);
      scheduler.relane(handle, { ...lane, site: route.id }, clock.now());
      return ended(true);
    },
    divide(dispatch, found, { parts, ended }) {
      const { handle, lane } = dispatch;
      scheduler.finish(handle, untried(dispatch), clock.now());
      const sites = parts.map(({ site }) => site);
      log.info("recipients parted", { id: found.envelope.id, from: lane.site, to: sites });
      rehoming.divide(dispatch, found, { parts, ended });
    },
    goOn(queued, found, ended) {
      log.info("move goes on", { id: found.envelope.id, from: queued.lane.site, to: found.moving.site });
      rehoming.finish(queued, found, ended);
    },
    found(site, route, domain) {
      const of = known.get(site);
      if (of?.isResolved !== true || !scheduler.knowsSite(site)) learn(site, domain, route);
      // One that was met long ago may have gone from there.
      else of.domain = domain;
    },
    isOpen: ({ rule }) => slicing.isOpen(rule),
    wait(dispatch, { rule }) {
      const { handle, lane } = dispatch;
      const now = clock.now();
      holdAt(lane.site, known.get(lane.site)?.domain ?? lane.site, rule);
      scheduler.requeue(handle, now);
      scheduler.finish(handle, { ...untried(dispatch), isUnspent: true }, now);
    },
    openAt(rule) {
      let open = 0;
      for (const [site, of] of known) if (of.rule === rule) open += scheduler.siteState(site).open;
      return open;
    },
    hold(rule) {
      const held = [...known].filter(([, of]) => of.rule === rule);
      for (const [site, { domain }] of held) holdAt(site, domain, { name: rule });
      return held.map(([site]) => site);
    },
    refresh() {
      isAsked = pod.config().manifest.rules.some(({ limits }) => limits.perSenderDomain !== undefined);
      for (const [site, { domain }] of known) if (scheduler.knowsSite(site)) void resolve(site, domain);
    },
    providerOf: (site) => known.get(site)?.provider ?? "other",
    tried(site, trouble) {
      if (trouble !== "") troubles.set(site, trouble);
      else if (troubles.size > 0) troubles.delete(site);
    },
    troubleOf: (site) => troubles.get(site) ?? "",
    concurrencyOf: (site) =>
      (known.get(site)?.connections ?? defaultConnections) * pod.config().manifest.egress.sources.length,
  };
}
