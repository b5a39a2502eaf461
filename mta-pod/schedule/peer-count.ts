/**
 * Keeps a rate where it is counted: at the peer. A message that is answered late may have been counted late, so the one
 * that comes N after it waits until a whole period after that answer. Pure, never fails.
 */
import { tuning } from "./tuning.ts";

/** Messages remembered; a higher rate is held over a shorter period, which is stricter. */
const maxRemembered = 10_000;
/** Answers after which the quickest of them is looked for anew: routes change. */
const quickestOf = 100;
/** Until so many answers are in, the way there is taken to be no way at all: the first ones are often slow. */
const answersToTrust = 10;
/** Of the quickest answer this much is believed to be the way: the next one may be quicker. */
const believed = { share: 0.75, lessMs: 5 };
/** The peer counts by a clock of its own: no two run apart faster, and the pace leaves more. */
const byAnyClock = 1.005;
const never = Number.POSITIVE_INFINITY;

/**
 * What is sent at s and answered at r was counted somewhere in between; the quickest answer tells how long the way is for
 * every message, so that only what an answer took beyond it is in doubt, and a distant peer costs little rate. What is not
 * answered yet is taken as counted now.
 */
export class PeerCount {
  /** N = `length`: when each of the last N messages was answered; 0 = not yet. */
  #countedBy: number[] = [];
  #sentAt: number[] = [];
  #length = 0;
  #periodMs = 0;
  #sent = 0;
  #firstAt = 0;
  #quickest = never;
  #nextQuickest = never;
  #answers = 0;

  /** Undefined = no limit. A new rate begins with nothing remembered. */
  setRate(perSecond: number | undefined): void {
    const length = perSecond === undefined ? 0 : Math.min(maxRemembered, Math.max(1, Math.floor(perSecond)));
    const periodMs = perSecond === undefined ? 0 : (1000 * length) / perSecond;
    if (length === this.#length && periodMs === this.#periodMs) return;
    this.#length = length;
    this.#periodMs = periodMs;
    this.#countedBy = [];
    this.#sentAt = [];
    this.#sent = 0;
  }

  /** Every message of the period before `now` is remembered: `earliest` alone keeps the rate. */
  knows(now: number): boolean {
    if (this.#length === 0 || this.#sent === 0) return false;
    return this.#sent >= this.#length || now - this.#firstAt >= this.#periodMs;
  }

  /** When the next message may be sent at the earliest, as far as is known at `now`. */
  earliest(now: number): number {
    if (this.#sent < this.#length || this.#length === 0) return 0;
    const place = this.#sent % this.#length;
    const sentAt = this.#sentAt[place] ?? 0;
    const countedBy = this.#countedBy[place] ?? 0;
    if (countedBy > 0) return Math.max(sentAt, countedBy - this.#way()) + this.#periodMs * byAnyClock;
    // It may be counted later than now, and the next one sooner: so the paced distance.
    return Math.max(sentAt, now - this.#way()) + this.#periodMs / tuning.pacedShare;
  }

  /** How long every message is on its way, at the least. */
  #way(): number {
    if (this.#answers < answersToTrust) return 0;
    return Math.max(0, this.#quickest * believed.share - believed.lessMs);
  }

  /** Notes a message; answers its number, for `answered`. */
  send(at: number): number {
    if (this.#length === 0) return -1;
    if (this.#sent === 0) this.#firstAt = at;
    const place = this.#sent % this.#length;
    this.#sentAt[place] = at;
    this.#countedBy[place] = 0;
    return this.#sent++;
  }

  answered(number: number, now: number): void {
    if (number < 0 || number >= this.#sent || number < this.#sent - this.#length) return;
    const place = number % this.#length;
    this.#countedBy[place] = now;
    const took = Math.max(0, now - (this.#sentAt[place] ?? now));
    this.#quickest = Math.min(this.#quickest, took);
    this.#nextQuickest = Math.min(this.#nextQuickest, took);
    if (++this.#answers % quickestOf > 0) return;
    this.#quickest = this.#nextQuickest;
    this.#nextQuickest = never;
  }

  shift(byMs: number): void {
    this.#firstAt += byMs;
    this.#sentAt = this.#sentAt.map((at) => at + byMs);
    this.#countedBy = this.#countedBy.map((at) => (at > 0 ? at + byMs : at));
  }
}
