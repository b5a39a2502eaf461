/** CORRIDOR: acts on entries that wait in the index, one by one: tried at once, bounced, discarded; what is under way is left alone. Never rejects. */
import type { Envelope } from "#crds/wire/envelope.ts";
import { isLoaded, isMoving, type Load, type Loaded } from "./load.ts";
import type { Pod } from "./pod.ts";
import { isAbout, type QueueQuery, sorted } from "./queue-query.ts";
import type { Entry, Lane } from "./schedule/types.ts";
import { refuse } from "./settle/decide.ts";
import { ownReply } from "./smtp/reply.ts";
import type { Queued, Settling } from "./without-attempt.ts";

export const bouncedByOperator = ownReply(550, "5.7.1", "returned by the operator of the mail system");
/** As from nobody: a report would come from a tenant that is gone. */
export const discarded = ownReply(550, "5.7.1", "discarded: its tenant was deleted");

export interface QueuedActsDeps {
  readonly pod: Pick<Pod, "scheduler" | "clock">;
  readonly load: Load;
  /** Counts it as under way until the returned function is called. */
  hold(entry: Entry, lane: Lane): () => void;
  /** Nobody has it under way, here or elsewhere. */
  isFree(entry: Entry): boolean;
  settleWithout(queued: Queued, what: Settling, ended: () => void): void;
}

type Act = (queued: Queued, loaded: Loaded, ended: () => void) => void;

export function createQueuedActs({ pod, load, hold, isFree, settleWithout }: QueuedActsDeps) {
  const { scheduler, clock } = pod;

  /** Takes a queued entry that is not under way and hands it over with its hold; resolves at its end, false = none fits. */
  const withQueued = async (
    handle: number,
    fits: (loaded: Loaded) => boolean,
    act: Act,
  ): Promise<boolean> => {
    const queued = scheduler.entryOf(handle);
    if (queued === undefined || queued.state === "inflight" || !isFree(queued.entry)) return false;
    const ended = hold(queued.entry, queued.lane);
    const loaded = await load(queued.entry);
    // While it was read the scheduler may have begun with it.
    const isStill = scheduler.entryOf(handle)?.state !== "inflight";
    // What is being stored elsewhere is met there.
    if (!isLoaded(loaded) || !isStill || isMoving(loaded) || !fits(loaded)) {
      ended();
      return false;
    }
    return new Promise((resolve) => {
      act({ handle, ...queued }, loaded, () => {
        ended();
        resolve(true);
      });
    });
  };

  return {
    /** Makes a waiting entry ready, if one of its open recipients is meant; mail for later only when it is named by its id. */
    retry(handle: number, query: QueueQuery): Promise<boolean> {
      const isMeant = isAbout(query);
      const isNow = ({ sendAt }: Envelope): boolean => query.id !== undefined || sendAt <= clock.now();
      return withQueued(
        handle,
        (loaded) => isNow(loaded.envelope) && isMeant(loaded),
        (_queued, _loaded, ended) => {
          scheduler.requeue(handle, clock.now());
          ended();
        },
      );
    },
    /** Settles the recipients of a queued entry that are meant as bounced by an operator, with a DSN; others stay as they were. */
    bounce: (handle: number, query: QueueQuery): Promise<boolean> =>
      withQueued(handle, isAbout(query), (queued, loaded, ended) => {
        const { envelope, last } = loaded;
        const { meant, others } = sorted(loaded, query);
        const { due, attempt: made } = queued.entry;
        // Of one that was never attempted nobody reads the state.
        const rest =
          others.length === 0 ? undefined : { open: others, due, attempt: Math.max(1, made), last };
        const decision = refuse({ open: meant, from: envelope.from, reply: bouncedByOperator, rest });
        settleWithout(queued, { loaded, decision }, ended);
      }),
    /** Settles a queued entry of a deleted tenant: as bounced, and nobody is told. */
    discard: (handle: number): Promise<boolean> =>
      withQueued(
        handle,
        () => true,
        (queued, loaded, ended) => {
          const decision = refuse({ open: loaded.open, from: "", reply: discarded });
          settleWithout(queued, { loaded, decision }, ended);
        },
      ),
  };
}
