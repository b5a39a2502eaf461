/** Every constant of the scheduler, in one table, with its reason. */
export const tuning = {
  /** Postfix's initial_destination_concurrency; also how far a window may run ahead of what is used. */
  initialWindow: 5,
  /** Shapes' rates are paced at this share (decisions.md 3): what the network bunches stays within the limit. */
  pacedShare: 0.97,
  /** Late timers may be made good by this much, within what the 3 % above leave (see pace.ts). */
  catchUpMs: 4,
  /** As long as every message of the last period is known one by one (peer-count.ts), so much: timers of a busy machine are that late. */
  countedCatchUpMs: 100,
  /** A connection waits so long for the turn of a tenant or sender domain; for a later one the entry goes back to its lane. */
  turnWaitMs: 250,
  /** A dispatch that comes to its MAIL so much later (it waited for a host of others, or for its greeting) has lost its place in the pace. */
  lateMailMs: 500,
  /** After the last message of guests, whose moment nobody tells the next owner of a site, so long: the period that rates are counted over. */
  guestPeriodMs: 1000,
  /** Of sites that share hosts one without a connection waits so long before one that has just one gives it up. */
  sharedTurnMs: 1000,
  /** An idle connection that was to be closed for a site that shares hosts is gone after this; else another one is asked for. */
  roomAgainMs: 100,
  /** No more sites share hosts: beyond that each has its limits for itself. */
  sharedSites: 100,
  /** Pause of a (source, site) that was throttled: doubles from first to max. */
  pause: { firstMs: 1000, maxMs: 60_000 },
  /** Backoff of a site that could not be reached: doubles from first to max. */
  backoff: { firstMs: 5000, maxMs: 600_000 },
  /** Pauses are multiplied by 1 − jitter … 1 + jitter. */
  jitter: 0.2,
  /** Of ten dispatches of a site whose bulk has work, bulk gets one at least. */
  bulkEvery: 10,
  /** Heap entries that one call of `next` moves, so that a due wave does not stall the event loop. */
  wakesPerCall: 64,
  /** An empty lane, and with its last lane a site at rest, is forgotten after this. */
  forgetAfterMs: 60_000,
  /** Sites whose held-back time is kept apart between two askings; the rest is "other". */
  heldSites: 1000,
  /** Node's timers overflow at 2^31 ms; an hour is as good. */
  maxSleepMs: 3_600_000,
  /** A clock that went back by more than this was set; less is noise that only makes pacing wait. */
  clockStepMs: 1000,
} as const;
