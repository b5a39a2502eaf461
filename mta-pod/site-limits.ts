/** CORRIDOR: the limits of a route as the scheduler takes them. Pure. */
import type { SiteRoute } from "./route/router.ts";
import type { SiteLimits } from "./schedule/types.ts";

/** What a rule that is silent about them, or no rule, means; per (source, site). */
export const defaultConnections = 10;
export const defaultMessagesPerConnection = 100;

export function limitsOf(route: SiteRoute): SiteLimits {
  const limits = route.rule?.limits;
  return {
    connections: limits?.connections ?? defaultConnections,
    ...(limits?.messagesPerSecond === undefined ? {} : { messagesPerSecond: limits.messagesPerSecond }),
    ...(limits?.connectionsPerSecond === undefined
      ? {}
      : { connectionsPerSecond: limits.connectionsPerSecond }),
    ...(limits?.perTenant === undefined ? {} : { perTenant: limits.perTenant }),
    ...(limits?.perSenderDomain === undefined ? {} : { perSenderDomain: limits.perSenderDomain }),
  };
}
