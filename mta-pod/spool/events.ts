/**
 * The event log: records gathered into batches on the pool's event stream, and found again by message id. Events never
 * hold up mail: what cannot be stored is repeated for a while, then dropped, oldest first, and counted.
 */
import { type Consumer, DeliverPolicy, jetstream } from "@nats-io/jetstream";
import {
  decodeEvent,
  encodeEvent,
  type EventFacts,
  type EventRecord,
  type EventStamp,
  type EventType,
} from "#crds/wire/event.ts";
import { pauseUntil, type Spool } from "./connection.ts";
import { createOutbox } from "./outbox.ts";
import { eventFilter } from "./streams.ts";
import type { Cancel } from "./timers.ts";

export interface EventLog {
  /** Never blocks, never fails. */
  append(stamp: EventStamp, facts: EventFacts): void;
  /** Sends what is gathered and resolves when nothing is under way (10 s at most). */
  flush(): Promise<void>;
  /** Events that were dropped since the start. */
  dropped(): number;
  find(id: string, options: FindOptions): Promise<Found>;
  /** Flushes and ends. */
  close(): Promise<void>;
}

interface FindOptions {
  /** When the message was accepted: the time in its id. */
  readonly fromMs: number;
  /** How long to look, at most. */
  readonly boundMs: number;
}

interface Found {
  /** By time, the reception first: pods store theirs as they come, and their clocks differ a little. */
  readonly events: readonly EventRecord[];
  /** "settled": every recipient has its outcome; "end": the log holds no more; "bound": the time was up first. */
  readonly until: "settled" | "end" | "bound";
}

export interface EventLimits {
  /** Default 100 ms. */
  readonly lingerMs?: number;
  /** Default 64 KB. */
  readonly maxBatchBytes?: number;
  /** Of everything not acknowledged; default 8 MB. */
  readonly maxBufferedBytes?: number;
}

interface Batch {
  readonly minute: number;
  /** Encoded as they come: one text each waits for the others, not an object with all that it refers to. */
  readonly lines: string[];
  bytes: number;
}

const maxUnderWay = 4;
const giveUpMs = 30_000;
const flushMs = 10_000;
/** Clocks of pods and of the server differ, and a batch is stored after its events happened. */
const skewMs = 60_000;

export function createEventLog(spool: Spool, limits: EventLimits = {}): EventLog {
  const { lingerMs = 100, maxBatchBytes = 64_000, maxBufferedBytes = 8_000_000 } = limits;
  const outbox = createOutbox(spool);
  const queue: Batch[] = [];
  let open: Batch | undefined;
  let buffered = 0;
  let underWay = 0;
  let dropped = 0;
  let cancelLinger: Cancel | undefined;

  const drop = (batch: Batch): void => {
    dropped += batch.lines.length;
  };

  const send = (batch: Batch): void => {
    underWay++;
    const subject = spool.names.eventSubject(batch.minute);
    outbox.put({ subject, headers: [], payload: batch.lines.join("\n"), giveUpMs }, (put) => {
      underWay--;
      buffered -= batch.bytes;
      if (put.kind !== "stored") {
        drop(batch);
        spool.options.log.warn("events dropped", { count: batch.lines.length, reason: put.kind });
      }
      advance();
    });
  };

  const advance = (): void => {
    for (;;) {
      if (underWay >= maxUnderWay) return;
      const batch = queue.shift();
      if (batch === undefined) return;
      send(batch);
    }
  };

  const seal = (): void => {
    cancelLinger?.();
    cancelLinger = undefined;
    if (open !== undefined) queue.push(open);
    open = undefined;
    advance();
  };

  const flush = (): Promise<void> => {
    seal();
    return pauseUntil(spool, () => underWay === 0, flushMs);
  };

  spool.closing.addEventListener("abort", () => cancelLinger?.(), { once: true });

  return {
    append(stamp, facts) {
      if (spool.closing.aborted) {
        dropped++;
        return;
      }
      const line = encodeEvent(stamp, facts);
      const bytes = line.length + 1;
      const minute = Math.floor(stamp.time / 60_000);
      if (open !== undefined && (open.bytes + bytes > maxBatchBytes || open.minute !== minute)) seal();
      open ??= { minute, lines: [], bytes: 0 };
      open.lines.push(line);
      open.bytes += bytes;
      buffered += bytes;
      cancelLinger ??= spool.timers.after(lingerMs, seal);
      while (buffered > maxBufferedBytes) {
        const oldest = queue.shift();
        if (oldest === undefined) return;
        buffered -= oldest.bytes;
        drop(oldest);
      }
    },
    flush,
    dropped: () => dropped,
    async find(id, options) {
      const events: EventRecord[] = [];
      try {
        const until = await findEvents(spool, { id, ...options }, events);
        return { events: events.toSorted(byStep), until };
      } catch (error) {
        spool.options.log.warn("events not readable", { id, error: String(error) });
        return { events: events.toSorted(byStep), until: "bound" };
      }
    },
    async close() {
      await flush();
      outbox.close();
    },
  };
}

