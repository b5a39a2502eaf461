/**
 * Makes a pool's children what they should be: what is missing, other or changed by somebody is applied, in order; what is not
 * wanted is deleted last. Remembers what it applied, so that nothing is sent twice. Rejects with the first refusal;
 * what was done stays done, and the next try goes on from there.
 */
import { digestOf } from "#crds/pod-config/encode.ts";
import type { Clock, KubeClient, KubeObject } from "#operator/kube/types.ts";
import { childTypeOf, staleChildren } from "#operator/resources/children.ts";
import { partLabel } from "#operator/resources/config-objects.ts";
import { inEdition, isManifest, isTenantSlot, lastingPart } from "#operator/resources/edition.ts";
import type { KubeObject as Built } from "#operator/resources/object.ts";
import { poolLabel } from "#operator/resources/object.ts";
import { inParallel } from "./in-parallel.ts";
import { marks } from "./kinds.ts";
import { type Change, poolOfLabel, type Stores } from "./stores.ts";

/** Somebody else's object is in the way. */
export class NameTakenError extends Error {
  override readonly name = "NameTakenError";
}

export interface Children {
  /** @returns how many objects were written or deleted */
  sync(pool: WantedPool, signal: AbortSignal): Promise<number>;
  /** A child changed in the API server: what was changed by others is applied again. @returns its pool, when somebody else did it */
  note(kind: string, change: Change): string | undefined;
  /** Applies everything again at the next sync, whatever the annotations say. */
  applyAgain(pool: string): void;
  /** The pool is gone. */
  forget(pool: string): void;
}

interface WantedPool {
  /** `namespace/name`. */
  readonly key: string;
  readonly uid: string;
  /** In the order to apply them. */
  readonly objects: readonly Built[];
  /** Those of them that stay as they are for now. */
  readonly held: ReadonlySet<Built>;
  /** Of its configuration; undefined = it could not be compiled. */
  readonly edition: PoolEdition | undefined;
}

interface PoolEdition {
  /** What is written beside a slot. */
  readonly text: string;
  /** As an annotation of what is written in it, where the next leader finds it. */
  readonly mark: string;
}

export interface ChildrenOptions {
  readonly stores: Pick<Stores, "childrenOf">;
  readonly client: Pick<KubeClient, "apply" | "delete" | "get">;
  readonly clock: Clock;
}

interface Written {
  readonly hash: string;
  readonly at: number;
  readonly resourceVersion: string;
  /** Of kinds that have one: status writes leave it as it is. */
  readonly generation: number | undefined;
  readonly mark: string | undefined;
}

/** In place of a hash: it is not what was applied. */
const changed = "";

/** Slots are written so many at a time. */
const atATime = 8;
/** A watch that lags longer has lost what we wrote. */
const lagMs = 10_000;

