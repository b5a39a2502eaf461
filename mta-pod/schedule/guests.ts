/**
 * Guests: connections that mail of other places makes at the hosts of a site (decisions.md 16). They have sites of their own beside it,
 * without lanes, so that they share its limits and take turns with it as rules with the same hosts do. Pure, never fails.
 */
import type { SiteState } from "./site-state.ts";
import type { MailTurn } from "./turns.ts";
import type { SourceWeight } from "./types.ts";

/** What the scheduler does for guests; one that is admitted ends by `finish`, with its connection closed. */
export interface GuestTurns {
  /** Waits at a site whose limits are set until a step admits it. Answers its handle, which is no entry's. */
  addGuest(site: string, source: string, now: number): number;
  /** It waits no more; without effect on one that was admitted. */
  dropGuest(handle: number, now: number): void;
  /** As `holdBeforeMail`, for each message of an admitted guest on its connection but the first. "requeue" = its turn is not soon. */
  nextTurn(handle: number, now: number): MailTurn;
  /** The final dot of an admitted guest is written at a moment from `from` on, which is answered, or up to `lateMs` later. Infinity = nobody knows the guest. */
  bookFinalDot(handle: number, from: number, lateMs: number): number;
  /** The message of an admitted guest may be counted as late as `until`: its host's next owner waits that long. */
  promise(handle: number, until: number): void;
}

export interface Guest {
  readonly handle: number;
  readonly source: string;
}

export class WaitingGuests {
  readonly #sites = new Map<number, SiteState>();
  #last = 0;

  add(site: SiteState, source: string): number {
    const handle = --this.#last;
    site.guests.push({ handle, source });
    this.#sites.set(handle, site);
    return handle;
  }

  /** Answers where it waited; undefined = it does not. */
  drop(handle: number): SiteState | undefined {
    const site = this.#sites.get(handle);
    if (site === undefined) return undefined;
    this.#sites.delete(handle);
    site.guests.splice(
      site.guests.findIndex((guest) => guest.handle === handle),
      1,
    );
    return site;
  }

  /** The first that waits for the source. */
  take(site: SiteState, source: string): number | undefined {
    const guest = site.guests.find((one) => one.source === source);
    if (guest !== undefined) this.drop(guest.handle);
    return guest?.handle;
  }
}

/** Those that somebody waits for. */
export function wantedSources(guests: readonly Guest[]): readonly SourceWeight[] {
  return [...new Set(guests.map(({ source }) => source))].map((name) => ({ name, weight: 1 }));
}
