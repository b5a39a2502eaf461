/**
 * Of each lane the entries that became ready first, among those that have had their turn here. Whatever a dead owner had under way is
 * among them, in whatever order its successor goes on (poison.ts). Pure.
 */
import type { Dispatch } from "./schedule/types.ts";

interface Place {
  readonly at: number;
  readonly seq: number;
}

export interface LaneHeads {
  /** It has its turn: true unless `count` entries of its lane that were ready before it have had theirs. Not to be asked again once true. */
  isAmong(dispatch: Pick<Dispatch, "entry" | "lane">, count: number): boolean;
}

export function createLaneHeads(): LaneHeads {
  /** The first ones of each lane, in order. */
  const firsts = new Map<string, Place[]>();
  return {
    isAmong({ entry: { due, seq }, lane }, count) {
      // A lane is first in, first out: what is new in the order of the stream, what waited for its time in the order of that.
      const { site, tenant, class: priority, senderDomain = "?" } = lane;
      const key = `${due > 0 ? "timed" : "new"}|${priority}|${site}|${tenant}|${senderDomain}`;
      const places = firsts.get(key) ?? [];
      firsts.set(key, places);
      const behind = places.findIndex((place) => place.at > due || (place.at === due && place.seq > seq));
      const index = behind < 0 ? places.length : behind;
      if (index >= count) return false;
      places.splice(index, 0, { at: due, seq });
      places.length = Math.min(places.length, count);
      return true;
    },
  };
}
