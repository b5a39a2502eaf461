/** A simulated world for the scheduler: a clock that jumps to the next event, peers that take their time. */
import { createScheduler } from "#mta-pod/schedule/scheduler.ts";
import type {
  Dispatch,
  Entry,
  FinishResult,
  Lane,
  Scheduler,
  SiteLimits,
  SourceWeight,
  Step,
} from "#mta-pod/schedule/types.ts";

export const start = 1_700_000_000_000;
export const day = 86_400_000;

export interface Sent {
  readonly at: number;
  readonly dispatch: Dispatch;
}

export interface Peer {
  /** How long a dispatch takes, ms. */
  takes: (dispatch: Dispatch) => number;
  ends: (dispatch: Dispatch) => FinishResult;
  /** Ms from a dispatch to its MAIL; absent = none, and nobody is asked for the turn. */
  reaches?: (dispatch: Dispatch) => number;
}

interface Running {
  until: number;
  readonly dispatch: Dispatch;
  /** Its MAIL is still to come. */
  isEarly: boolean;
}

export class World {
  now = start;
  readonly scheduler: Scheduler;
  readonly sent: Sent[] = [];
  /** When each MAIL was sent, and when its peer counted the message. */
  readonly mailed: (Sent & { readonly counted: number })[] = [];
  /** Sleeps of the scheduler that ended in time alone. */
  wakes = 0;
  readonly expired: { at: number; handle: number; entry: Entry }[] = [];
  /** Idle connections that were closed for others. */
  readonly yielded: { at: number; site: string }[] = [];
  readonly peer: Peer = { takes: () => 10, ends: () => ({ feedback: "good", connection: "kept" }) };
  #seq = 0;
  #running: Running[] = [];

  constructor(sources: readonly SourceWeight[] = [{ name: "default", weight: 1 }]) {
    this.scheduler = createScheduler({ random: () => 0.5, sources });
  }

  site(id: string, limits: SiteLimits): void {
    this.scheduler.setSite(id, { limits }, this.now);
  }

  tenants(weights: Record<string, number>): void {
    const policies = Object.entries(weights).map(([id, weight]) => [id, { weight, held: false }] as const);
    this.scheduler.setTenants(new Map(policies), this.now);
  }

  add(lane: Partial<Lane>, entry: Partial<Entry> = {}): number {
    return this.scheduler.add(
      { site: "s", tenant: "a", class: "transactional", ...lane },
      {
        shard: 0,
        seq: ++this.#seq,
        idHash: this.#seq,
        size: 1000,
        receivedAt: this.now,
        expiresAt: this.now + day,
        due: 0,
        attempt: 0,
        ...entry,
      },
      this.now,
    );
  }

  next(): Step {
    return this.scheduler.next(this.now);
  }

  /** The next step, which must be a dispatch. */
  dispatch(): Dispatch {
    const step = this.next();
    if (step.kind !== "dispatch") throw new Error(`expected a dispatch, got ${JSON.stringify(step)}`);
    return step.dispatch;
  }

  end(
    dispatch: Dispatch,
    feedback: FinishResult["feedback"] = "good",
    connection: FinishResult["connection"] = "kept",
  ) {
    this.scheduler.finish(dispatch.handle, { feedback, connection }, this.now);
  }

  done(dispatch: Dispatch): void {
    this.end(dispatch);
    this.scheduler.settle(dispatch.handle);
  }

  /** Lets the peers work for `ms`, each good dispatch settled at its end, a bad one put back. */
  run(ms: number): void {
    const end = this.now + ms;
    for (;;) {
      const step = this.next();
      if (step.kind === "dispatch") this.#begin(step.dispatch);
      else if (step.kind === "expire") {
        this.expired.push({ at: this.now, handle: step.handle, entry: step.entry });
        this.scheduler.settle(step.handle);
      } else if (step.kind === "yield") {
        this.yielded.push({ at: this.now, site: step.site });
        this.scheduler.connectionClosed(step.site, step.source, this.now);
      } else {
        const sleepEnd = step.kind === "sleep" ? this.now + step.ms : Number.POSITIVE_INFINITY;
        const at = Math.min(sleepEnd, this.#running[0]?.until ?? Number.POSITIVE_INFINITY);
        if (at > end) break;
        if (sleepEnd === at) this.wakes++;
        this.now = at;
        this.#finishDue();
      }
    }
    this.now = end;
  }

  get running(): number {
    return this.#running.length;
  }

  #begin(dispatch: Dispatch): void {
    this.sent.push({ at: this.now, dispatch });
    const { reaches } = this.peer;
    const ms = reaches === undefined ? this.peer.takes(dispatch) : reaches(dispatch);
    this.#due({ until: this.now + ms, dispatch, isEarly: reaches !== undefined });
  }

  #due(running: Running): void {
    this.#running.push(running);
    this.#running.sort((one, other) => one.until - other.until);
  }

  #finishDue(): void {
    while ((this.#running[0]?.until ?? Number.POSITIVE_INFINITY) <= this.now) {
      const running = this.#running.shift();
      if (running === undefined) return;
      if (running.isEarly) this.#takeTurn(running);
      else this.#finish(running.dispatch);
    }
  }

  #takeTurn(running: Running): void {
    const { dispatch } = running;
    const { then, ms } = this.scheduler.holdBeforeMail(dispatch.handle, this.now);
    if (then === "ask") return this.#due({ ...running, until: this.now + ms });
    if (then === "requeue") {
      this.scheduler.requeue(dispatch.handle, this.now);
      return this.end(dispatch, "neutral");
    }
    const at = this.now + ms;
    const takes = this.peer.takes(dispatch);
    this.mailed.push({ at, counted: at + takes / 2, dispatch });
    return this.#due({ until: at + takes, dispatch, isEarly: false });
  }

  #finish(dispatch: Dispatch): void {
    const result = this.peer.ends(dispatch);
    this.scheduler.finish(dispatch.handle, result, this.now);
    if (result.feedback === "good") this.scheduler.settle(dispatch.handle);
    else this.scheduler.requeue(dispatch.handle, this.now);
  }
}

/** The most events in any half-open window of `spanMs`. */
export function mostWithin(times: readonly number[], spanMs: number): number {
  let most = 0;
  let first = 0;
  times.forEach((at, index) => {
    while (at - (times[first] ?? 0) >= spanMs) first++;
    most = Math.max(most, index - first + 1);
  });
  return most;
}
