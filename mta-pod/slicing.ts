/**
 * CORRIDOR: when the slices of a hot site change, so do the limits of each: nothing is sent there before all pods have given up the
 * slices of before, or together they would send too much. Each pod tells with its heartbeat by how many slices it sends; one whose configuration
 * says another number stops, closes what it has open, tells the new number, and goes on when all tell the same (decisions.md 16).
 */
import type { Rule } from "#crds/pod-config/schema.ts";
import { isSiteWithin, placeOf, sliceIn } from "#crds/wire/subject.ts";
import type { Deliver } from "./deliver.ts";
import type { Room } from "./guest-limits.ts";
import { connectionsMs } from "./former-owners.ts";
import type { Outbound } from "./outbound.ts";
import type { Pod } from "./pod.ts";
import type { Clock } from "./runtime/clock.ts";
import type { Log } from "./runtime/log.ts";
import { defaultConnections } from "./site-limits.ts";
import type { Sites } from "./sites.ts";

export interface SlicingDeps {
  readonly clock: Clock;
  readonly log: Log;
  /** What each of the other pods that live, for all we know, told last (`told`). */
  others(): readonly unknown[];
  /** False: which pods there are has not been read yet. */
  isKnown(): boolean;
  /** Connections at the rule's sites. */
  openAt(rule: string): number;
  /** Nothing new begins at the rule's sites, and idle connections there are closed. */
  hold(rule: string): void;
  /** Sites that are not open are to ask again. */
  released(): void;
  /** Default: setInterval. The answer cancels. */
  every?(ms: number, run: () => void): () => void;
}

export interface Slicing {
  /** Rules of a configuration that is taken over; holds those whose slices are others now. */
  adopt(rules: readonly Rule[]): void;
  /** False: nothing may be sent there yet. */
  isOpen(rule: Rule | null): boolean;
  /** Somebody may have sent by other slices as late as then, ms since 1970; undefined = nobody has since this pod runs. */
  changedAt(rule: Pick<Rule, "name"> | null): number | undefined;
  /** What guests at a place (guests.ts) may do at most, besides their own limits; undefined = nothing, as its slices are others or change. */
  guestsAt(place: string): Room | undefined;
  /** By how many slices this pod may be sending, by rule; 1 is left out. */
  told(): Readonly<Record<string, number>>;
  stop(): void;
}

const lookMs = 500;
/** What a pod tells is with the others by then: a heartbeat is 2 s apart, and a write may have to be repeated. */
const settleMs = 6_000;

interface State {
  wanted: number;
  told: number;
  /** When `told` began, monotonic. */
  since: number;
  isOpen: boolean;
  /** Somebody, we or another pod, went by other slices since. */
  isChanged: boolean;
  openedAt: number | undefined;
}

export function createSlicing(deps: SlicingDeps): Slicing {
  const { clock, log, every = timer } = deps;
  const states = new Map<string, State>();
  let known = new Map<string, Rule>();
  let stopLooking: (() => void) | undefined;

  const differs = (rule: string, count: number): boolean =>
    deps.others().some((told) => countIn(told, rule) !== count);
  const watch = (): void => {
    stopLooking ??= every(lookMs, look);
  };
  const begin = (rule: string, wanted: number): State => {
    const isPlain = wanted === 1 && !differs(rule, 1);
    const openedAt = undefined;
    const state = {
      wanted,
      told: wanted,
      since: clock.monotonic(),
      isOpen: isPlain,
      isChanged: false,
      openedAt,
    };
    states.set(rule, state);
    if (!isPlain) watch();
    return state;
  };
  const step = (rule: string, state: State): void => {
    if (state.told !== state.wanted) {
      if (deps.openAt(rule) > 0) return;
      state.told = state.wanted;
      state.since = clock.monotonic();
    }
    if (differs(rule, state.told)) state.isChanged = true;
    else if (deps.isKnown() && clock.monotonic() - state.since >= settleMs) {
      state.isOpen = true;
      if (state.isChanged) state.openedAt = clock.now();
      log.info("slices agreed", { rule, slices: state.told });
    }
  };
  function look(): void {
    const closed = [...states].filter(([, { isOpen }]) => !isOpen);
    for (const [rule, state] of closed) step(rule, state);
    if (closed.some(([, { isOpen }]) => isOpen)) deps.released();
    if (!closed.every(([, { isOpen }]) => isOpen)) return;
    stopLooking?.();
    stopLooking = undefined;
  }

  const isOpen = (rule: Rule | null): boolean =>
    rule === null || (states.get(rule.name) ?? begin(rule.name, rule.slices?.length ?? 1)).isOpen;

  return {
    adopt(rules) {
      known = new Map(rules.map((rule) => [rule.name, rule]));
      for (const name of states.keys()) if (!known.has(name)) states.delete(name);
      for (const { name, slices } of rules) {
        const wanted = slices?.length ?? 1;
        const state = states.get(name);
        if (state === undefined) {
          if (wanted > 1) begin(name, wanted);
        } else if (state.wanted !== wanted) {
          Object.assign(state, { wanted, isOpen: false, isChanged: true });
          log.info("slices change", { rule: name, from: state.told, to: wanted });
          deps.hold(name);
          watch();
        }
      }
    },
    isOpen,
    guestsAt(place) {
      const { whole, slice } = sliceIn(place);
      const rule = known.get(whole);
      if (rule === undefined) return slice === undefined ? {} : undefined;
      if (!isOpen(rule) || slice !== (rule.slices === undefined ? undefined : 0)) return undefined;
      const share = rule.slices?.[0];
      return share === undefined ? {} : { ...share, connections: share.connections ?? defaultConnections };
    },
    changedAt: (rule) => (rule === null ? undefined : states.get(rule.name)?.openedAt),
    told: () =>
      Object.fromEntries(
        [...states].filter(([, { told }]) => told > 1).map(([rule, { told }]) => [rule, told]),
      ),
    stop: () => stopLooking?.(),
  };
}

/** Of a pod, with what its other corridors know. */
export function slicingOf(
  { clock, log, ownership }: Pick<Pod, "clock" | "log" | "ownership">,
  of: () => {
    sites: Sites;
    outbound: Pick<Outbound, "closeIdle" | "guests" | "leave">;
    deliver: Pick<Deliver, "pump">;
  },
): Slicing {
  return createSlicing({
    clock,
    log,
    others: () =>
      ownership.ended.perhapsAlive(clock.monotonic(), connectionsMs).map(({ payload }) => payload["slices"]),
    isKnown: () => ownership.members().some(({ isSelf, state }) => isSelf && state !== "joining"),
    openAt(rule) {
      const { sites, outbound } = of();
      let open = sites.openAt(rule);
      for (const [site, , count] of outbound.guests()) if (isSiteWithin(placeOf(site), rule)) open += count;
      return open;
    },
    hold(rule) {
      const { sites, outbound } = of();
      for (const site of sites.hold(rule)) outbound.closeIdle(site);
      outbound.leave(rule);
    },
    released() {
      const { sites, deliver } = of();
      sites.refresh();
      deliver.pump();
    },
  });
}

/** 1 where nothing is said: by pods of a release before as well. */
function countIn(told: unknown, rule: string): number {
  const count: unknown =
    typeof told === "object" && told !== null ? (told as Record<string, unknown>)[rule] : 1;
  return typeof count === "number" ? count : 1;
}

function timer(ms: number, run: () => void): () => void {
  const running = setInterval(run, ms);
  running.unref();
  return () => clearInterval(running);
}
