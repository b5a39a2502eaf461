/** TrafficShape: ordered rules for destinations: how many, how fast, how safe, how often again. Schema, type and defaults; pure. */
import { z } from "zod";
import { parseDuration } from "#crds/values/duration.ts";
import { conditionsSchema, observedGeneration } from "./conditions.ts";
import { compiledDefaults, storedDefaults } from "./defaults.ts";
import {
  described,
  domainMatch,
  duration,
  host,
  hostSuffix,
  itemName,
  keyedList,
  orderedList,
  port,
  rate,
  textSet,
  withRules,
} from "./fields.ts";
import { providerNames } from "./providers.ts";

const match = withRules(
  z.strictObject({
    domains: described("Recipient domains.", textSet(domainMatch, 256).min(1)).optional(),
    mxSuffixes: described(
      "Names or suffixes of MX hosts; whoever is served by them is one site.",
      textSet(hostSuffix, 64).min(1),
    ).optional(),
    provider: described(
      "A provider that is known by its MX hosts; one site as well.",
      z.enum(providerNames),
    ).optional(),
  }),
  [
    {
      rule: "has(self.domains) || has(self.mxSuffixes) || has(self.provider)",
      expected: "at least one of domains, mxSuffixes and provider",
      fault: ({ domains, mxSuffixes, provider }) =>
        domains === undefined && mxSuffixes === undefined && provider === undefined ? "none" : undefined,
    },
  ],
);

const limits = z.strictObject({
  connections: described(
    `Connections at once per source; ${compiledDefaults.connections} unless set.`,
    z.int().min(1).max(10_000),
  ).optional(),
  messagesPerConnection: described(
    "Messages before a connection is closed.",
    z.int().min(1).max(1_000_000),
  ).optional(),
  messageRate: described("Transactions (final dots) per source, evenly spaced.", rate).optional(),
  connectionRate: described("New connections per source.", rate).optional(),
  perTenant: described(
    "Of each tenant at the site, over all sources; within the limits above.",
    z.strictObject({
      connections: described("Connections in use at once.", z.int().min(1).max(10_000)).optional(),
      messageRate: described("Transactions, evenly spaced.", rate).optional(),
    }),
  ).optional(),
  perSenderDomain: described(
    "Of each sender domain (of MAIL FROM) at the site, over all sources; mail from nobody counts for its tenant by itself.",
    z.strictObject({ messageRate: described("Transactions, evenly spaced.", rate).optional() }),
  ).optional(),
});

/** As many as a pool has shards at most: more could not be at more pods. */
const maxSlices = 64;

const patience = (what: string, unlessSet: string): z.ZodOptional<z.ZodString> =>
  described(`${what}; ${unlessSet} unless set.`, duration("1s", "30m")).optional();

const timeouts = z.strictObject({
  connect: patience("Wait for a connection", compiledDefaults.connectTimeout),
  banner: patience("Wait for the greeting", compiledDefaults.bannerTimeout),
  command: patience("Wait for the reply to a command", compiledDefaults.commandTimeout),
  data: patience("Wait for progress while the message is sent", compiledDefaults.dataTimeout),
  final: patience("Wait for the reply to the final dot", compiledDefaults.finalTimeout),
});

const retry = withRules(
  z.strictObject({
    first: described(
      `Wait after the first deferral; ${compiledDefaults.retryFirst} unless set.`,
      duration("1s", "24h"),
    ).optional(),
    max: described(
      `Longest wait; ${compiledDefaults.retryMax} unless set.`,
      duration("1s", "48h"),
    ).optional(),
    maxAge: described(
      `Age at which an undelivered message is returned; ${compiledDefaults.retryMaxAge} unless set.`,
      duration("1m", "168h"),
    ).optional(),
  }),
  [
    {
      rule: "!has(self.first) || !has(self.max) || duration(self.first) <= duration(self.max)",
      expected: "first no longer than max",
      fault: ({ first, max }) => {
        const [firstMs, maxMs] = [first, max].map((text) => parseDuration(text ?? ""));
        const isLonger = firstMs !== undefined && maxMs !== undefined && firstMs > maxMs;
        return isLonger ? `${first} and ${max}` : undefined;
      },
    },
  ],
);

const rule = z.strictObject({
  name: described("Name of the rule, and of its site when it matches by MX host.", itemName),
  match: described("Destinations that the rule is for; one of the fields is enough.", match),
  limits: described(
    "Limits, per source and site unless they say otherwise. Rules whose mail goes to the same hosts keep the largest of their limits together, each its own.",
    limits,
  ).optional(),
  slices: described(
    "Parts of each site of the rule that different pods may serve at once: the limits are divided among them, so there are never more than the smallest number in these. 1 unless set.",
    z.int().min(1).max(maxSlices),
  ).optional(),
  timeouts: described(
    "How long to wait for the other side; what is not set, and sites without a rule, as RFC 5321 4.5.3.2 asks.",
    timeouts,
  ).optional(),
  tls: described(
    "Encryption.",
    z.strictObject({
      mode: described(
        "Opportunistic: when offered. Required: encrypted, or not delivered. None: never.",
        z.enum(["Opportunistic", "Required", "None"]).default(compiledDefaults.tlsMode),
      ),
    }),
  ).optional(),
  retry: described("When deferred mail is tried again.", retry).optional(),
  routes: described(
    "Smart hosts in place of the destination's MX, in order of preference.",
    orderedList(
      z.strictObject({
        host: described(
          "Host name or address, by which limits go: of two names of one host, or a name and its address, each has its own.",
          host,
        ),
        port: described("Port.", port.default(storedDefaults.routePort)),
      }),
      8,
    ).min(1),
  ).optional(),
});

export const trafficShapeSpecSchema = z.strictObject({
  rules: described("The rules, in order: the first that matches wins.", keyedList(rule, "name", 200).min(1)),
});

export const trafficShapeStatusSchema = z.strictObject({
  observedGeneration: observedGeneration.optional(),
  conditions: conditionsSchema.optional(),
  ruleCount: described("Rules.", z.int().min(0).max(200)).optional(),
  pools: described("Pools that refer to it.", z.int().min(0).max(100_000)).optional(),
  tenants: described("Tenants of these pools.", z.int().min(0).max(10_000_000)).optional(),
});

export type TrafficShapeSpec = z.infer<typeof trafficShapeSpecSchema>;
export type TrafficRule = TrafficShapeSpec["rules"][number];
