/**
 * CORRIDOR: the guest side of `guests.ts`: before a host is connected to whose connections are counted elsewhere, its home is asked, again
 * before the message, and told when the connection is closed. A permit that is not renewed in time holds no more. Never rejects.
 */
import { guestSite, isSiteWithin, placeOf, shardOf } from "#crds/wire/subject.ts";
import {
  type Admission,
  admissionIn,
  type Admitted,
  admitMs,
  type GuestAnswer,
  guestQuestion,
  type GuestQuestion,
  isIn,
  onTimeMs,
  permitMs,
} from "./guest-protocol.ts";
import type { LeftOver } from "./hand-over.ts";
import type { Pod } from "./pod.ts";
import type { SiteLimits } from "./schedule/types.ts";
import type { Target } from "./smtp/transaction.ts";
import type { Peers } from "./spool/peers.ts";

export interface Permit {
  /** How long a message has to wait, ms; undefined = it may not be sent, and nothing more. Right before each MAIL. */
  turn(then: (ms: number | undefined) => void): void;
  /** Its home asks for the connection to be closed after the message that is under way. */
  readonly isWanted: boolean;
  /** Ms that the final dot has to wait, then to be asked again: a message that is late has to be given another moment. */
  finalDotMs(): number;
  /** Whether the message may go on: what was said to its turn holds still. Synchronous. */
  holds(): boolean;
}

/** Of one connection that is being opened, to one target after another. */
export interface Gate {
  /** `then` is called once, within a quarter of a minute; false = there is no room now. The target before is left. */
  admit(target: Target, then: (isAdmitted: boolean) => void): void;
  /** Of the target that was asked for last. */
  permit(): Permit | undefined;
  /** The socket is closed. */
  leave(isGood: boolean): void;
}

export interface Permits {
  /** Connections that this pod has, or is about to have, as a guest: by guest site and source; but for those that a pod of this incarnation let in. */
  open(butBy?: string): LeftOver["open"];
  gate(guest: Guest, told: Told): Gate;
  /** The slices of a rule change: what goes on at its places as a guest is cut off as far as it can be, and nothing begins there until they are agreed. */
  leave(rule: string): void;
}

interface Told {
  /** What was permitted is not any more. */
  lapsed(): void;
  /** The connection is to be closed after the message that is under way. */
  wanted(): void;
}

interface Guest {
  /** Its rule's name, "" = none, and limits. */
  readonly rule: string;
  readonly limits: Pick<SiteLimits, "connections" | "messagesPerSecond" | "connectionsPerSecond">;
  readonly source: string;
}

export interface PermitsDeps {
  readonly pod: Pick<Pod, "name" | "incarnation" | "clock" | "ownership">;
  readonly peers: Pick<Peers, "askPod">;
  readonly shards: number;
  /** Guests may be at this place, as far as this pod is concerned. */
  mayBeAt(place: string): boolean;
}

const answerMs = 500;
const lookMs = 300;
/** Often enough that one lost question does no harm. */
const renewMs = 600;
/** A home that does not hear of the end counts on until it gives up the guest. */
const tellAgainMs = 500;
const tellMs = 60_000;

/** Where even answers take longer, its last chance. */
const lastChance = { tries: 4, lateMs: 100 } as const;
const dotAgainMs = 10;

interface Held {
  /** The guest site. */
  readonly site: string;
  readonly source: string;
  readonly home: string;
  readonly incarnation: string;
  readonly handle: number;
  /** Monotonic, as the next. */
  keptUntil: number;
  /** 0 = it has had no turn. */
  sendsUntil: number;
  /** When its final dot may be written, as its home counts it; "asked" = the answer is on its way. */
  moment: { readonly from: number; readonly by: number } | "asked";
  /** Moments that it was given for the message. */
  tries: number;
  isWanted: boolean;
  readonly told: Told;
}

const late = { from: 0, by: 0 } as const;

