/** A configuration for the tests of admission: one pool, one tenant, overridable. */
import type { Manifest, PodConfig, TenantConfig } from "#crds/pod-config/schema.ts";
import { passwordMac } from "#crds/pod-config/password-mac.ts";

export function tenantOf(changes: Partial<TenantConfig> = {}): TenantConfig {
  return {
    id: "mail/acme",
    state: "Active",
    weight: 1,
    domains: [
      { name: "acme.example", returnPath: "bounces.acme.example", dkim: [] },
      { name: "xn--bcher-kva.example", dkim: [] },
    ],
    credentials: [
      { name: "app" },
      { name: "letters", stream: "newsletter" },
      { name: "odd", stream: "gone" },
    ],
    limits: { recipientsPerMessage: 3, messageSizeBytes: 1000 },
    streams: [
      { name: "default", class: "transactional" },
      { name: "newsletter", class: "bulk" },
    ],
    retry: {},
    ...changes,
  };
}

export function configOf(
  tenant: TenantConfig | undefined = tenantOf(),
  trust: Manifest["trust"] = [],
): PodConfig {
  const key = (credential: string, username: string, password: string) => ({
    tenant: "mail/acme",
    credential,
    username,
    passwordMac: passwordMac({ tenant: "mail/acme", username }, password),
  });
  return {
    manifest: {
      version: 1,
      generation: 1,
      digest: "d",
      pool: "mail/shared",
      hostname: "out.example.net",
      queue: { servers: ["nats://nats:4222"], replicas: 1, shards: 8, maxBytesPerShard: 1 },
      trust,
      egress: { allowDestinations: [], sources: [{ name: "default", ehlo: "out.example.net", weight: 1 }] },
      rules: [],
      retry: { firstMs: 1, maxMs: 2, maxAgeMs: 72_000 },
      drainTimeoutMs: 1,
      slots: {},
    },
    tenants: new Map(tenant === undefined ? [] : [[tenant.id, tenant]]),
    credentials: [
      key("app", "acme-app", "secret"),
      key("letters", "acme-letters", "Пароль"),
      key("removed", "acme-old", "old"),
      key("odd", "odd", "odd"),
    ],
    dkimKeys: [],
  };
}