function byStep(a: EventRecord, b: EventRecord): number {
  return Number(b.type === "received") - Number(a.type === "received") || a.time - b.time;
}

/** Pushes what it finds into `events`. @throws what nats.js throws when the server does not answer */
async function findEvents(
  spool: Spool,
  { id, fromMs, boundMs }: FindOptions & { readonly id: string },
  events: EventRecord[],
): Promise<Found["until"]> {
  const js = jetstream(spool.nc);
  const consumer = await js.consumers.get(spool.names.eventStream, {
    filter_subjects: eventFilter(spool.names),
    deliver_policy: DeliverPolicy.StartTime,
    opt_start_time: new Date(fromMs - skewMs).toISOString(),
  });
  try {
    // Asked first: for an empty rest of the log no message ever says that it is the last.
    const { num_pending: pending } = await consumer.info();
    if (pending === 0) return "end";
    return await readEvents(spool, { id, boundMs, consumer }, events);
  } finally {
    await consumer.delete().catch(() => false);
  }
}

async function readEvents(
  spool: Spool,
  { id, boundMs, consumer }: { readonly id: string; readonly boundMs: number; readonly consumer: Consumer },
  events: EventRecord[],
): Promise<Found["until"]> {
  const isSettled = settlement();
  // nats.js says nothing for 30 s when the consumer's leader moves, unless its heartbeat is short.
  const messages = await consumer.consume({ max_messages: 64, expires: 5_000, idle_heartbeat: 500 });
  const cancel = spool.timers.after(boundMs, () => messages.stop());
  try {
    for await (const message of messages) {
      for (const event of eventsOf(message.data, id)) {
        events.push(event);
        isSettled.add(event);
      }
      if (isSettled.reached()) return "settled";
      if (message.info.pending === 0) return "end";
    }
    return "bound";
  } finally {
    cancel();
    await messages.close();
  }
}

/** Looks for the id as bytes first: of a busy pool's log nearly every line is another message's. */
function eventsOf(data: Uint8Array, id: string): EventRecord[] {
  const batch = Buffer.from(data.buffer, data.byteOffset, data.byteLength);
  if (!batch.includes(id)) return [];
  const found: EventRecord[] = [];
  for (const line of batch.toString("utf8").split("\n")) {
    if (!line.includes(id)) continue;
    const event = decodeEvent(line);
    if (event.ok && event.value.id === id) found.push(event.value);
  }
  return found;
}

const outcomes: ReadonlySet<EventType> = new Set(["delivered", "bounced", "expired", "suppressed"]);

/** Settled = every recipient that was received has an outcome. */
function settlement(): { add(event: EventRecord): void; reached(): boolean } {
  let received: readonly string[] | undefined;
  const settled = new Set<string>();
  return {
    add(event) {
      if (event.type === "received") received = event.to ?? [];
      if (outcomes.has(event.type)) for (const address of event.to ?? []) settled.add(address);
    },
    reached: () => received !== undefined && received.length > 0 && received.every((to) => settled.has(to)),
  };
}
