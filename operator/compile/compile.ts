/** Snapshot → configuration of each pool, status of each resource, issues. Pure; throws only when its own output does not parse. */
import type { SendingPoolSpec } from "#crds/api/v1alpha1/sending-pool.ts";
import { identityOf } from "#crds/api/v1alpha1/metadata.ts";
import type { Resource, SecretResource, Snapshot } from "#crds/api/v1alpha1/snapshot.ts";
import type { TenantSpec } from "#crds/api/v1alpha1/tenant.ts";
import { digestOf } from "#crds/pod-config/encode.ts";
import { parseKeySlot, parseManifest, parseTenantSlot } from "#crds/pod-config/parse.ts";
import type { KeySlot, Manifest, TenantSlot } from "#crds/pod-config/schema.ts";
import { formatIssue } from "#crds/values/issue.ts";
import type { Parsed } from "#crds/values/issue.ts";
import { placed } from "./placing.ts";
import { compilePoolBase } from "./pools.ts";
import type { ManifestBase, PoolBase } from "./pools.ts";
import { poolSecretProblems } from "./pool-secrets.ts";
import type { CompileIssue, Problem, ResourceStatus } from "./problems.ts";
import { issuesOf, refusal, statusOf, unresolved } from "./problems.ts";
import { slotsOf } from "./slots.ts";
import { compareText, compileTenants, isGoing, tenantFields } from "./tenants.ts";
import type { CompiledTenant, SecretsFound } from "./tenants.ts";

export interface CompileOptions {
  /** Goes into the manifests; the digests do not depend on it. */
  readonly generation: number;
}

export interface CompiledPool {
  /** `namespace/name`. */
  readonly pool: string;
  /** Wanted pods: nothing that pods need to know, so scaling is no new configuration. */
  readonly replicas: number;
  readonly manifest: Manifest;
  /** By two-digit slot. */
  readonly tenantSlots: Map<string, TenantSlot>;
  /** By three-digit slot. */
  readonly keySlots: Map<string, KeySlot>;
  /** Those that are in it; the very same object as before when it came to the same. */
  readonly tenants: ReadonlyMap<string, CompiledTenant>;
  /** Those that were in it, as they drain. */
  readonly draining: ReadonlyMap<string, CompiledTenant>;
}

export interface Compiled {
  /** Pools that can run; the pods of one that is missing here keep what they have. */
  readonly pools: readonly CompiledPool[];
  readonly statuses: readonly ResourceStatus[];
  readonly issues: readonly CompileIssue[];
}

interface Verdict {
  readonly status: ResourceStatus;
  readonly issues: readonly CompileIssue[];
}

export function compile(snapshot: Snapshot, options: CompileOptions): Compiled {
  const shapes = new Map(snapshot.shapes.map((shape) => [identityOf(shape.metadata), shape]));
  const secrets = byIdentity(snapshot.secrets);
  const formerSecrets = byIdentity(snapshot.draining?.secrets ?? []);
  const bases = new Map(
    snapshot.pools.map((pool) => [identityOf(pool.metadata), compilePoolBase(pool, shapes, secrets)]),
  );
  const pools: CompiledPool[] = [];
  const verdicts: Verdict[] = [];
  const tenantVerdicts: Verdict[] = [];
  const counts = new Map<string, number>();
  const { members, draining, refused } = placed(snapshot, bases);
  for (const [id, poolBase] of bases) {
    const own = members.get(id) ?? [];
    const {
      compiled,
      verdict,
      tenantVerdicts: theirs,
    } = compilePool(poolBase, {
      members: own,
      draining: draining.get(id) ?? [],
      refused,
      secrets,
      formerSecrets,
      options,
    });
    if (compiled !== undefined) pools.push(compiled);
    counts.set(id, own.length);
    verdicts.push(verdict);
    tenantVerdicts.push(...theirs);
  }
  for (const tenant of members.get(undefined) ?? [])
    tenantVerdicts.push(tenantVerdict(tenant, { problems: listOf(refused.get(tenant)), fields: {} }));
  tenantVerdicts.sort((a, b) => compareText(identityOf(a.status), identityOf(b.status)));
  const all = [...verdicts, ...shapeVerdicts(snapshot, counts), ...tenantVerdicts];
  return {
    pools: pools.sort((a, b) => compareText(a.pool, b.pool)),
    statuses: all.map(({ status }) => status),
    issues: all.flatMap(({ issues }) => issues),
  };
}

