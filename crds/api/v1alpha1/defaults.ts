/** Every default in one table; descriptions of fields, the schemas and the compiler take them from here. Pure. */
import { defaultMessageBytes } from "#crds/values/message-bounds.ts";

/**
 * Stored with the object by the API server: what a reader of the object needs to see. Changing one changes only new objects.
 */
export const storedDefaults = {
  state: "Active",
  weight: 1,
  replicas: 1,
  streamClass: "transactional",
  dkimKey: "tls.key",
  dkimAlgorithm: "Auto",
  credentialType: "Password",
  egressMode: "PodNetwork",
  allowedTenantsFrom: "Same",
  queueReplicas: 3,
  queueShards: 8,
  sourceWeight: 100,
  routePort: 25,
  deletionPolicy: "Drain",
  networkPolicyEnabled: false,
  proxyProtocol: "SOCKS5",
  proxyHostNetwork: false,
} as const;

/** Applied by the compiler: tuning, which a release may improve for everybody. Durations as users write them. */
export const compiledDefaults = {
  recipientsPerMessage: 100,
  messageSizeBytes: defaultMessageBytes,
  /** Per (source, site). */
  connections: 10,
  /** RFC 5321 says nothing of it; the next MX is waiting. */
  connectTimeout: "60s",
  /** RFC 5321 4.5.3.2.1. */
  bannerTimeout: "5m",
  /** RFC 5321 4.5.3.2.2 and 3: MAIL and RCPT; more than the 2 minutes of 4.5.3.2.4 for DATA. */
  commandTimeout: "5m",
  /** RFC 5321 4.5.3.2.5: for each block. */
  dataTimeout: "3m",
  /** RFC 5321 4.5.3.2.6: giving up early after the dot sends the mail twice. */
  finalTimeout: "10m",
  tlsMode: "Opportunistic",
  retryFirst: "10m",
  retryMax: "4h",
  retryMaxAge: "72h",
  maxBytesPerShard: 2_147_483_648,
  drainTimeoutSeconds: 600,
  proxyPort: 1080,
  proxyConnectTimeout: "10s",
  proxyCpu: "50m",
  proxyMemory: "96Mi",
  minReplicas: 1,
  targetBacklogPerReplica: 1000,
  maxBacklogAge: "60s",
  scaleDownStabilization: "300s",
  scaleDownStepPercent: 10,
  podCpu: "250m",
  podMemory: "256Mi",
  maxUnavailable: "25%",
  /** A day longer than mail is tried by default, so that what is queued comes to its end or its report. */
  tenantDrainTimeout: "96h",
} as const;
