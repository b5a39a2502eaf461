/** One message rate: when dispatches start, when messages are sent, and how their peer counted them. Pure. */
import { Pace } from "./pace.ts";
import { PeerCount, type Sent } from "./peer-count.ts";
import { tuning } from "./tuning.ts";

export class MessageRate {
  /** When transactions may be dispatched, and when they may be sent. */
  readonly dispatches = new Pace();
  readonly mails = new Pace();
  readonly counted = new PeerCount();

  /** Undefined = no limit. Throws RangeError for a rate that is not above 0. */
  setRate(perSecond: number | undefined): void {
    this.dispatches.setRate(perSecond);
    this.mails.setRate(perSecond);
    this.counted.setRate(perSecond);
  }

  start(now: number): void {
    this.dispatches.charge(now, this.#catchUpMs(now));
  }

  /** When the next message may be sent; nothing is booked. */
  earliest(now: number): number {
    return Math.max(this.mails.nextAt, this.counted.earliest(now));
  }

  /** Books the moment of a message; `sent` is for `counted.answered`. */
  book(now: number): { readonly holdMs: number; readonly sent: Sent | null } {
    this.mails.nextAt = this.earliest(now);
    const holdMs = this.mails.reserve(now, this.#catchUpMs(now));
    return { holdMs, sent: this.counted.send(now + holdMs) };
  }

  /** Books a moment that `earliest` allowed, which may be some time ahead, for what another rate may know already. */
  bookAt(at: number, now: number, known: Sent | null = null): Sent | null {
    this.mails.charge(at, at > now ? 0 : this.#catchUpMs(now));
    return this.counted.send(at, known);
  }

  /** What was sent late and made good stands closer together than its distance; who does not know it waits that much longer. */
  get nextForOthers(): number {
    const catchUpMs = this.counted.knows(Number.POSITIVE_INFINITY) ? tuning.countedCatchUpMs : 0;
    return this.nextAt + catchUpMs;
  }

  /** The same where what was answered late is not told of either. */
  get nextForSuccessor(): number {
    return Math.max(this.nextForOthers, this.counted.pacedFrom(this.mails.intervalMs));
  }

  get nextAt(): number {
    return Math.max(this.dispatches.nextAt, this.mails.nextAt);
  }

  /** Somebody else has the next ones until then. */
  waitUntil(at: number): void {
    this.dispatches.nextAt = Math.max(this.dispatches.nextAt, at);
    this.mails.nextAt = Math.max(this.mails.nextAt, at);
  }

  /** The last message of `other`, also one that is booked for later, counts here as well; it was sent by `latest`. */
  learn(other: MessageRate, latest: number): void {
    const last = Math.min(other.nextForOthers - other.mails.intervalMs, latest + tuning.countedCatchUpMs);
    this.waitUntil(last + this.mails.intervalMs);
  }

  /** The next one may go at `at`, at whatever rate; what was charged so far is in it. */
  startAt(at: number): void {
    this.dispatches.nextAt = at;
    this.mails.nextAt = at;
  }

  /** Somebody else, whose messages are not known, may have sent one at `at`. */
  spent(at: number): void {
    this.dispatches.spent(at + tuning.countedCatchUpMs);
    this.mails.spent(at + tuning.countedCatchUpMs);
  }

  /** But for messages of `others`, which shift them. */
  shift(byMs: number, others?: ReadonlySet<Sent>): void {
    this.dispatches.nextAt += byMs;
    this.mails.nextAt += byMs;
    this.counted.shift(byMs, others);
  }

  /** What is dispatched waits for what is booked ahead: else each is booked ahead from then on, and one that is sent late stands beside the next. */
  keepBehind(): void {
    this.dispatches.nextAt = Math.max(this.dispatches.nextAt, this.mails.nextAt);
  }

  /** For a period after a start or a take-over the pace alone keeps the rate. */
  #catchUpMs(now: number): number {
    return this.counted.knows(now) ? tuning.countedCatchUpMs : 0;
  }
}