export function createPermits({ pod, peers, shards, mayBeAt }: PermitsDeps): Permits {
  const { clock, ownership } = pod;
  const owner = { pod: pod.name, incarnation: pod.incarnation };
  const held = new Set<Held>();
  let timer: NodeJS.Timeout | undefined;

  const ask = async (
    home: string,
    query: GuestQuestion,
    timeoutMs = answerMs,
  ): Promise<GuestAnswer | undefined> => {
    const said = await peers.askPod(home, guestQuestion, { query, timeoutMs });
    return typeof said === "object" && said !== null ? said : undefined;
  };

  const lapse = (one: Held): void => {
    one.sendsUntil = 0;
    one.isWanted = true;
    one.told.lapsed();
  };
  const renew = async (home: string, incarnation: string, those: readonly Held[]): Promise<void> => {
    const askedAt = clock.monotonic();
    const answer = await ask(home, { op: "stay", incarnation, handles: those.map(({ handle }) => handle) });
    // No answer may be a lost one.
    if (answer === undefined) return;
    for (const one of those) {
      if (!isIn(answer.handles, one.handle)) {
        lapse(one);
        continue;
      }
      if (isIn(answer.wanted, one.handle)) {
        one.isWanted = true;
        one.told.wanted();
      }
      one.keptUntil = askedAt + permitMs;
      if (one.sendsUntil > 0) one.sendsUntil = Math.max(one.sendsUntil, one.keptUntil);
    }
  };
  const renewAll = (): void => {
    const now = clock.monotonic();
    for (const one of held) if (now >= one.keptUntil) lapse(one);
    const homes = Map.groupBy(held, ({ home, incarnation }) => `${home} ${incarnation}`);
    for (const those of homes.values()) {
      const [first] = those;
      if (first !== undefined) void renew(first.home, first.incarnation, those);
    }
    if (held.size > 0) return;
    clearInterval(timer);
    timer = undefined;
  };

  /** Until it is known: a home that is gone counts nothing. */
  const tellEnd = async (
    one: Pick<Held, "home" | "incarnation" | "handle">,
    isGood: boolean,
  ): Promise<void> => {
    const { home, incarnation, handle } = one;
    const until = clock.monotonic() + tellMs;
    while (clock.monotonic() < until && ownership.members().some((member) => member.pod === home)) {
      if ((await ask(home, { op: "leave", incarnation, handle, isGood })) !== undefined) return;
      await new Promise((resolve) => setTimeout(resolve, tellAgainMs).unref());
    }
  };

  /** Waits for the pod's answer as long as the shard is its own. Let in after that, or too late, it leaves at once. */
  const waitFor = (home: string, shard: number, query: GuestQuestion): Promise<Admission> =>
    new Promise((resolve) => {
      let isOver = false;
      const askedAt = clock.monotonic();
      const end = (admission: Admission): void => {
        clearInterval(look);
        isOver = true;
        resolve(admission);
      };
      const look = setInterval(() => {
        if (!isOver && ownership.ownerOf(shard) !== home) end("not its");
      }, lookMs);
      void ask(home, query, admitMs + answerMs).then((answer) => {
        const admission = admissionIn(answer, askedAt);
        if (typeof admission === "string") return end(admission);
        if (!isOver && clock.monotonic() < admission.keptUntil) return end(admission);
        void tellEnd({ home, ...admission }, false);
        return end("not its");
      });
    });

  /** A home that is just changing is waited for; one that has no room is not. */
  const enter = async (place: string, guest: Guest, told: Told, isWanted: () => boolean) => {
    const { rule, ...wanted } = guest;
    const site = guestSite(place, rule);
    const shard = shardOf(site, shards);
    const until = clock.monotonic() + admitMs;
    for (;;) {
      const home = mayBeAt(place) ? ownership.ownerOf(shard) : undefined;
      const found =
        home === undefined ? "not its" : await waitFor(home, shard, { op: "enter", site, owner, ...wanted });
      if (typeof found === "object" && home !== undefined) {
        if (mayBeAt(place)) return hold({ site, source: guest.source, home, ...found, told });
        void tellEnd({ home, ...found }, false);
      }
      if (found === "full" || !isWanted() || clock.monotonic() >= until) return undefined;
      await new Promise((resolve) => setTimeout(resolve, lookMs));
    }
  };

  const hold = (entered: Pick<Held, "site" | "source" | "home" | "told"> & Admitted): Held => {
    const one: Held = { ...entered, sendsUntil: 0, moment: late, tries: 0, isWanted: false };
    held.add(one);
    timer ??= setInterval(renewAll, renewMs).unref();
    return one;
  };

  /** A moment for its message, ms from now; undefined = none. */
  const given = (one: Held, answer: GuestAnswer | undefined, askedAt: number): number | undefined => {
    const ms = answer?.ms;
    if (typeof ms !== "number" || ms < 0 || !held.has(one)) return undefined;
    const lateMs = ++one.tries < lastChance.tries ? onTimeMs : lastChance.lateMs;
    one.moment = { from: clock.monotonic() + ms, by: askedAt + ms + lateMs };
    one.sendsUntil = askedAt + ms + permitMs;
    one.keptUntil = Math.max(one.keptUntil, askedAt + permitMs);
    return ms;
  };

  const permitFor = (one: Held): Permit => ({
    turn(then) {
      const askedAt = clock.monotonic();
      const { home, incarnation, handle } = one;
      one.tries = 0;
      void ask(home, { op: "turn", incarnation, handle }).then((answer) => {
        const ms = given(one, answer, askedAt);
        one.isWanted ||= ms === undefined || isIn(answer?.wanted, handle);
        then(ms);
      });
    },
    finalDotMs() {
      const now = clock.monotonic();
      if (one.moment === "asked") return dotAgainMs;
      const { from, by } = one.moment;
      if (now <= by) return Math.max(0, Math.ceil(from - now));
      one.moment = "asked";
      const { home, incarnation, handle } = one;
      void ask(home, { op: "dot", incarnation, handle }).then((answer) => {
        if (given(one, answer, now) === undefined) one.moment = late;
      });
      return dotAgainMs;
    },
    get isWanted() {
      return one.isWanted;
    },
    holds: () => clock.monotonic() < Math.min(one.sendsUntil, one.keptUntil),
  });

  return {
    leave(rule) {
      for (const one of held) if (isSiteWithin(placeOf(one.site), rule)) lapse(one);
    },
    open(butBy) {
      const others = [...held].filter(({ incarnation }) => incarnation !== butBy);
      const bySource = Map.groupBy(others, ({ site, source }) => `${source} ${site}`).values();
      return [...bySource].flatMap((those) => {
        const [first] = those;
        return first === undefined ? [] : [[first.site, first.source, those.length] as const];
      });
    },
    gate(guest, told) {
      let one: Held | undefined;
      let isOver = false;
      const end = (isGood: boolean): void => {
        if (one !== undefined && held.delete(one)) void tellEnd(one, isGood);
        one = undefined;
      };
      return {
        admit({ home }, then) {
          end(false);
          if (home === undefined) return then(true);
          void enter(home, guest, told, () => !isOver).then((entered) => {
            one = entered;
            // Nobody wants to connect any more.
            if (isOver) end(false);
            then(one !== undefined);
          });
          return undefined;
        },
        permit: () => (one === undefined ? undefined : permitFor(one)),
        leave(isGood) {
          isOver = true;
          end(isGood);
        },
      };
    },
  };
}
