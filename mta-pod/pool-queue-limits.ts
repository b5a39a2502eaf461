/** CORRIDOR: the limits of queued messages, wired to this pod: whom they ask, and what counts as dead. */
import { podCountOf } from "./admit/queue-ledger.ts";
import type { Pod } from "./pod.ts";
import { queuedQuestion } from "./pool-facts.ts";
import { createQueueLimits, type QueueLimits } from "./queue-limits.ts";
import type { Cells } from "./spool/cells.ts";
import type { Spool } from "./spool/connection.ts";
import type { Peers } from "./spool/peers.ts";
import type { StoredMarks } from "./stored-marks.ts";

/** A pod that was killed is waited for in vain; mail waits as long. */
const askMs = 400;

interface Parts {
  readonly pod: Pod;
  readonly spool: Spool;
  readonly peers: Pick<Peers, "ask">;
  readonly cells: Cells;
  readonly marks: StoredMarks;
}

export function createPoolQueueLimits({ pod, spool, peers, cells, marks }: Parts): QueueLimits {
  const { name, incarnation, clock, ownership } = pod;
  return createQueueLimits({
    self: { pod: name, incarnation },
    shards: spool.options.shards,
    cells,
    clock,
    timers: spool.timers,
    marks,
    async ask(tenant) {
      const answers = await peers.ask(queuedQuestion, { tenant }, askMs);
      return answers.flatMap(({ answer }) => podCountOf(answer) ?? []);
    },
    pods: () => ownership.members().length,
    isDead: (holder) => ownership.ended.isDead(holder),
  });
}
