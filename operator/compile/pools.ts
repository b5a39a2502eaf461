/** A SendingPool and its shapes → the part of the manifest that no tenant changes. Pure; problems instead of throws. */
import { compiledDefaults } from "#crds/api/v1alpha1/defaults.ts";
import { identityOf } from "#crds/api/v1alpha1/metadata.ts";
import type { SendingPoolSpec } from "#crds/api/v1alpha1/sending-pool.ts";
import type { Resource } from "#crds/api/v1alpha1/snapshot.ts";
import type { TrafficShapeSpec } from "#crds/api/v1alpha1/traffic-shape.ts";
import { canonicalJson } from "#crds/pod-config/encode.ts";
import { podConfigVersion } from "#crds/pod-config/schema.ts";
import type { Manifest, ProxyLogin, Rule } from "#crds/pod-config/schema.ts";
import { maxFileBytes } from "#crds/pod-config/slots.ts";
import { compileEgress, loginAtProxies } from "./egress.ts";
import type { Problem } from "./problems.ts";
import { refusal, unresolved } from "./problems.ts";
import { compileShape, milliseconds, optional, sortedSet } from "./rules.ts";
import type { Secrets } from "./secrets.ts";

/** A manifest without what tenants decide: trust and slots. */
export type ManifestBase = Omit<Manifest, "generation" | "digest" | "trust" | "slots">;

export interface PoolBase {
  readonly pool: Resource<SendingPoolSpec>;
  /** Absent: the pool is not compiled, and its pods keep what they run. */
  readonly base?: ManifestBase;
  /** There when the base says that it is. */
  readonly proxyLogin?: ProxyLogin;
  readonly problems: readonly Problem[];
}

/** Room in the manifest for the digests of 64 slots and 64 trusted ranges. */
const tenantsPart = 64 * 1024;

export function compilePoolBase(
  pool: Resource<SendingPoolSpec>,
  shapes: ReadonlyMap<string, Resource<TrafficShapeSpec>>,
  secrets: Secrets,
): PoolBase {
  const { rules, problems } = rulesOf(pool, shapes);
  // Sending without limits that somebody wrote down is worse than not taking over a new configuration.
  if (problems.length > 0) return { pool, problems };
  const base = baseOf(pool, rules);
  const login = base.egress.proxy?.hasLogin === true ? loginAtProxies(pool, secrets) : undefined;
  if (login?.ok === false) return { pool, problems: [login.problem] };
  const bytes = Buffer.byteLength(canonicalJson(base));
  if (bytes <= maxFileBytes - tenantsPart)
    return { pool, base, problems: [], ...optional("proxyLogin", login?.value) };
  const expected = `rules of at most ${maxFileBytes - tenantsPart} bytes in JSON`;
  const issue = { where: "spec.trafficShapeRefs", expected, got: `${bytes} bytes` };
  return { pool, problems: [refusal("ConfigTooLarge", issue)] };
}

function rulesOf(pool: Resource<SendingPoolSpec>, shapes: ReadonlyMap<string, Resource<TrafficShapeSpec>>) {
  const rules: Rule[] = [];
  const problems: Problem[] = [];
  const seen = new Set<string>();
  for (const [index, { name }] of (pool.spec.trafficShapeRefs ?? []).entries()) {
    const identity = `${pool.metadata.namespace}/${name}`;
    const shape = shapes.get(identity);
    const where = `spec.trafficShapeRefs[${index}].name`;
    if (shape === undefined) {
      const issue = { where, expected: `the TrafficShape ${identity}`, got: "no such TrafficShape" };
      problems.push(unresolved("TrafficShapeNotFound", issue));
    } else if (seen.has(identity)) {
      const issue = { where, expected: "a shape that is not listed before", got: `"${name}" again` };
      problems.push(refusal("Invalid", issue));
    } else rules.push(...compileShape(shape));
    seen.add(identity);
  }
  return { rules, problems };
}

function baseOf(pool: Resource<SendingPoolSpec>, rules: Rule[]): ManifestBase {
  const { metadata, spec } = pool;
  return {
    version: podConfigVersion,
    pool: identityOf(metadata),
    hostname: spec.hostname,
    queue: {
      servers: sortedSet(spec.queue.servers),
      replicas: spec.queue.replicas,
      shards: spec.queue.shards,
      maxBytesPerShard: spec.queue.maxBytesPerShard ?? compiledDefaults.maxBytesPerShard,
    },
    egress: compileEgress(pool),
    rules,
    retry: {
      firstMs: milliseconds(compiledDefaults.retryFirst),
      maxMs: milliseconds(compiledDefaults.retryMax),
      maxAgeMs: milliseconds(compiledDefaults.retryMaxAge),
    },
    drainTimeoutMs: 1000 * (spec.drain?.timeoutSeconds ?? compiledDefaults.drainTimeoutSeconds),
  };
}
