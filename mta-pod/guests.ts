/**
 * CORRIDOR: the home side of hosts that mail of other places is sent to as well (a backup host of another organisation, the second host of a
 * smart-host route): who owns their site lets the other pods' connections in, counts them, and gives their messages their moment, as if
 * they were its own (decisions.md 16). Nothing is promised for longer than `permitMs`; bounded; never throws.
 */
import { placeOf } from "#crds/wire/subject.ts";
import { createGuestLimits, type Room } from "./guest-limits.ts";
import { admitMs, type Entering, full, onTimeMs, permitMs, questionIn } from "./guest-protocol.ts";
import type { FormerOwner } from "./hand-over-record.ts";
import type { Pod } from "./pod.ts";
import type { Identity } from "./spool/lease-record.ts";

/** Where others wait, a guest keeps its connection so long. */
const turnMs = 1000;

/** No more wait at once: at one place, so that a crowded one leaves room for others, and in all. */
const maxWaiting = { atPlace: 8, inAll: 64 } as const;
/** One that says nothing any more has been cut off by then, unless it waits for the reply to its dot: then as with any silent pod. */
const silentMs = { beforeMail: 20_000, after: 60_000 } as const;
const lookMs = 1000;
/** Heartbeats tell for so long of a shard that it has had guests. */
const rememberMs = 60_000;

export interface GuestsDeps {
  readonly pod: Pick<Pod, "scheduler" | "clock" | "log" | "incarnation" | "ownership">;
  shardOf(site: string): number;
  /** The shard is ours beyond doubt, and stays so for now. */
  mayBegin(shard: number): boolean;
  /** A site is met that the scheduler does not know. */
  met(site: string): void;
  /** What guests there may do at most, besides their own limits; undefined = there are none now. */
  roomAt(place: string): Room | undefined;
  /** What others may have sent there by other slices counts. */
  spent(site: string): void;
  pump(): void;
}

export interface Guests {
  /** @throws Error for a question that is not understood */
  answer(query: unknown): Promise<object>;
  /** The scheduler lets one in. */
  admitted(handle: number): void;
  /** Those of a shard, one by one: they live on when it goes to another owner, and only they can tell what they have open. */
  of(shard: number): readonly FormerOwner[];
  /** Shards that have had guests, for the heartbeat. */
  told(): readonly number[];
  stop(): void;
}

interface Waiting {
  readonly site: string;
  readonly source: string;
  readonly shard: number;
  readonly owner: Identity;
  /** Monotonic. */
  readonly askedAt: number;
  end(answer: object): void;
}

interface Staying {
  readonly site: string;
  readonly source: string;
  readonly shard: number;
  readonly owner: Identity;
  /** Monotonic, as the next. */
  heardAt: number;
  /** Of its first message; undefined = there was none. */
  turnAt: number | undefined;
}

