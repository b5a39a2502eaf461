/** The compiled configuration a pod runs: one manifest, tenant slots and key slots. Units are in the names. Pure. */
import { z } from "zod";

/** Raised when a field changes its meaning; a pod refuses a version it does not know and keeps its last good one. */
export const podConfigVersion = 1;

/** Parts that the compiled tenants are split into, so that an edit rewrites one ConfigMap (decisions.md 5). */
export const tenantSlots = 64;
/** The same for the key material, in Secrets. */
export const keySlots = 256;

const text = z.string().max(1024);
const count = z.int().min(0);
const positive = z.int().min(1);
/** Per-second rate; 30/m is 0.5. */
const perSecond = z.number().positive();

const routeSchema = z.strictObject({ host: text, port: z.int().min(1).max(65535) });

const limitsSchema = z.strictObject({
  connections: positive.optional(),
  messagesPerConnection: positive.optional(),
  messagesPerSecond: perSecond.optional(),
  connectionsPerSecond: perSecond.optional(),
  /** Over all sources, as below. */
  perTenant: z
    .strictObject({ connections: positive.optional(), messagesPerSecond: perSecond.optional() })
    .optional(),
  perSenderDomain: z.strictObject({ messagesPerSecond: perSecond.optional() }).optional(),
});

const ruleSchema = z.strictObject({
  /** `shape-namespace/shape-name/rule-name`: what `why` and limits name. */
  name: text,
  /** The rule's `provider`, else its name: the metrics' label. */
  provider: text,
  match: z.strictObject({
    /** Recipient domains, A-labels in lower case; "*" matches every one, "*.example" every one below. */
    domains: z.array(text),
    /** Suffixes of MX host names, lower case, with their leading dot where given. */
    mxSuffixes: z.array(text),
  }),
  limits: limitsSchema,
  /** The limits of each slice of its sites; together they are `limits`. Absent = they are not sliced. */
  slices: z.array(limitsSchema).min(2).max(64).optional(),
  timeouts: z.strictObject({
    connectMs: positive,
    bannerMs: positive,
    commandMs: positive,
    dataMs: positive,
    /** After the final dot (RFC 5321 4.5.3.2.6: 10 minutes). */
    finalMs: positive,
  }),
  tls: z.strictObject({ mode: z.enum(["Opportunistic", "Required", "None"]) }),
  retry: z.strictObject({
    firstMs: positive.optional(),
    maxMs: positive.optional(),
    maxAgeMs: positive.optional(),
  }),
  /** Smart hosts in place of MX, tried in order; empty = MX. */
  routes: z.array(routeSchema),
});

const sourceSchema = z.strictObject({
  name: text,
  /** Local address to bind, absent = the kernel's choice. */
  address: text.optional(),
  ehlo: text,
  weight: positive,
  /** In mode Proxy, of every source; a host name is looked up at each connection. */
  proxy: z.strictObject({ host: text, port: z.int().min(1).max(65535) }).optional(),
});

const tenantSchema = z.strictObject({
  /** `namespace/name`. */
  id: text,
  state: z.enum(["Active", "Hold", "Reject"]),
  /** It is deleted, or has left the pool: refused as in Reject, while `state` says what becomes of what is queued. Absent where that is Reject. */
  isGoing: z.literal(true).optional(),
  weight: positive,
  domains: z.array(
    z.strictObject({
      name: text,
      returnPath: text.optional(),
      dkim: z.array(z.strictObject({ selector: text })),
    }),
  ),
  /** Passwords are in the key slots; the login name is there too. */
  credentials: z.array(z.strictObject({ name: text, stream: text.optional() })),
  limits: z.strictObject({
    messagesPerSecond: perSecond.optional(),
    burst: positive.optional(),
    messagesPerDay: positive.optional(),
    recipientsPerMessage: positive,
    messageSizeBytes: positive,
    queuedMessages: positive.optional(),
  }),
  /** Always holds "default". */
  streams: z.array(z.strictObject({ name: text, class: z.enum(["transactional", "bulk"]) })),
  retry: z.strictObject({ maxAgeMs: positive.optional() }),
});

