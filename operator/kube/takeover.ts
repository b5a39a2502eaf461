/**
 * Takes a Lease whoever holds it: the leader sees that at its next renewal and ends (election.ts), and nobody else leads until
 * the time is over. For the one case in which there must be no leader any more: an uninstall.
 */
import { leases } from "./election.ts";
import { KubeError } from "./errors.ts";
import { heldSpec, observe } from "./lease-record.ts";
import { collectionPath, objectPath, trimmed } from "./paths.ts";
import { retrying } from "./retry.ts";
import type { Clock, KubeClient, KubeObject } from "./types.ts";

export interface TakeOverOptions {
  readonly client: Pick<KubeClient, "transport">;
  readonly clock: Clock;
  readonly namespace: string;
  /** Of the Lease. */
  readonly name: string;
  readonly identity: string;
  /** For how long others wait after this. */
  readonly durationMs: number;
}

/** Others write faster than we do, for a while at most. */
const maxTries = 20;

/** @returns whether somebody may have led until now. Rejects with KubeError. */
export async function takeOver(options: TakeOverOptions): Promise<boolean> {
  const { client, clock, namespace, name, identity, durationMs } = options;
  const call = retrying({ transport: client.transport, clock, random: Math.random });
  const path = objectPath(leases, { namespace, name });
  const read = async (): Promise<KubeObject | undefined> => {
    try {
      return trimmed(leases, await call({ method: "GET", path }, { isIdempotent: true }));
    } catch (error) {
      if (isStatus(error, 404)) return undefined;
      throw error;
    }
  };
  let wasHeld = false;
  for (let tries = 1; ; tries++) {
    const lease = await read();
    const before = lease === undefined ? undefined : observe(lease, undefined, 0).record;
    wasHeld ||= before !== undefined && before.holder !== "" && before.holder !== identity;
    const spec = heldSpec({ identity, durationMs, now: clock.now(), before });
    const head = { apiVersion: "coordination.k8s.io/v1", kind: "Lease", metadata: { name, namespace } };
    try {
      // Done twice, it is refused the second time: by the name, or by the resourceVersion in it.
      await call(
        {
          method: lease === undefined ? "POST" : "PUT",
          path: lease === undefined ? collectionPath(leases, namespace) : path,
          body: JSON.stringify({ ...head, ...lease, spec }),
        },
        { isIdempotent: true },
      );
      return wasHeld;
    } catch (error) {
      const isRace = isStatus(error, 409) || isStatus(error, 404);
      if (!isRace || tries >= maxTries) throw error;
    }
  }
}

function isStatus(error: unknown, status: number): boolean {
  return error instanceof KubeError && error.status === status;
}
