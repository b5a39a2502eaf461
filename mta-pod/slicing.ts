/**
 * CORRIDOR: when the slices of a hot site change, so do the limits of each: nothing is sent there before all pods have given up the
 * slices of before, or together they would send too much. Each pod tells with its heartbeat by how many slices it sends; one whose configuration
 * says another number stops, closes what it has open, tells the new number, and goes on when all tell the same (decisions.md 16).
 */
import type { Rule } from "#crds/pod-config/schema.ts";
import type { Deliver } from "./deliver.ts";
import { connectionsMs } from "./former-owners.ts";
import type { Outbound } from "./outbound.ts";
import type { Pod } from "./pod.ts";
import type { Clock } from "./runtime/clock.ts";
import type { Log } from "./runtime/log.ts";
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
  changedAt(rule: Rule | null): number | undefined;
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

  return {
    adopt(rules) {
      const names = new Set(rules.map(({ name }) => name));
      for (const name of states.keys()) if (!names.has(name)) states.delete(name);
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
    isOpen(rule) {
      if (rule === null) return true;
      return (states.get(rule.name) ?? begin(rule.name, rule.slices?.length ?? 1)).isOpen;
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
  of: () => { sites: Sites; outbound: Pick<Outbound, "closeIdle">; deliver: Pick<Deliver, "pump"> },
): Slicing {
  return createSlicing({
    clock,
    log,
    others: () =>
      ownership.ended.perhapsAlive(clock.monotonic(), connectionsMs).map(({ payload }) => payload["slices"]),
    isKnown: () => ownership.members().some(({ isSelf, state }) => isSelf && state !== "joining"),
    openAt: (rule) => of().sites.openAt(rule),
    hold(rule) {
      const { sites, outbound } = of();
      for (const site of sites.hold(rule)) outbound.closeIdle(site);
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
