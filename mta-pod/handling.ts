/** CORRIDOR: an attempt with what may go wrong around it: a suspect is noted first, what throws is tried again or set aside. */
import type { Attempts, Trouble } from "./attempt.ts";
import { type Damaged, isMoving, type Loaded } from "./load.ts";
import type { Pod } from "./pod.ts";
import type { Poison } from "./poison.ts";
import type { Dispatch } from "./schedule/types.ts";
import { untried } from "./sites.ts";

interface HandlingDeps {
  readonly pod: Pick<Pod, "scheduler" | "clock">;
  readonly poison: Poison;
  readonly attempts: Pick<Attempts, "start">;
  /** Ends the dispatch; the entry waits so long. */
  postpone(dispatch: Dispatch, ms: number): void;
}

export function createHandling({ pod, poison, attempts, postpone }: HandlingDeps) {
  const { scheduler, clock } = pod;
  return {
    /** Handling threw: tried again, or set aside where it is stored. */
    failed(dispatch: Dispatch, loaded: Loaded | Damaged, trouble: Trouble): void {
      const { error, isAnswered, ended } = trouble;
      const reason = error instanceof Error ? error.message : String(error);
      const next = poison.failed({ ...dispatch.entry, id: loaded.envelope?.id }, reason, isAnswered);
      if (next !== "park") {
        postpone(dispatch, next);
        return ended();
      }
      scheduler.finish(dispatch.handle, untried(dispatch), clock.now());
      scheduler.settle(dispatch.handle);
      // As it is noted, where more than who is left is.
      const open = "damaged" in loaded || isMoving(loaded) ? undefined : loaded.open;
      return poison.park(dispatch.entry, { envelope: loaded.envelope, open, reason }, ended);
    },
    start(dispatch: Dispatch, loaded: Loaded, ended: () => void): void {
      if (!poison.isSuspect(dispatch)) return attempts.start(dispatch, loaded, ended);
      void poison.note(dispatch.entry, loaded).then((noted) => {
        if (typeof noted === "number") {
          postpone(dispatch, noted);
          return ended();
        }
        return attempts.start(dispatch, noted.loaded, (isUntried) => {
          // Not of one that went to another shard: it would be a state without an entry.
          const isHere = scheduler.entryOf(dispatch.handle) !== undefined;
          if (isUntried === true && isHere) return void noted.undo().then(ended);
          noted.over();
          return ended();
        });
      });
      return undefined;
    },
  };
}
