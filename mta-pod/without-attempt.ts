/** CORRIDOR: settles entries that nobody attempts now: expired, returned by an operator, or parked and given up. */
import type { Envelope } from "#crds/wire/envelope.ts";
import { idHashOf } from "#crds/wire/state-record.ts";
import type { Loaded } from "./load.ts";
import type { HotBodies } from "./hot-bodies.ts";
import type { Entry, Lane } from "./schedule/types.ts";
import type { Decision } from "./settle/decide.ts";
import { attemptedOf, type Settlement } from "./settlement.ts";
import type { Sites } from "./sites.ts";

export interface Queued {
  readonly handle: number;
  readonly entry: Entry;
  readonly lane: Lane;
}

export interface Settling {
  readonly loaded: Loaded;
  readonly decision: Decision;
}

/** Of an entry that is in no index: the scheduler knows none below 0. */
const noHandle = -1;

export function parkedAt({ shard, seq }: Pick<Entry, "shard" | "seq">, envelope: Envelope): Queued {
  const { id, size, receivedAt, expiresAt, due, attempt, site, tenant, class: priority } = envelope;
  return {
    handle: noHandle,
    entry: { shard, seq, idHash: idHashOf(id), size, receivedAt, expiresAt, due, attempt },
    lane: { site, tenant, class: priority },
  };
}

export function createSettleWithout(deps: {
  readonly hot: HotBodies;
  readonly sites: Sites;
  readonly settlement: Settlement;
}) {
  const { hot, sites, settlement } = deps;
  return ({ handle, entry, lane }: Queued, { loaded, decision }: Settling, ended: () => void): void => {
    hot.take(handle);
    const rest = {
      attempt: entry.attempt,
      provider: sites.providerOf(lane.site),
      rule: undefined,
      peer: undefined,
    };
    settlement.carryOut(attemptedOf({ handle, entry, source: "" }, loaded, rest), decision, ended);
  };
}
