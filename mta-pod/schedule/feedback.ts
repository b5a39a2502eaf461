/** What the end of a dispatch teaches about its site and link: windows, pauses, backoff. Pure, never fails. */
import type { Random } from "#mta-pod/runtime/clock.ts";
import type { Draft } from "./budget-gate.ts";
import type { LaneState } from "./lane-state.ts";
import type { Link } from "./link.ts";
import type { Sent } from "./peer-count.ts";
import type { SiteState } from "./site-state.ts";
import type { Feedback } from "./types.ts";

/** A dispatch under way; kept until `finish`, whatever becomes of its entry. */
export interface Flight {
  readonly site: SiteState;
  readonly link: Link;
  /** null = a guest's. */
  readonly lane: LaneState | null;
  /** What it draws on; null = nothing. */
  drafts: Draft[] | null;
  startedAt: number;
  /** Its message as rates count it; null = none was booked, or there is no limit. */
  mail: Sent | null;
  /** What was asked for the entry before `finish`. */
  after: (() => void) | null;
}

export interface Chance {
  readonly now: number;
  readonly random: Random;
}

/** To be called after the link's `end`. */
export function applyFeedback(flight: Flight, feedback: Feedback, { now, random }: Chance): void {
  const { site, link, startedAt } = flight;
  switch (feedback) {
    case "good":
      site.good++;
      site.lastGoodAt = now;
      site.backoff.reset();
      if (startedAt > link.pause.setAt) link.pause.reset();
      link.window.good(link.busy + 1);
      return;
    case "throttled":
      if (link.pause.strike(startedAt, now, random)) link.window.halve();
      return;
    case "unreachable":
      link.window.bad();
      // While others get through, the site is alive: this source, or this many connections, are the trouble.
      if (site.lastGoodAt >= startedAt) link.pause.strike(startedAt, now, random);
      else if (site.backoff.strike(startedAt, now, random))
        for (const each of site.links.values()) each.window.restart(1);
      return;
    case "proxy":
      // Other sources go on, with what this one would have sent.
      link.pause.strike(startedAt, now, random);
      return;
    case "neutral":
      return;
    default:
      return feedback satisfies never;
  }
}
