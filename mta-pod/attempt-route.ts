/**
 * CORRIDOR: where the open recipients of an entry belong now. Domains that had one set of hosts as it was stored may have parted since: one is
 * gone, another is with somebody else, and what is true of the first is not of all. Never fails.
 */
import { hostsKey } from "./intake.ts";
import type { Loaded } from "./load.ts";
import type { Part } from "./rehoming.ts";
import { type Routed, type Router, sliceFor } from "./route/router.ts";
import { domainOf } from "./smtp/address.ts";

/** The domain of the first open recipient and its route; when `parts` is empty, of all. */
type Then = (domain: string, found: Routed, parts: readonly Part[]) => void;

/** Nearly always. */
const undivided: readonly Part[] = [];

interface Asked {
  readonly router: Pick<Router, "peek" | "route">;
  readonly loaded: Pick<Loaded, "envelope" | "open">;
  /** The site that the entry is queued for: of those that have none. */
  readonly site: string;
}

/** Calls `then` once, at once where nothing has to be waited for. */
export function routeOpen({ router, loaded, site }: Asked, then: Then): void {
  const { envelope, open } = loaded;
  const domainAt = (index: number): string => domainOf(envelope.to[index] ?? "");
  const domain = domainAt(open[0] ?? 0);
  if (open.length === 1 || open.every((index) => domainAt(index) === domain)) {
    const found = router.peek(domain);
    if (found !== undefined) return then(domain, found, undivided);
    return void router.route(domain).then((later) => then(domain, later, undivided));
  }
  const domains = [...new Set(open.map(domainAt))];
  void Promise.all(domains.map((one) => router.route(one))).then((routes) => {
    const parts = new Map<string, { site: string; open: number[] }>();
    for (const index of open) {
      const at = domains.indexOf(domainAt(index));
      const route = routes[at];
      const own = route?.kind === "site" ? sliceFor(route.site, envelope.id) : undefined;
      // What is refused is so with words about its domain; what is not known yet waits together.
      const key = own !== undefined ? hostsKey(own) : route?.kind === "refused" ? `!${at}` : "?";
      const part = parts.get(key) ?? { site: own?.id ?? site, open: [] };
      parts.set(key, part);
      part.open.push(index);
    }
    const [found] = routes;
    if (found !== undefined) then(domain, found, parts.size > 1 ? [...parts.values()] : undivided);
  });
  return undefined;
}