function byIdentity(secrets: readonly SecretResource[]): Map<string, SecretResource> {
  return new Map(secrets.map((secret) => [identityOf(secret.metadata), secret]));
}

interface PoolInput extends SecretsFound {
  readonly members: readonly Resource<TenantSpec>[];
  readonly draining: readonly Resource<TenantSpec>[];
  /** What is wrong with the pool that a tenant names, where it is not this one. */
  readonly refused: ReadonlyMap<Resource<TenantSpec>, Problem>;
  readonly options: CompileOptions;
}

interface PoolOutput {
  readonly compiled?: CompiledPool;
  readonly verdict: Verdict;
  readonly tenantVerdicts: readonly Verdict[];
}

function compilePool({ pool, base, proxyLogin, problems }: PoolBase, input: PoolInput): PoolOutput {
  if (base === undefined) return { verdict: poolVerdict(pool, { problems, fields: {} }), tenantVerdicts: [] };
  const all = compileTenants([...input.members, ...input.draining], input);
  const { tenantSlots, keySlots, tooLarge } = slotsOf(all, proxyLogin);
  const former = new Set(input.draining);
  const tenants = all.filter(({ tenant }) => !former.has(tenant));
  const draining = all.filter(({ tenant }) => former.has(tenant));
  const isKept = ({ config }: CompiledTenant): boolean => !tooLarge.has(config.id);
  const kept = tenants.filter(isKept);
  const trusted = trustOf(pool, kept);
  const slots = Object.fromEntries([...tenantSlots].map(([slot, value]) => [slot, digestOfSlot(value)]));
  const manifest = manifestOf({ ...base, trust: trusted.trust, slots }, input.options.generation);
  const compiled = checked({
    pool: base.pool,
    replicas: pool.spec.replicas,
    manifest,
    tenantSlots,
    keySlots,
    tenants: byId(kept),
    draining: byId(draining.filter(isKept)),
  });
  const config = { generation: manifest.generation, digest: manifest.digest };
  const fields = { tenants: kept.length, config };
  return {
    compiled,
    verdict: poolVerdict(pool, {
      problems: [...poolSecretProblems(pool, input.secrets), ...trusted.problems],
      fields,
    }),
    tenantVerdicts: tenants.map((one) =>
      verdictOf(one, { tooLarge, refused: input.refused.get(one.tenant) }),
    ),
  };
}

function byId(tenants: readonly CompiledTenant[]): Map<string, CompiledTenant> {
  return new Map(tenants.map((one) => [one.config.id, one]));
}

/** Of what is the very same object as at the last compile: an edit of one tenant digests, checks and judges what it changed. */
const slotDigests = new WeakMap<TenantSlot, string>();
const goodSlots = new WeakSet<object>();
const goodVerdicts = new WeakMap<CompiledTenant, Verdict>();

function digestOfSlot(slot: TenantSlot): string {
  const digest = slotDigests.get(slot) ?? digestOf(slot);
  slotDigests.set(slot, digest);
  return digest;
}

function verdictOf(
  compiled: CompiledTenant,
  { tooLarge, refused }: { readonly tooLarge: ReadonlySet<string>; readonly refused: Problem | undefined },
): Verdict {
  const { tenant, config } = compiled;
  const problems = [...listOf(refused), ...compiled.problems];
  if (!tooLarge.has(config.id)) {
    const before = refused === undefined ? goodVerdicts.get(compiled) : undefined;
    const verdict = before ?? tenantVerdict(tenant, { problems, fields: tenantFields(compiled) });
    if (refused === undefined) goodVerdicts.set(compiled, verdict);
    return verdict;
  }
  const expected = "room in its slot of the configuration (700 KiB)";
  const issue = { where: "spec", expected, got: "a slot that older tenants fill" };
  return tenantVerdict(tenant, { problems: [refusal("ConfigTooLarge", issue), ...problems], fields: {} });
}

