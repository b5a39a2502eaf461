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
/** What is written at that distance comes to the peer no closer than the period: no two ways differ more, and the pace leaves more. */
const byAnyWay = 1.015;
const never = Number.POSITIVE_INFINITY;

/** A message that its peer counts; one object for all rates that it is counted against. */
export interface Sent {
  at: number;
  /** When it was answered; 0 = not yet. */
  countedBy: number;
}

/**
 * What is sent at s and answered at r was counted somewhere in between; the quickest answer tells how long the way is for
 * every message, so that only what an answer took beyond it is in doubt, and a distant peer costs little rate. What is not
 * answered yet is taken as counted now.
 */
export class PeerCount {
  /** The last N = `length`, each at its number modulo N. */
  #remembered: Sent[] = [];
  #length = 0;
  #periodMs = 0;
  /** Of those that are counted in `#remembered`. */
  #sent = 0;
  /** Since then every message is: so many. */
  #firstAt = never;
  #since = 0;
  #quickest = never;
  #nextQuickest = never;
  #answers = 0;
  /** When the last N = `length` final dots were written, each at its number modulo N. */
  #dots: number[] = [];
  #written = 0;

  /** Undefined = no limit. A new rate begins with nothing remembered. */
  setRate(perSecond: number | undefined): void {
    const length = perSecond === undefined ? 0 : Math.min(maxRemembered, Math.max(1, Math.floor(perSecond)));
    const periodMs = perSecond === undefined ? 0 : (1000 * length) / perSecond;
    if (length === this.#length && periodMs === this.#periodMs) return;
    this.#length = length;
    this.#periodMs = periodMs;
    this.#remembered = [];
    this.#sent = 0;
    this.#firstAt = never;
    this.#since = 0;
    this.#dots = [];
    this.#written = 0;
  }

  /** Every message of the period before `now` is remembered: `earliest` alone keeps the rate. */
  knows(now: number): boolean {
    if (this.#length === 0 || this.#firstAt === never) return false;
    return this.#since >= this.#length || now - this.#firstAt >= this.#periodMs;
  }

  /** When the next message may be sent at the earliest, as far as is known at `now`. */
  earliest(now: number): number {
    const before = this.#remembered[this.#sent % this.#length];
    if (before === undefined) return 0;
    if (before.countedBy > 0) return this.#endOf(before);
    // It may be counted later than now, and the next one sooner: so the paced distance.
    return Math.max(before.at, now - this.#way()) + this.#periodMs / tuning.pacedShare;
  }

  /** When the next final dot may be written: the N-th before it is a whole period ago, whatever has held up either message since its booking. */
  get dotAt(): number {
    const before = this.#dots[this.#written % this.#length];
    return before === undefined ? 0 : before + this.#periodMs * byAnyWay;
  }

  dotWritten(now: number): void {
    if (this.#length > 0) this.#dots[this.#written++ % this.#length] = now;
  }

  /** How long every message is on its way, at the least. */
  #way(): number {
    if (this.#answers < answersToTrust) return 0;
    return Math.max(0, this.#quickest * believed.share - believed.lessMs);
  }

  /**
   * From when on others who know nothing of these may send at that distance: those that were answered late may stand close together. 0 =
   * at once.
   */
  pacedFrom(distanceMs: number): number {
    let from = 0;
    const last = this.remembered().sort((one, other) => other.countedBy - one.countedBy);
    for (const [index, sent] of last.entries())
      if (sent.countedBy > 0)
        from = Math.max(from, this.#endOf(sent) - (this.#length - 1 - index) * distanceMs);
    return from;
  }

  /** Oldest first. */
  remembered(): Sent[] {
    const first = this.#sent % Math.max(1, this.#length);
    return [...this.#remembered.slice(first), ...this.#remembered.slice(0, first)];
  }

  /** These were sent as well, by `now`. Where that is news, what else was before is not known either. */
  remember(others: Iterable<Sent>, now: number): void {
    const known = new Set(this.#remembered);
    const isOver = (sent: Sent): boolean => sent.countedBy > 0 && this.#endOf(sent) <= now;
    const news = [...others].filter((sent) => !known.has(sent) && !isOver(sent));
    if (this.#length === 0 || news.length === 0) return;
    const all = [...this.#remembered, ...news].sort((one, other) => one.at - other.at);
    this.#remembered = all.slice(-this.#length);
    this.#sent = this.#remembered.length;
    this.#firstAt = now;
    this.#since = 0;
  }

  /** Notes a message, as the one that it is to another rate already; null = there is no limit. */
  send(at: number, known: Sent | null = null): Sent | null {
    if (this.#length === 0) return null;
    if (this.#firstAt === never) this.#firstAt = at;
    const sent = known ?? { at, countedBy: 0 };
    this.#remembered[this.#sent % this.#length] = sent;
    this.#sent++;
    this.#since++;
    return sent;
  }

  answered(sent: Sent | null, now: number): void {
    if (sent === null) return;
    sent.countedBy = now;
    if (this.#length === 0) return;
    const took = Math.max(0, now - sent.at);
    this.#quickest = Math.min(this.#quickest, took);
    this.#nextQuickest = Math.min(this.#nextQuickest, took);
    if (++this.#answers % quickestOf > 0) return;
    this.#quickest = this.#nextQuickest;
    this.#nextQuickest = never;
  }

  /** But for those that are `others`, which shift them. */
  shift(byMs: number, others?: ReadonlySet<Sent>): void {
    this.#firstAt += byMs;
    this.#dots = this.#dots.map((at) => at + byMs);
    for (const sent of this.#remembered) {
      if (others?.has(sent) === true) continue;
      sent.at += byMs;
      if (sent.countedBy > 0) sent.countedBy += byMs;
    }
  }

  /** When a period is over since it was counted at the latest. */
  #endOf({ at, countedBy }: Sent): number {
    return Math.max(at, countedBy - this.#way()) + this.#periodMs * byAnyClock;
  }
}
