/**
 * Values of the Secrets that something refers to: read in full once for each version, told by the metadata watch. A read
 * that fails keeps what was known before; one that was never read holds the compiler up (a login must not go for a 503), or only
 * what is new and refers to it. What is gone is kept for tenants that are deleted, whose mail is signed with it to its end.
 */
import type { SecretResource } from "#crds/api/v1alpha1/snapshot.ts";
import { KubeError } from "#operator/kube/errors.ts";
import { parseSecret } from "#operator/gather/secret.ts";
import type { Clock, KubeClient, KubeObject, Log } from "#operator/kube/types.ts";
import { inParallel } from "./in-parallel.ts";
import { kinds } from "./kinds.ts";
import type { Cause } from "./pacer.ts";
import type { Stores } from "./stores.ts";

export interface SecretValues {
  /**
   * Reads what is new of these, and goes on with what is new of `later`. False = one of these that is there could not be read and was
   * never known: try again.
   */
  refresh(wanted: ReadonlySet<string>, later: ReadonlySet<string>): Promise<boolean>;
  /** Those of `wanted` that are gone, as they were last: the Secrets of who is going. Others are kept for ten minutes. */
  former(wanted: ReadonlySet<string>): SecretResource[];
  /** Was there before our time, and is gone; adds what is not known of it yet. */
  inherit(key: string, secret: SecretResource): void;
  /** Who referred to it when it was last asked: what is in force, or only what is to come. */
  wantedBy(key: string): Cause | undefined;
  /** Whether it is known as it is now; also that it is not there. */
  isRead(key: string): boolean;
  /** How many are still to be read for what is to come. */
  backlog(): number;
  values(): Iterable<SecretResource>;
  get(key: string): SecretResource | undefined;
  /** Reads all of them again. */
  forget(): void;
}

interface Known {
  readonly version: string;
  /** undefined: it is no Secret that can be used; said where it is referred to. */
  readonly secret: SecretResource | undefined;
}

interface Lost {
  readonly secret: SecretResource;
  /** By the monotonic clock. */
  readonly at: number;
}

export interface SecretValuesOptions {
  readonly clock: Pick<Clock, "monotonic">;
  readonly stores: Pick<Stores, "get">;
  readonly client: Pick<KubeClient, "get">;
  readonly log: Log;
  /** One for what is to come was read, or not; then it is read again after the next `refresh`. */
  onRead(isRead: boolean): void;
}

const atATime = 32;
/** Who deletes everything may begin with the Secrets. */
const lostMs = 600_000;

export function createSecretValues(options: SecretValuesOptions): SecretValues {
  const { stores, client, clock, log, onRead } = options;
  const known = new Map<string, Known>();
  const lost = new Map<string, Lost>();
  let wantedNow: ReadonlySet<string> = new Set();
  let wantedLater: ReadonlySet<string> = new Set();
  /** For what is to come; its last one is the next. */
  let backlog: string[] = [];
  const underWay = new Set<string>();

  const lose = (key: string): void => {
    const secret = known.get(key)?.secret;
    if (secret !== undefined) lost.set(key, { secret, at: clock.monotonic() });
    known.delete(key);
  };

  const read = async (key: string): Promise<boolean> => {
    const seen = stores.get("secrets", key);
    const version = versionOf(seen);
    if (version === undefined) {
      lose(key);
      return true;
    }
    const { namespace, name, resourceVersion } = seen?.metadata ?? { name: "" };
    try {
      const object = await client.get(kinds.secrets, { namespace, name }, { resourceVersion });
      if (object === undefined) {
        lose(key);
        return true;
      }
      const parsed = parseSecret(bare(object), `Secret ${key}`);
      if (!parsed.ok) log.warn("secret cannot be used", { secret: key });
      // The version that was announced: if the read brought a newer one, its event is on its way and costs one more read.
      known.set(key, { version, secret: parsed.ok ? parsed.value : undefined });
      lost.delete(key);
      return true;
    } catch (error) {
      log.warn("secret not read", { secret: key, error: String(error) });
      // Nobody lets us: as good as not there, and not worth holding everybody else up.
      if (error instanceof KubeError && error.status === 403) known.set(key, { version, secret: undefined });
      return known.has(key);
    }
  };

  const isRead = (key: string): boolean => {
    const version = versionOf(stores.get("secrets", key));
    return version === undefined || known.get(key)?.version === version;
  };

  const readBacklog = async (): Promise<void> => {
    for (let key = backlog.pop(); key !== undefined; key = backlog.pop()) {
      underWay.add(key);
      const isKnown = await read(key);
      underWay.delete(key);
      onRead(isKnown);
    }
  };

  return {
    wantedBy: (key) => (wantedNow.has(key) ? "edit" : wantedLater.has(key) ? "arrival" : undefined),
    isRead,
    backlog: () => backlog.length + underWay.size,
    async refresh(wanted, later) {
      wantedNow = wanted;
      wantedLater = later;
      for (const key of known.keys()) if (!wanted.has(key) && !later.has(key)) known.delete(key);
      const due: string[] = [];
      for (const key of wanted) {
        if (stores.get("secrets", key) === undefined) lose(key);
        else if (!isRead(key)) due.push(key);
      }
      let isComplete = true;
      await inParallel(due, { atATime }, async (key) => {
        if (!(await read(key))) isComplete = false;
      });
      backlog = [...later].filter((key) => !isRead(key) && !underWay.has(key)).reverse();
      for (let idle = atATime - underWay.size; idle > 0 && backlog.length > 0; idle--) void readBacklog();
      return isComplete;
    },
    former(wanted) {
      const now = clock.monotonic();
      for (const [key, { at }] of lost) if (!wanted.has(key) && now - at >= lostMs) lost.delete(key);
      return [...lost].filter(([key]) => wanted.has(key)).map(([, { secret }]) => secret);
    },
    inherit(key, secret) {
      if (known.has(key)) return;
      const data = new Map([...secret.data, ...(lost.get(key)?.secret.data ?? [])]);
      lost.set(key, { secret: { ...secret, data }, at: clock.monotonic() });
    },
    *values() {
      for (const { secret } of known.values()) if (secret !== undefined) yield secret;
    },
    get: (key) => known.get(key)?.secret,
    forget: () => known.clear(),
  };
}

function versionOf(object: KubeObject | undefined): string | undefined {
  return object === undefined ? undefined : `${object.metadata.uid} ${object.metadata.resourceVersion}`;
}

/** Nothing of the metadata but the name is kept: `kubectl apply` leaves a copy of the values in an annotation. */
function bare(object: KubeObject): object {
  const { name, namespace, uid } = object.metadata;
  return { ...object, metadata: { name, namespace, uid } };
}