export function createChildren({ stores, client, clock }: ChildrenOptions): Children {
  const written = new Map<string, Map<string, Written>>();
  const ofPool = (pool: string): Map<string, Written> => {
    const known = written.get(pool) ?? new Map<string, Written>();
    written.set(pool, known);
    return known;
  };

  const isInPlace = (pool: string, object: Built, hash: string): boolean => {
    const name = nameOf(object);
    const known = ofPool(pool).get(name);
    const live = stores.childrenOf(pool).get(name);
    if (known !== undefined)
      return known.hash === hash && (live !== undefined || clock.monotonic() - known.at < lagMs);
    // What another leader applied: its word is the annotation.
    return live?.metadata.annotations?.[marks.applied] === hash;
  };

  const markOf = (pool: string, object: Built): string | undefined => {
    const name = nameOf(object);
    const known = ofPool(pool).get(name);
    if (known !== undefined) return known.mark;
    return stores.childrenOf(pool).get(name)?.metadata.annotations?.[marks.config];
  };

  /** Pods learn of an edition from whatever was written in it: a slot, else the manifest. */
  const isTold = ({ key, objects, edition }: WantedPool): boolean =>
    objects.some(
      (object) => (isTenantSlot(object) || isManifest(object)) && markOf(key, object) === edition?.mark,
    );

  const apply = async (pool: WantedPool, object: Built, hash: string): Promise<void> => {
    const type = childTypeOf(object);
    const name = nameOf(object);
    const { namespace } = object.metadata;
    if (!ofPool(pool.key).has(name) && !stores.childrenOf(pool.key).has(name))
      refuseStranger(await client.get(type, { namespace, name: object.metadata.name }), pool);
    const isOfEdition = pool.edition !== undefined && (isTenantSlot(object) || isManifest(object));
    const mark = isOfEdition ? pool.edition.mark : undefined;
    const annotations = {
      ...object.metadata.annotations,
      [marks.applied]: hash,
      ...(mark === undefined ? {} : { [marks.config]: mark }),
    };
    const whole = isOfEdition ? inEdition(object, pool.edition.text) : object;
    const applied = await client.apply(type, { ...whole, metadata: { ...object.metadata, annotations } });
    const { resourceVersion = "", generation } = applied.metadata;
    ofPool(pool.key).set(name, { hash, at: clock.monotonic(), resourceVersion, generation, mark });
  };

  const removeStale = async (pool: WantedPool, signal: AbortSignal): Promise<number> => {
    const existing = [...stores.childrenOf(pool.key)].map(([name, { metadata }]) => ({
      kind: name.slice(0, name.indexOf("/")),
      metadata: metadata as Built["metadata"],
    }));
    const stale = staleChildren(existing, { ...pool, isCompiled: pool.edition !== undefined });
    await inParallel(stale, { atATime, signal }, async ({ kind, metadata }) => {
      const { namespace, name, uid } = metadata;
      await client.delete(childTypeOf({ kind }), { namespace, name }, uid === undefined ? {} : { uid });
      ofPool(pool.key).delete(`${kind}/${name}`);
    });
    return stale.length;
  };

  return {
    async sync(pool, signal) {
      let count = 0;
      for (const batch of batchesOf(pool.objects)) {
        const due = batch
          .map((object) => ({ object, hash: hashOf(object) }))
          .filter(({ object, hash }) => {
            if (pool.held.has(object)) return false;
            return !isInPlace(pool.key, object, hash) || (isManifest(object) && !isTold(pool));
          });
        await inParallel(due, { atATime, signal }, ({ object, hash }) => apply(pool, object, hash));
        count += due.length;
      }
      return count + (await removeStale(pool, signal));
    },
    note(kind, { before, after }) {
      const object = after ?? before;
      const pool = object === undefined ? undefined : poolOfLabel(object);
      if (pool === undefined || object === undefined) return undefined;
      const name = `${kind}/${object.metadata.name}`;
      const known = written.get(pool)?.get(name);
      if (known === undefined || isOurs(known, after)) return undefined;
      if (after === undefined) written.get(pool)?.delete(name);
      // Not forgotten: the annotation, which somebody else's change leaves in place, would be believed.
      else written.get(pool)?.set(name, { ...known, hash: changed });
      return pool;
    },
    applyAgain(pool) {
      const at = clock.monotonic();
      for (const name of stores.childrenOf(pool).keys())
        ofPool(pool).set(name, {
          hash: changed,
          at,
          resourceVersion: "",
          generation: undefined,
          mark: undefined,
        });
    },
    forget: (pool) => void written.delete(pool),
  };

  function isOurs({ resourceVersion, generation, hash }: Written, after: KubeObject | undefined): boolean {
    if (after === undefined) return false;
    if (after.metadata.resourceVersion === resourceVersion) return true;
    if (after.metadata.annotations?.[marks.applied] !== hash) return false;
    // Of kinds with a generation it counts what is wanted; an event from before our write is no change either.
    return generation !== undefined && (after.metadata.generation ?? 0) <= generation;
  }
}

function refuseStranger(existing: KubeObject | undefined, pool: WantedPool): void {
  if (existing === undefined) return;
  const { kind, metadata } = existing;
  const owner = metadata.ownerReferences?.find(({ controller }) => controller === true);
  const isOurs = owner === undefined ? metadata.labels?.[poolLabel] !== undefined : owner.uid === pool.uid;
  // The owner of the same name that was deleted a moment ago: its children go by themselves, and then it is our turn.
  if (isOurs) return;
  const got = owner === undefined ? "one that is nobody's" : `one of ${owner.kind} ${owner.name}`;
  throw new NameTakenError(`Cannot make ${kind} ${metadata.name}: expected no such object, got ${got}`);
}

/** Without the edition, by which alone a slot or the manifest is not written again. Hashing the slots of 10,000 tenants costs, and a pool that did not change is the very same objects. */
const hashes = new WeakMap<Built, string>();

function hashOf(object: Built): string {
  const hash = hashes.get(object) ?? digestOf(lastingPart(object)).slice(0, 16);
  hashes.set(object, hash);
  return hash;
}

function nameOf({ kind, metadata }: Pick<Built, "kind" | "metadata">): string {
  return `${kind}/${metadata.name}`;
}

/** Neighbours of one part (keys, then slots) may be written together; all else in its order, one by one. */
function batchesOf(objects: readonly Built[]): Built[][] {
  const batches: Built[][] = [];
  let last: string | undefined;
  for (const object of objects) {
    const part = isManifest(object) ? undefined : object.metadata.labels?.[partLabel];
    const current = batches.at(-1);
    if (part !== undefined && part === last && current !== undefined) current.push(object);
    else batches.push([object]);
    last = part;
  }
  return batches;
}