function listOf(problem: Problem | undefined): Problem[] {
  return problem === undefined ? [] : [problem];
}

/** Trust in a tenant that is not there, or is going, is left out: fewer are let in, never more. */
function trustOf(pool: Resource<SendingPoolSpec>, tenants: readonly CompiledTenant[]) {
  const known = new Map(tenants.map(({ tenant, config }) => [config.id, tenant]));
  const trust: Manifest["trust"] = [];
  const problems: Problem[] = [];
  for (const [index, listener] of (pool.spec.listeners ?? []).entries())
    for (const [at, { cidr, tenantRef }] of (listener.trust ?? []).entries()) {
      const tenant = `${pool.metadata.namespace}/${tenantRef.name}`;
      const where = `spec.listeners[${index}].trust[${at}].tenantRef`;
      const found = known.get(tenant);
      const got = found === undefined ? "no such tenant" : "one that is deleted";
      const issue = { where, expected: `the tenant ${tenant} in this pool`, got };
      if (found !== undefined && !isGoing(found)) trust.push({ cidr, tenant });
      else problems.push(unresolved("TenantNotFound", issue));
    }
  return { trust: trust.sort((a, b) => compareText(a.cidr, b.cidr)), problems };
}

function manifestOf(content: ManifestBase & Pick<Manifest, "trust" | "slots">, generation: number): Manifest {
  return { ...content, generation, digest: digestOf(content) };
}

/** What the operator can write, the pod can read: the same parser, before anything is written. */
function checked(compiled: CompiledPool): CompiledPool {
  expectParsed(parseManifest(compiled.manifest), compiled.pool);
  const check = (slot: object, parse: (slot: object) => Parsed<unknown>): void => {
    if (!goodSlots.has(slot)) expectParsed(parse(slot), compiled.pool);
    goodSlots.add(slot);
  };
  for (const slot of compiled.tenantSlots.values()) check(slot, parseTenantSlot);
  for (const slot of compiled.keySlots.values()) check(slot, parseKeySlot);
  return compiled;
}

function expectParsed(parsed: Parsed<unknown>, pool: string): void {
  if (parsed.ok) return;
  const texts = parsed.issues.map(formatIssue).join("; ");
  throw new Error(`Cannot compile pool ${pool}: expected output that a pod can read, got ${texts}`);
}

interface Finding {
  readonly problems: readonly Problem[];
  readonly fields: object;
}

function poolVerdict(pool: Resource<SendingPoolSpec>, finding: Finding): Verdict {
  const status = statusOf("SendingPool", pool.metadata, finding);
  return { status, issues: issuesOf(pool.source, finding.problems) };
}

function tenantVerdict(tenant: Resource<TenantSpec>, finding: Finding): Verdict {
  const status = statusOf("Tenant", tenant.metadata, finding);
  return { status, issues: issuesOf(tenant.source, finding.problems) };
}

function shapeVerdicts({ shapes, pools }: Snapshot, tenants: ReadonlyMap<string, number>): Verdict[] {
  return shapes.map((shape) => {
    const { namespace, name } = shape.metadata;
    const users = pools.filter(
      (pool) =>
        pool.metadata.namespace === namespace &&
        (pool.spec.trafficShapeRefs ?? []).some((ref) => ref.name === name),
    );
    const served = users.map((pool) => tenants.get(identityOf(pool.metadata)) ?? 0);
    const fields = {
      ruleCount: shape.spec.rules.length,
      pools: users.length,
      tenants: served.reduce((sum, count) => sum + count, 0),
    };
    return { status: statusOf("TrafficShape", shape.metadata, { problems: [], fields }), issues: [] };
  });
}
