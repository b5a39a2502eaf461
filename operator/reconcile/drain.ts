/**
 * What keeps a deleted tenant: mail of its own that is still queued. Drain waits for it, Discard drops it, and so does the end of
 * the drain's time; a pool that cannot send any more, a namespace that ends and skip-drain let it go at once or soon.
 */
import { compiledDefaults } from "#crds/api/v1alpha1/defaults.ts";
import { parseDuration } from "#crds/values/duration.ts";
import type { KubeObject } from "#operator/kube/types.ts";
import type { PoolQueue } from "#operator/streams/pool-queue.ts";
import type { Context } from "./context.ts";
import { marks } from "./kinds.ts";
import { fieldOf, isReady } from "./pods.ts";
import { keyOf } from "./stores.ts";
import type { Deletion } from "./tenant-status.ts";

type DrainStep =
  | { readonly kind: "over" }
  | { readonly kind: "wait"; readonly deletion: Deletion; readonly againMs: number };

export interface Drain {
  /** One look at where it stands; asks NATS, never rejects. */
  step(tenant: KubeObject): Promise<DrainStep>;
  forget(key: string): void;
}

/** A namespace that ends, or a pool that is gone, waits no longer (decisions.md 17). */
const shortMs = 60_000;
const lookMs = 2000;
/** An empty queue has to be empty twice: an entry on its way from one shard to another may be missed once. */
const emptyLooks = 2;
/** An act of discarding is begun again after so long. */
const discardAgainMs = 15_000;

interface Memory {
  empty: number;
  discardedAt: number;
}

export function createDrain(context: Context): Drain {
  const { clock, configuration, log } = context;
  const memory = new Map<string, Memory>();

  const wait = (reason: Deletion["reason"], message: string): DrainStep => ({
    kind: "wait",
    deletion: { reason, message },
    againMs: lookMs,
  });

  const discard = async (key: string, queue: PoolQueue, known: Memory): Promise<void> => {
    const now = clock.monotonic();
    if (now - known.discardedAt < discardAgainMs) return;
    known.discardedAt = now;
    const hasBegun = await queue.discard(key);
    // Nobody has it in its index then.
    if (!hasBegun) await queue.purge(key);
  };

  return {
    async step(tenant) {
      const key = keyOf(tenant);
      const known = memory.get(key) ?? { empty: 0, discardedAt: Number.NEGATIVE_INFINITY };
      memory.set(key, known);
      const { annotations, deletionTimestamp = "" } = tenant.metadata;
      const sinceMs = clock.now() - Date.parse(deletionTimestamp);
      if (annotations?.[marks.skipDrain] === "true") return over("skip-drain");
      const isShort = sinceMs >= shortMs;
      if (isShort && isEnding(context, tenant)) return over("its namespace ends");
      // A leader that has only begun: what it does not know yet is not gone.
      if (!configuration.isKnown()) return wait("Draining", "what is in force is not known yet");
      const pool = placeOf(context, tenant);
      if (isShort && pool === undefined) return over("nothing can send its mail any more");
      if (pool === undefined) return wait("Draining", "its pool is not there");
      const queue = context.streams.known(pool);
      const stored = await queue?.stored(key);
      if (queue === undefined || stored === undefined)
        return wait("Draining", "NATS cannot be asked what is queued");
      const isClosed = isClosedIn(context, pool, key);
      known.empty = stored === 0 && isClosed ? known.empty + 1 : 0;
      if (known.empty >= emptyLooks) return over("its queue is empty");
      const { isDiscard, timeoutMs } = policyOf(tenant);
      const hasTimedOut = sinceMs >= timeoutMs;
      const message = `${stored} messages are queued`;
      if (!isDiscard && !hasTimedOut) return wait("Draining", message);
      if (isClosed) await discard(key, queue, known);
      return wait(isDiscard ? "Discarding" : "DrainTimedOut", message);

      function over(why: string): DrainStep {
        log.info("tenant released", { tenant: key, why });
        return { kind: "over" };
      }
    },
    forget: (key) => void memory.delete(key),
  };
}

/** Every ready pod refuses its new mail by now; before that an empty queue is no end. A pod that was not heard yet may take some. */
function isClosedIn({ configuration, reports, stores }: Context, pool: string, key: string): boolean {
  const place = configuration.tenant(key);
  // Left out of the pool's configuration, or of none: while a pool cannot be compiled, its pods run what they had.
  const since = place?.pool === pool ? place.since : configuration.pool(pool)?.generation;
  const { told } = reports.of(pool);
  const ready = [...stores.podsOf(pool).values()].filter(isReady);
  return ready.every(({ metadata }) => {
    const runs = told.get(metadata.name)?.report.generation;
    return since !== undefined && runs !== undefined && runs >= since;
  });
}

/** The pool that has its mail: where it is compiled, else the one that it names. */
function placeOf({ configuration, stores }: Context, tenant: KubeObject): string | undefined {
  const compiled = configuration.tenant(keyOf(tenant))?.pool;
  if (compiled !== undefined) return compiled;
  const ref = fieldOf(tenant["spec"], "poolRef");
  const namespace = fieldOf(ref, "namespace") ?? tenant.metadata.namespace;
  const named = `${String(namespace)}/${String(fieldOf(ref, "name"))}`;
  return stores.get("pools", named) === undefined ? undefined : named;
}

function isEnding({ stores }: Context, { metadata }: KubeObject): boolean {
  const namespace = stores.get("namespaces", metadata.namespace ?? "");
  return namespace?.metadata.deletionTimestamp !== undefined;
}

function policyOf({ spec }: KubeObject): { isDiscard: boolean; timeoutMs: number } {
  const timeout = fieldOf(spec, "drainTimeout");
  const text = typeof timeout === "string" ? timeout : compiledDefaults.tenantDrainTimeout;
  return { isDiscard: fieldOf(spec, "deletionPolicy") === "Discard", timeoutMs: parseDuration(text) ?? 0 };
}