export const manifestSchema = z.strictObject({
  version: z.literal(podConfigVersion),
  /** Grows with each compile that changed anything; what `/statusz` and Programmed speak of. */
  generation: count,
  /** SHA-256 (hex) over everything but `generation`. */
  digest: text,
  /** `namespace/name` of the SendingPool. */
  pool: text,
  hostname: text,
  queue: z.strictObject({
    servers: z.array(text).min(1),
    replicas: z.int().min(1).max(5),
    shards: z.int().min(1).max(64),
    /** Limit of each spool stream; intake stops at 80 %. */
    maxBytesPerShard: positive,
  }),
  trust: z.array(z.strictObject({ cidr: text, tenant: text })),
  egress: z.strictObject({
    /** Absent = PodNetwork. */
    mode: z.enum(["PodNetwork", "HostNetwork", "Proxy", "Sink"]).optional(),
    /** In mode Proxy. */
    proxy: z
      .strictObject({
        protocol: z.enum(["SOCKS5", "PROXYv2"]),
        /** Until the proxy is reached and has let the pod in. */
        connectMs: positive,
        /** The login is in a key slot. */
        hasLogin: z.boolean(),
      })
      .optional(),
    /** CIDRs of private, loopback and cluster ranges that mail may still go to. */
    allowDestinations: z.array(text),
    sources: z.array(sourceSchema).min(1),
  }),
  rules: z.array(ruleSchema),
  retry: z.strictObject({ firstMs: positive, maxMs: positive, maxAgeMs: positive }),
  drainTimeoutMs: positive,
  /** Digest of each tenant slot that is not empty, by its two-digit number. */
  slots: z.record(z.string(), text),
});

/**
 * What of the manifest every edit changes. Beside each slot is the edition that it was last written in: the newest of all of them
 * and of the manifest's own counts, so that the edit of one tenant is the writing of one ConfigMap.
 */
export const editionSchema = z.strictObject({
  version: z.literal(podConfigVersion),
  generation: count,
  /** As the manifest's: over everything that the manifest says besides, with these slots. */
  digest: text,
  slots: z.record(z.string(), text),
});

export const tenantSlotSchema = z.strictObject({
  version: z.literal(podConfigVersion),
  tenants: z.array(tenantSchema),
});

const credentialKeySchema = z.strictObject({
  tenant: text,
  credential: text,
  username: text,
  /** hex of HMAC-SHA-256(key = `tenant/username`, password): a login is compared, never shown. */
  passwordMac: text,
});

const dkimKeySchema = z.strictObject({
  tenant: text,
  domain: text,
  selector: text,
  algorithm: z.enum(["rsa", "ed25519"]),
  /** PKCS #8 DER in base64. */
  der: z.string().max(16384),
});

const proxyLoginSchema = z.strictObject({
  username: z.string().min(1).max(255),
  password: z.string().min(1).max(255),
});

export const keySlotSchema = z.strictObject({
  version: z.literal(podConfigVersion),
  credentials: z.array(credentialKeySchema),
  dkim: z.array(dkimKeySchema),
  /** At the egress proxies (RFC 1929); in one slot at most. */
  proxyLogin: proxyLoginSchema.optional(),
});

export type Rule = z.infer<typeof ruleSchema>;
export type Source = z.infer<typeof sourceSchema>;
export type TenantConfig = z.infer<typeof tenantSchema>;
export type Manifest = z.infer<typeof manifestSchema>;
export type Edition = z.infer<typeof editionSchema>;
export type TenantSlot = z.infer<typeof tenantSlotSchema>;
export type KeySlot = z.infer<typeof keySlotSchema>;
export type CredentialKey = z.infer<typeof credentialKeySchema>;
export type DkimKey = z.infer<typeof dkimKeySchema>;
export type ProxyLogin = z.infer<typeof proxyLoginSchema>;

/** Everything a pod runs, put together from the files: what rooms are handed. */
export interface PodConfig {
  readonly manifest: Manifest;
  readonly tenants: ReadonlyMap<string, TenantConfig>;
  readonly credentials: readonly CredentialKey[];
  readonly dkimKeys: readonly DkimKey[];
  /** There when `manifest.egress.proxy.hasLogin`. */
  readonly proxyLogin?: ProxyLogin;
}
