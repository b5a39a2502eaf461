/** What pods mount, where, and the options that say so. Pure. */
import type { SendingPoolSpec } from "#crds/api/v1alpha1/sending-pool.ts";
import { natsLoginFiles, natsTlsFiles } from "#crds/pod-config/nats-files.ts";
import { keySlots, tenantSlots } from "#crds/pod-config/schema.ts";
import { childNames } from "./object.ts";
import type { PoolIdentity } from "./object.ts";

export interface PodVolume {
  readonly volume: object;
  readonly mount: object;
  /** Options of `mailboat pod`. */
  readonly args: readonly string[];
}

const root = "/etc/mailboat";

/** For what is secret: the pod's owner and group only. */
const defaultMode = 0o440;

/**
 * Every slot is there by name from the start, none needs to exist: a slot that gets its first tenant reaches running
 * pods, and a pool without a configuration yet has pods that wait for one and say so.
 */
export function volumesOf(pool: PoolIdentity, spec: SendingPoolSpec): PodVolume[] {
  const { credentialsSecretRef: credentials, tlsSecretRef: natsTls } = spec.queue;
  const keySlotNames = numbered(keySlots, (slot) => childNames.keySlot(pool.name, slot));
  const nats = [
    ...(credentials === undefined ? [] : [secret(credentials.name, natsLoginFiles)]),
    ...(natsTls === undefined ? [] : [secret(natsTls.name, natsTlsFiles)]),
  ];
  return [
    projected("config", configMaps(pool), { args: ["--config", `${root}/config`] }),
    projected(
      "keys",
      keySlotNames.map((name) => secret(name)),
      { args: ["--keys", `${root}/keys`], defaultMode },
    ),
    projected("admin", [secret(childNames.admin(pool.name))], {
      args: ["--admin-token-file", `${root}/admin/token`],
      defaultMode,
    }),
    ...(spec.tls === undefined
      ? []
      : [
          projected("tls", [secret(spec.tls.secretRef.name, ["tls.crt", "tls.key"])], {
            args: ["--tls-dir", `${root}/tls`],
            defaultMode,
          }),
        ]),
    ...(nats.length === 0
      ? []
      : [projected("nats", nats, { args: ["--nats-dir", `${root}/nats`], defaultMode })]),
  ];
}

function configMaps(pool: PoolIdentity): object[] {
  const slots = numbered(tenantSlots, (slot) => childNames.configSlot(pool.name, slot));
  return [childNames.config(pool.name), ...slots].map((name) => ({ configMap: { name, optional: true } }));
}

function numbered(count: number, nameOf: (slot: number) => string): string[] {
  return Array.from({ length: count }, (_, slot) => nameOf(slot));
}

/** All keys, or those of `items` that there are. */
function secret(name: string, items: readonly string[] = []): object {
  const some = items.length === 0 ? {} : { items: items.map((key) => ({ key, path: key })) };
  return { secret: { name, ...some, optional: true } };
}

function projected(
  name: string,
  sources: readonly object[],
  { args, defaultMode: mode }: { readonly args: readonly string[]; readonly defaultMode?: number },
): PodVolume {
  return {
    volume: { name, projected: { ...(mode === undefined ? {} : { defaultMode: mode }), sources } },
    mount: { name, mountPath: `${root}/${name}`, readOnly: true },
    args,
  };
}
