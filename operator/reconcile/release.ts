/**
 * `mailboat operator --release`, for an uninstall: no operator leads any more → all tenants without their finalizer, so that they can
 * be deleted when nobody is there to drain them. Pods, configuration and queued mail stay as they are. An operator that is still
 * there a minute later leads again and sets the finalizers again, so an uninstall that fails does no harm.
 */
import { createClient } from "#operator/kube/client.ts";
import { pause, systemClock } from "#operator/kube/clock.ts";
import { KubeError } from "#operator/kube/errors.ts";
import { takeOver } from "#operator/kube/takeover.ts";
import type { Clock, KubeClient, KubeObject, Log } from "#operator/kube/types.ts";
import { hasFinalizer, setFinalizer } from "./finalizer.ts";
import { inParallel } from "./in-parallel.ts";
import { kinds, leaseName } from "./kinds.ts";

export interface ReleaseOptions {
  /** Absent: the whole cluster. */
  readonly namespaces: readonly string[] | undefined;
  /** Where the Lease is. */
  readonly namespace: string;
  readonly identity: string;
}

export interface ReleaseDeps {
  readonly client: Pick<KubeClient, "list" | "patch" | "transport">;
  readonly clock: Clock;
  readonly log: Log;
  readonly signal: AbortSignal;
}

/** Nobody else leads for so long, until the operator's Deployment is gone. */
const heldMs = 60_000;
/** A leader that was deposed has noticed by then, and what it had under way is over (its renewal time is 10 s). */
const settledMs = 12_000;
const everyMs = 1000;
/** Somebody else puts them back, or nobody lets us take them off. */
const giveUpMs = 50_000;
const atATime = 16;

/** With the client that `options` lead to. As `releaseTenants`. */
export async function runRelease(
  options: ReleaseOptions & { readonly kubeconfig: string | undefined; readonly context: string | undefined },
  deps: Pick<ReleaseDeps, "log" | "signal">,
): Promise<number> {
  const { kubeconfig, context } = options;
  const client = createClient({ kubeconfig, context, clock: systemClock });
  // The clock's timers keep no process alive.
  const alive = setInterval(() => {}, heldMs);
  try {
    return await releaseTenants(options, { ...deps, client, clock: systemClock });
  } finally {
    clearInterval(alive);
    client.close();
  }
}

/** @returns the exit code: 1 when some tenant still has its finalizer. Rejects with KubeError when the Lease cannot be taken. */
export async function releaseTenants(options: ReleaseOptions, deps: ReleaseDeps): Promise<number> {
  const { clock, log, signal } = deps;
  const { namespace, identity } = options;
  const wasLed = await takeOver({ ...deps, namespace, name: leaseName, identity, durationMs: heldMs });
  const takenAt = clock.monotonic();
  let released = 0;
  while (!signal.aborted) {
    const startedAt = clock.monotonic();
    const round = await releaseOnce(options.namespaces, deps);
    released += round.released;
    const isSettled = !wasLed || startedAt - takenAt >= settledMs;
    if (isSettled && round.released + round.refused.length === 0) {
      log.info("tenants released", { tenants: released });
      return 0;
    }
    if (clock.monotonic() - takenAt >= giveUpMs) {
      log.error("tenants not released", { released, refused: round.refused.slice(0, 10) });
      return 1;
    }
    await pause(clock, everyMs, signal);
  }
  return 1;
}

interface Round {
  released: number;
  /** `namespace/name: why`. */
  readonly refused: string[];
}

async function releaseOnce(
  namespaces: readonly string[] | undefined,
  { client, log }: ReleaseDeps,
): Promise<Round> {
  const round: Round = { released: 0, refused: [] };
  for (const namespace of namespaces ?? [undefined]) {
    const left = (await tenantsOf(client, namespace, log)).filter(hasFinalizer);
    await inParallel(left, { atATime }, async (tenant) => {
      try {
        await setFinalizer(client, tenant, false);
        round.released++;
      } catch (error) {
        // 409: somebody changed it meanwhile; the next round sees it.
        round.refused.push(`${tenant.metadata.namespace}/${tenant.metadata.name}: ${String(error)}`);
      }
    });
  }
  return round;
}

/** A kind that is gone has no objects; a namespace that is gone, or was never ours, is no reason to keep the others. */
async function tenantsOf(
  client: Pick<KubeClient, "list">,
  namespace: string | undefined,
  log: Log,
): Promise<KubeObject[]> {
  try {
    return (await client.list(kinds.tenants, { namespace })).items;
  } catch (error) {
    if (!(error instanceof KubeError)) throw error;
    if (error.status === 404) return [];
    if (error.status !== 403 || namespace === undefined) throw error;
    log.warn("tenants not listed", { namespace, error: error.message });
    return [];
  }
}
