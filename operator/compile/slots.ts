/** Compiled tenants → slots of the pod's files; who does not fit is left out, newest first. Pure. */
import { gzipSync } from "node:zlib";
import { canonicalJson } from "#crds/pod-config/encode.ts";
import { podConfigVersion } from "#crds/pod-config/schema.ts";
import type { KeySlot, ProxyLogin, TenantSlot } from "#crds/pod-config/schema.ts";
import { keySlotOf, maxFileBytes, maxSlotTextBytes, tenantSlotOf } from "#crds/pod-config/slots.ts";
import type { CompiledTenant } from "./tenants.ts";
import { compareText } from "./tenants.ts";

export interface Slots {
  readonly tenantSlots: Map<string, TenantSlot>;
  readonly keySlots: Map<string, KeySlot>;
  /** Identities of the tenants that found no room. */
  readonly tooLarge: ReadonlySet<string>;
}

/** `tenants` oldest first; the pool's login at its proxies goes with the keys. */
export function slotsOf(tenants: readonly CompiledTenant[], proxyLogin?: ProxyLogin): Slots {
  const tooLarge = new Set<string>();
  for (const members of bySlot(tenants, tenantSlotOf).values())
    for (const one of members.slice(tenantRoom(members))) tooLarge.add(one.config.id);
  const accepted = tenants.filter(({ config }) => !tooLarge.has(config.id));
  for (const members of bySlot(accepted, keySlotOf).values())
    for (const one of members.slice(keyRoom(members))) tooLarge.add(one.config.id);
  const kept = accepted.filter(({ config }) => !tooLarge.has(config.id));
  const keys = mapOf(bySlot(kept.filter(hasKeys), keySlotOf), keySlot);
  return {
    tenantSlots: mapOf(bySlot(kept, tenantSlotOf), tenantSlot),
    keySlots: proxyLogin === undefined ? keys : withProxyLogin(keys, proxyLogin),
    tooLarge,
  };
}

const tenantRoom = remembered((members) => roomFor(members, tenantSlotText));
const keyRoom = remembered((members) => roomFor(members, keySlotText));
const tenantSlot = remembered(tenantSlotOfMembers);
const keySlot = remembered(keySlotOfMembers);

/** The last result for each first member: of slots whose members are the very same objects nothing is made again. */
function remembered<Result>(
  make: (members: readonly CompiledTenant[]) => Result,
): (members: readonly CompiledTenant[]) => Result {
  const known = new WeakMap<CompiledTenant, { members: readonly CompiledTenant[]; result: Result }>();
  return (members) => {
    const [first] = members;
    if (first === undefined) return make(members);
    const before = known.get(first);
    if (before !== undefined && isSame(before.members, members)) return before.result;
    const result = make(members);
    known.set(first, { members, result });
    return result;
  };
}

function isSame(a: readonly unknown[], b: readonly unknown[]): boolean {
  return a.length === b.length && a.every((item, index) => item === b[index]);
}

/** The first slot; a slot's bound leaves room for it many times over. */
const proxyLoginSlot = "000";

function withProxyLogin(keys: Map<string, KeySlot>, proxyLogin: ProxyLogin): Map<string, KeySlot> {
  const slot = keys.get(proxyLoginSlot) ?? keySlotOfMembers([]);
  return new Map([
    [proxyLoginSlot, { ...slot, proxyLogin }],
    ...[...keys].filter(([name]) => name !== proxyLoginSlot),
  ]);
}

function hasKeys({ credentials, dkim }: CompiledTenant): boolean {
  return credentials.length + dkim.length > 0;
}

function bySlot(
  tenants: readonly CompiledTenant[],
  slotOf: (tenantId: string) => string,
): Map<string, CompiledTenant[]> {
  return Map.groupBy(tenants, ({ config }) => slotOf(config.id));
}

function mapOf<Slot>(
  groups: ReadonlyMap<string, CompiledTenant[]>,
  slot: (members: readonly CompiledTenant[]) => Slot,
): Map<string, Slot> {
  const sorted = [...groups].sort(([a], [b]) => compareText(a, b));
  return new Map(sorted.map(([name, members]) => [name, slot(members)]));
}

/** How many of the oldest members fit; the whole slot nearly always, so that is tried first and without compressing. */
function roomFor(
  members: readonly CompiledTenant[],
  textOf: (members: readonly CompiledTenant[]) => string,
): number {
  const fits = (count: number): boolean => {
    const text = textOf(members.slice(0, count));
    const bytes = Buffer.byteLength(text);
    return bytes <= maxFileBytes || (bytes <= maxSlotTextBytes && gzipSync(text).length <= maxFileBytes);
  };
  let [most, tooMany] = [0, members.length + 1];
  if (fits(members.length)) return members.length;
  while (tooMany - most > 1) {
    const middle = Math.floor((most + tooMany) / 2);
    if (fits(middle)) most = middle;
    else tooMany = middle;
  }
  return most;
}

function tenantSlotOfMembers(members: readonly CompiledTenant[]): TenantSlot {
  const tenants = members.map(({ config }) => config).sort((a, b) => compareText(a.id, b.id));
  return { version: podConfigVersion, tenants };
}

function keySlotOfMembers(members: readonly CompiledTenant[]): KeySlot {
  const credentials = members.flatMap((member) => member.credentials);
  const dkim = members.flatMap((member) => member.dkim);
  credentials.sort((a, b) => compareText(a.tenant, b.tenant) || compareText(a.credential, b.credential));
  dkim.sort(
    (a, b) =>
      compareText(a.tenant, b.tenant) ||
      compareText(a.domain, b.domain) ||
      compareText(a.selector, b.selector),
  );
  return { version: podConfigVersion, credentials, dkim };
}

function tenantSlotText(members: readonly CompiledTenant[]): string {
  return canonicalJson(tenantSlotOfMembers(members));
}

function keySlotText(members: readonly CompiledTenant[]): string {
  return canonicalJson(keySlotOfMembers(members));
}
