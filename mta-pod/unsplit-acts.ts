/**
 * CORRIDOR: acts on messages for several sites that are not split yet: returned or discarded before anything comes of them, or split at once.
 * Of one that is being split just now some may be stored elsewhere by then. Never rejects.
 */
import { idHashOf } from "#crds/wire/state-record.ts";
import { parentSite } from "#crds/wire/subject.ts";
import type { ActionName } from "./acts.ts";
import type { Parents, Unsplit } from "./parents.ts";
import type { Pod } from "./pod.ts";
import { isAbout, type QueueQuery, selectorOf, sorted } from "./queue-query.ts";
import { bouncedByOperator, discarded } from "./queued-acts.ts";
import { refuse } from "./settle/decide.ts";
import { attemptedOf, type Settlement } from "./settlement.ts";
import type { Taken } from "./stored-parents.ts";
import { parkedAt } from "./without-attempt.ts";

export interface UnsplitActsDeps {
  readonly pod: Pod;
  readonly parents: Pick<Parents, "list" | "take" | "hasten">;
  readonly settlement: Pick<Settlement, "tell">;
}

interface Acted {
  readonly isAffected: boolean;
  /** It was being split, or could not be read: some of it may have been passed over, wherever it is. */
  readonly isPassedOver: boolean;
}

export type UnsplitActs = ReturnType<typeof createUnsplitActs>;

export function createUnsplitActs({ pod, parents, settlement }: UnsplitActsDeps) {
  /** Those of them that may be settled, once their senders are told; [] = the shard is gone before. */
  const giveUp = (action: "bounce" | "discard", at: Unsplit, taken: Taken, meant: Taken["parts"]) => {
    const { loaded } = taken;
    const { envelope } = loaded;
    if (meant.length === 0) return [];
    const open = meant.flat();
    const decision =
      action === "bounce"
        ? refuse({ open, from: envelope.from, reply: bouncedByOperator })
        : refuse({ open, from: "", reply: discarded });
    const { handle, entry } = parkedAt(at, envelope);
    const none = { attempt: 0, provider: "other", rule: undefined, peer: undefined };
    const attempted = attemptedOf({ handle, entry, source: "" }, loaded, none);
    return new Promise<Taken["parts"]>((resolve) => {
      settlement.tell(attempted, decision, (isTold) => resolve(isTold ? meant : []));
    });
  };

  return {
    /** Within a selection, but for its domain: they are at no site, and who they are for is read when they are acted on. */
    list(query: QueueQuery): readonly Unsplit[] {
      const { tenant, site = parentSite } = selectorOf(pod, query);
      if (site !== parentSite) return [];
      const idHash = query.id === undefined ? undefined : idHashOf(query.id);
      return parents.list(tenant).filter((one) => idHash === undefined || one.idHash === idHash);
    },
    async act(action: ActionName, at: Unsplit, query: QueueQuery): Promise<Acted> {
      // What comes of it is tried at once; mail for later only when it is named.
      if (action === "retry") return { isAffected: parents.hasten(at, query.id), isPassedOver: false };
      const taken = pod.ownership.mayProceed(at.shard) ? await parents.take(at) : undefined;
      if (taken === undefined) return { isAffected: false, isPassedOver: true };
      const { envelope } = taken.loaded;
      const some = taken.parts.filter((open) => isAbout(query)({ envelope, open }));
      const meant = some.filter((open) => sorted({ envelope, open }, query).others.length === 0);
      const settled = await giveUp(action, at, taken, meant);
      await taken.putBack(settled);
      return { isAffected: settled.length > 0, isPassedOver: taken.wasBegun || meant.length < some.length };
    },
  };
}