export function createGuests({ pod, shardOf, mayBegin, met, roomAt, spent, pump }: GuestsDeps): Guests {
  const { scheduler, clock, log, incarnation, ownership } = pod;
  const waiting = new Map<number, Waiting>();
  const staying = new Map<number, Staying>();
  /** Shards, when they had one last, and whether heartbeats have told of that. */
  const hosting = new Map<number, { usedAt: number; readonly isTold: Promise<boolean> }>();

  /** Whoever takes the shard over without a word must know that it has guests. */
  const tell = (shard: number): Promise<boolean> => {
    const known = hosting.get(shard);
    if (known !== undefined) {
      known.usedAt = clock.monotonic();
      return known.isTold;
    }
    let told = (_isTold: boolean): void => {};
    const isTold = new Promise<boolean>((resolve) => (told = resolve));
    hosting.set(shard, { usedAt: clock.monotonic(), isTold });
    void ownership.tell().then((isWritten) => {
      if (!isWritten) hosting.delete(shard);
      told(isWritten);
    });
    return isTold;
  };

  const limits = createGuestLimits({ scheduler, clock, roomAt });
  const mayStay = ({ site, shard }: { readonly site: string; readonly shard: number }): boolean =>
    mayBegin(shard) && roomAt(placeOf(site)) !== undefined;

  const leave = (handle: number, isGood: boolean): void => {
    if (!staying.delete(handle)) return;
    const feedback = isGood ? "good" : "neutral";
    scheduler.finish(handle, { feedback, connection: "closed" }, clock.now());
    pump();
  };
  const look = (): void => {
    const now = clock.monotonic();
    for (const [handle, { owner, heardAt, turnAt }] of staying) {
      const isSilent = now - heardAt > (turnAt === undefined ? silentMs.beforeMail : silentMs.after);
      if (!isSilent && !ownership.ended.isDead(owner)) continue;
      log.info("guest is gone", { pod: owner.pod, isSilent });
      leave(handle, false);
    }
    for (const guest of waiting.values()) if (!mayStay(guest)) guest.end({});
    for (const { shard } of staying.values()) {
      const known = hosting.get(shard);
      if (known !== undefined) known.usedAt = now;
    }
    limits.sweep();
    for (const [shard, { usedAt }] of hosting) if (now - usedAt > rememberMs) hosting.delete(shard);
  };
  const timer = setInterval(look, lookMs);
  timer.unref();

  /** By place: those that wait, and those for which heartbeats are being told. */
  const entering = new Map<string, number>();
  let enteringInAll = 0;
  const enter = async (asked: Entering): Promise<object> => {
    const place = placeOf(asked.site);
    const count = entering.get(place) ?? 0;
    if (count >= maxWaiting.atPlace || enteringInAll >= maxWaiting.inAll) return full;
    entering.set(place, count + 1);
    enteringInAll++;
    try {
      return await letIn(asked);
    } finally {
      const left = (entering.get(place) ?? 1) - 1;
      if (left > 0) entering.set(place, left);
      else entering.delete(place);
      enteringInAll--;
    }
  };
  const letIn = async ({ site, source, limits: own, owner }: Entering): Promise<object> => {
    const askedAt = clock.monotonic();
    const shard = shardOf(site);
    const at = { site, shard };
    if (!mayStay(at) || !(await tell(shard)) || !mayStay(at)) return {};
    if (!scheduler.knowsSite(site)) met(site);
    spent(site);
    limits.set(site, own);
    const handle = scheduler.addGuest(site, source, clock.now());
    return new Promise((resolve) => {
      const end = (answer: object): void => {
        clearTimeout(late);
        waiting.delete(handle);
        scheduler.dropGuest(handle, clock.now());
        resolve(answer);
      };
      const late = setTimeout(() => end(full), admitMs);
      waiting.set(handle, { site, source, shard, owner, askedAt, end });
      pump();
    });
  };

  /** Others wait for its connection, guests like it once it has had it for a while, or there are too many. Before its first message it is left alone. */
  const isWanted = ({ site, source, turnAt }: Staying): boolean => {
    if (turnAt === undefined) return false;
    if (scheduler.surplus(site, source) > 0) return true;
    const isLong = clock.monotonic() - turnAt >= turnMs;
    return isLong && waiting.values().some((one) => one.site === site && one.source === source);
  };

  /** undefined = it was given up, or nothing is promised any more. */
  const known = (handle: number): Staying | undefined => {
    const guest = staying.get(handle);
    if (guest === undefined || !mayStay(guest)) return undefined;
    guest.heardAt = clock.monotonic();
    return guest;
  };

  /** Of its message, `ms` from now or later. Answers when, ms from now. */
  const momentOf = (handle: number, ms: number): number => {
    const at = scheduler.bookFinalDot(handle, clock.now() + ms, onTimeMs);
    scheduler.promise(handle, at + permitMs);
    return at - clock.now();
  };

  return {
    async answer(query) {
      const asked = questionIn(query);
      if (asked === undefined) throw new Error("Cannot answer a guest: the question is not understood");
      if (asked.op === "enter") return enter(asked);
      if (asked.incarnation !== incarnation) return {};
      switch (asked.op) {
        case "turn": {
          const guest = known(asked.handle);
          if (guest === undefined) return {};
          const ask = guest.turnAt === undefined ? scheduler.holdBeforeMail : scheduler.nextTurn;
          const { then, ms } = ask.call(scheduler, asked.handle, clock.now());
          if (then !== "send") return {};
          guest.turnAt ??= clock.monotonic();
          return { ms: momentOf(asked.handle, ms), wanted: isWanted(guest) ? [asked.handle] : [] };
        }
        case "dot": {
          if (known(asked.handle) === undefined) return {};
          return { ms: momentOf(asked.handle, 0) };
        }
        case "stay": {
          const guests = asked.handles.flatMap((handle) => {
            const guest = known(handle);
            return guest === undefined ? [] : [{ handle, guest }];
          });
          for (const { handle, guest } of guests)
            if (guest.turnAt !== undefined) scheduler.promise(handle, clock.now() + permitMs);
          // One at a time: what is closed may be enough.
          const wanted = guests.find(({ guest }) => isWanted(guest));
          return {
            handles: guests.map(({ handle }) => handle),
            wanted: wanted === undefined ? [] : [wanted.handle],
          };
        }
        case "leave":
          leave(asked.handle, asked.isGood);
          return {};
        default:
          return asked satisfies never;
      }
    },
    admitted(handle) {
      const guest = waiting.get(handle);
      if (guest === undefined || !mayStay(guest)) {
        const result = { feedback: "neutral", connection: "closed", isUnspent: true } as const;
        scheduler.finish(handle, result, clock.now());
        return guest?.end({});
      }
      const { site, source, shard, owner } = guest;
      const since = clock.monotonic();
      staying.set(handle, { site, source, shard, owner, heardAt: since, turnAt: undefined });
      return guest.end({ handle, incarnation, waitedMs: since - guest.askedAt });
    },
    of: (shard) =>
      [...staying.values()].flatMap(({ owner, site, ...guest }) =>
        guest.shard === shard ? [{ ...owner, inFlight: [], sites: [site] }] : [],
      ),
    told: () => [...hosting.keys()],
    stop: () => clearInterval(timer),
  };
}
