/**
 * Bears witness of dead containers: what a kubelet saw end holds no shard any more, so the pool need not wait for its leases
 * to run out (design.md §4). Names only an incarnation that began before that end. Never throws.
 */
import type { Clock, KubeObject, Log } from "#operator/kube/types.ts";
import type { PoolQueue } from "#operator/streams/pool-queue.ts";
import { endingOf, type Ending } from "./pods.ts";

export interface Witness {
  /** A pod of the pool changed. */
  saw(pool: string, before: KubeObject | undefined, after: KubeObject | undefined): void;
}

export interface WitnessOptions {
  readonly queueOf: (pool: string) => PoolQueue | undefined;
  readonly clock: Clock;
  readonly log: Log;
}

const attempts = 5;
const againMs = 1000;

export function createWitness({ queueOf, clock, log }: WitnessOptions): Witness {
  const testify = async (pool: string, ending: Ending, attempt: number): Promise<void> => {
    const queue = queueOf(pool);
    const member = await queue?.incarnationOf(ending.pod);
    // Started again by then, or never a member: whoever holds its name now is not the one that ended.
    if (member !== undefined && (member.isGone || member.startedAt >= ending.finishedAt)) return;
    const dead = member === undefined ? undefined : { pod: ending.pod, incarnation: member.incarnation };
    if (dead !== undefined && (await queue?.witness(dead)) === true) {
      log.info("witnessed", { pool, ...dead });
      return;
    }
    if (attempt < attempts) clock.after(againMs, () => void testify(pool, ending, attempt + 1));
  };
  return {
    saw(pool, before, after) {
      const ending = after === undefined ? undefined : endingOf(after);
      if (ending === undefined) return;
      const earlier = before === undefined ? undefined : endingOf(before);
      if (earlier?.finishedAt !== ending.finishedAt) void testify(pool, ending, 1);
    },
  };
}
