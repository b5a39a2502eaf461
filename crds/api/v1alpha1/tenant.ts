/** Tenant: whose mail it is: its domains and keys, its logins, its limits. Schema, type and defaults; pure. */
import { z } from "zod";
import { maxMessageBytes, maxRecipients } from "#crds/values/message-bounds.ts";
import { conditionsSchema, observedGeneration } from "./conditions.ts";
import { compiledDefaults, storedDefaults } from "./defaults.ts";
import {
  described,
  duration,
  fullDomain,
  itemName,
  keyedList,
  objectName,
  rate,
  withRules,
} from "./fields.ts";

const secretName = described("Name of a Secret in the tenant's namespace.", objectName);

const secretKey = z
  .string()
  .max(253)
  .regex(/^[A-Za-z0-9._-]+$/, { error: "the key of a Secret: letters, digits, dots, hyphens, underscores" });

const dkim = z.strictObject({
  selector: described(
    "Selector under the domain's `_domainkey`.",
    z
      .string()
      .max(63)
      .regex(/^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$/, { error: "a DKIM selector in lower case" }),
  ),
  secretRef: described(
    "Where the private key is: PEM or DER (PKCS #8, PKCS #1), or a raw ed25519 seed in base64.",
    z.strictObject({
      name: secretName,
      key: described("Key of the Secret.", secretKey.default(storedDefaults.dkimKey)),
    }),
  ),
  algorithm: described(
    "Auto: rsa-sha256 or ed25519-sha256, as the key says.",
    z.enum(["Auto"]).default(storedDefaults.dkimAlgorithm),
  ),
});

const tenantDomain = z.strictObject({
  name: described("A sender domain; MAIL FROM and From must be in one of them.", fullDomain),
  dkim: described(
    "Signatures that mail from this domain gets, one each.",
    keyedList(dkim, "selector", 4),
  ).optional(),
  returnPath: described("A domain for bounces that MAIL FROM may have besides.", fullDomain).optional(),
});

const credential = z.strictObject({
  name: described(
    "Name of the credential: tells the tenant's logins apart; clients do not see it.",
    itemName,
  ),
  type: described("How it is proved.", z.enum(["Password"]).default(storedDefaults.credentialType)),
  secretRef: described(
    "A Secret with the keys `username` and `password`.",
    z.strictObject({ name: secretName }),
  ),
  stream: described("Stream of the mail that comes with this login.", itemName).optional(),
});

const quantity = z.int().min(1).max(1_000_000_000_000);

const limits = withRules(
  z.strictObject({
    messageRate: described("Accepted messages per unit of time; above it 451.", rate).optional(),
    burst: described(
      "Messages above the rate that may come at once.",
      z.int().min(1).max(100_000_000),
    ).optional(),
    messagesPerDay: described("Accepted messages per UTC day; above it 452.", quantity).optional(),
    recipientsPerMessage: described(
      `Recipients of one message; ${compiledDefaults.recipientsPerMessage} unless set.`,
      z.int().min(1).max(maxRecipients),
    ).optional(),
    messageSizeBytes: described(
      `Size of one message; ${compiledDefaults.messageSizeBytes} unless set.`,
      z.int().min(1024).max(maxMessageBytes),
    ).optional(),
    queuedMessages: described("Messages in the queue; above it 452.", quantity).optional(),
  }),
  [
    {
      rule: "!has(self.burst) || has(self.messageRate)",
      expected: "burst only together with messageRate",
      fault: (value) =>
        value.burst === undefined || value.messageRate !== undefined ? undefined : "burst alone",
    },
  ],
);

const stream = z.strictObject({
  name: described("Name of the stream, as in `X-Mailboat-Stream`.", itemName),
  class: described(
    "transactional goes before bulk; bulk keeps a floor.",
    z.enum(["transactional", "bulk"]).default(storedDefaults.streamClass),
  ),
});

export const tenantSpecSchema = withRules(
  z.strictObject({
    poolRef: described(
      "The SendingPool that sends the mail. The one that was named before sends what it has queued, and goes on as ever while this one cannot take the tenant.",
      z.strictObject({
        name: described("Name of the pool.", objectName),
        namespace: described(
          "Namespace of the pool, which must let in tenants of this one (`allowedTenants`); the tenant's own unless set.",
          itemName,
        ).optional(),
      }),
    ),
    state: described(
      "Active; Hold accepts mail and keeps it; Reject refuses new mail and sends what is queued.",
      z.enum(["Active", "Hold", "Reject"]).default(storedDefaults.state),
    ),
    domains: described("Sender domains.", keyedList(tenantDomain, "name", 64).min(1)),
    credentials: described("Logins of the tenant's clients.", keyedList(credential, "name", 32)).optional(),
    limits: described("What the tenant may hand in.", limits).optional(),
    weight: described(
      "Share of a contended site, relative to other tenants.",
      z.int().min(1).max(1000).default(storedDefaults.weight),
    ),
    streams: described("Kinds of mail; `default` is always there.", keyedList(stream, "name", 8)).optional(),
    retry: described(
      "How long mail that is deferred is tried.",
      z.strictObject({
        maxAge: described(
          "Age at which an undelivered message is returned; else the pool's.",
          duration("1m", "168h"),
        ).optional(),
      }),
    ).optional(),
    deletionPolicy: described(
      "When the tenant is deleted: Drain sends what is queued first, Discard drops it.",
      z.enum(["Drain", "Discard"]).default(storedDefaults.deletionPolicy),
    ),
    drainTimeout: described(
      `Longest time to drain, then what is left is dropped; ${compiledDefaults.tenantDrainTimeout} unless set.`,
      duration("1m", "240h"),
    ).optional(),
  }),
  [
    {
      rule: "!has(self.credentials) || self.credentials.all(c, !has(c.stream) || c.stream == 'default' || (has(self.streams) && self.streams.exists(s, s.name == c.stream)))",
      expected: "each credential's stream among spec.streams",
      fault: (spec) => {
        const names = new Set(["default", ...(spec.streams ?? []).map(({ name }) => name)]);
        const lost = spec.credentials?.find(({ stream }) => stream !== undefined && !names.has(stream));
        return lost === undefined ? undefined : `"${lost.stream}" of the credential "${lost.name}"`;
      },
    },
  ],
);

export const tenantStatusSchema = z.strictObject({
  observedGeneration: observedGeneration.optional(),
  conditions: conditionsSchema.optional(),
  domainCount: described("Domains that are compiled.", z.int().min(0).max(64)).optional(),
  programmed: described("Pods that run this, of those that should: n/m.", z.string().max(16)).optional(),
  domains: described(
    "The domains, each with what became of it.",
    keyedList(
      z.strictObject({
        name: fullDomain,
        dkimReady: described("Mail from it is signed.", z.boolean()),
        reason: described("Why not, or why it was left out.", z.string().max(128)).optional(),
      }),
      "name",
      64,
    ),
  ).optional(),
});

export type TenantSpec = z.infer<typeof tenantSpecSchema>;

/** `namespace/name` of the pool that it names. */
export function poolOf(tenant: {
  readonly metadata: { readonly namespace: string };
  readonly spec: Pick<TenantSpec, "poolRef">;
}): string {
  const { namespace = tenant.metadata.namespace, name } = tenant.spec.poolRef;
  return `${namespace}/${name}`;
}
