/**
 * Values of the Secrets that something refers to: read in full once for each version, told by the metadata watch. A read
 * that fails keeps what was known before; one that was never read holds the compiler up (a login must not go for a 503).
 */
import type { SecretResource } from "#crds/api/v1alpha1/snapshot.ts";
import { KubeError } from "#operator/kube/errors.ts";
import { parseSecret } from "#operator/gather/secret.ts";
import type { KubeClient, KubeObject, Log } from "#operator/kube/types.ts";
import { kinds } from "./kinds.ts";
import type { Stores } from "./stores.ts";

export interface SecretValues {
  /** Reads what is new of these. False = one that is there could not be read and was never known: try again. */
  refresh(wanted: ReadonlySet<string>): Promise<boolean>;
  /** Whether something referred to it when it was last asked. */
  isWanted(key: string): boolean;
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

const atATime = 32;

export function createSecretValues(
  stores: Pick<Stores, "get">,
  client: Pick<KubeClient, "get">,
  log: Log,
): SecretValues {
  const known = new Map<string, Known>();
  let lastWanted: ReadonlySet<string> = new Set();

  const read = async (key: string, version: string): Promise<boolean> => {
    const [namespace, name = ""] = key.split("/");
    try {
      const object = await client.get(kinds.secrets, { namespace, name });
      if (object === undefined) {
        known.delete(key);
        return true;
      }
      const parsed = parseSecret(bare(object), `Secret ${key}`);
      if (!parsed.ok) log.warn("secret cannot be used", { secret: key });
      // The version that was announced: if the read brought a newer one, its event is on its way and costs one more read.
      known.set(key, { version, secret: parsed.ok ? parsed.value : undefined });
      return true;
    } catch (error) {
      log.warn("secret not read", { secret: key, error: String(error) });
      // Nobody lets us: as good as not there, and not worth holding everybody else up.
      if (error instanceof KubeError && error.status === 403) known.set(key, { version, secret: undefined });
      return known.has(key);
    }
  };

  return {
    isWanted: (key) => lastWanted.has(key),
    async refresh(wanted) {
      lastWanted = wanted;
      for (const key of known.keys()) if (!wanted.has(key)) known.delete(key);
      const due: [string, string][] = [];
      for (const key of wanted) {
        const version = versionOf(stores.get("secrets", key));
        if (version === undefined) known.delete(key);
        else if (known.get(key)?.version !== version) due.push([key, version]);
      }
      let isComplete = true;
      let next = 0;
      const worker = async (): Promise<void> => {
        for (let one = due[next++]; one !== undefined; one = due[next++])
          if (!(await read(...one))) isComplete = false;
      };
      await Promise.all(Array.from({ length: Math.min(atATime, due.length) }, worker));
      return isComplete;
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
