/** When which fault strikes, from one seed: ends of pods every few seconds, and of the others one at a time. */
import { setTimeout as delay } from "node:timers/promises";
import { random } from "#test/kit/random.ts";
import type { Arena } from "./arena.ts";
import { type FaultKind, otherFaults, podFaults } from "./faults.ts";

export interface Struck {
  readonly kind: FaultKind;
  what: string;
  /** `performance.now()`. */
  readonly at: number;
  /** When it was undone; Infinity while it lasts. */
  until: number;
  /** Transactions open when it came, and messages taken in the second before: what may come twice. */
  readonly open: number;
}

export interface ScheduleOptions {
  readonly arena: Arena;
  readonly seed: number;
  readonly untilMs: number;
  log(line: string): void;
}

const podEveryMs = [3000, 7000] as const;
const otherEveryMs = [1500, 5000] as const;
/** decisions.md 14: a delete is acknowledged within it, or the pod begins nothing more. */
const openMs = 1000;

/** Resolves when the time is over and every fault is undone. @throws Error when one cannot be undone */
export async function strikeUntil(options: ScheduleOptions): Promise<Struck[]> {
  const struck: Struck[] = [];
  await Promise.all([
    lane(options, struck, { kinds: podFaults, everyMs: podEveryMs, seed: options.seed }),
    lane(options, struck, { kinds: otherFaults, everyMs: otherEveryMs, seed: options.seed + 1 }),
  ]);
  return struck;
}

interface Lane {
  readonly kinds: readonly FaultKind[];
  readonly everyMs: readonly [least: number, most: number];
  readonly seed: number;
}

async function lane(
  { arena, untilMs, log }: ScheduleOptions,
  struck: Struck[],
  { kinds, everyMs: [least, most], seed }: Lane,
): Promise<void> {
  const chance = random(seed);
  for (;;) {
    const pauseMs = least + chance() * (most - least);
    if (performance.now() + pauseMs > untilMs) return;
    await delay(pauseMs);
    const kind = weighted(kinds, chance());
    const one: Struck = { kind, what: "", at: performance.now(), until: Infinity, open: openNow(arena) };
    struck.push(one);
    // Chances of its own: how long a fault takes must not change which one is next.
    const own = random(Math.floor(chance() * 2 ** 31));
    await kind.strike({
      arena,
      random: own,
      hits(what) {
        one.what = what;
        log(`${kind.name}: ${what}`);
      },
    });
    one.until = performance.now();
  }
}

function weighted(kinds: readonly FaultKind[], chance: number): FaultKind {
  let left = chance * kinds.reduce((sum, { weight }) => sum + weight, 0);
  const [first] = kinds;
  if (first === undefined) throw new Error("Cannot pick a fault: expected one at least");
  return kinds.find(({ weight }) => (left -= weight) < 0) ?? first;
}

/** Every id that arrived is looked at: a few hundred thousand take milliseconds. */
function openNow({ sink }: Arena): number {
  const from = performance.now() - openMs;
  let recent = 0;
  for (const { lastAt } of sink.arrivals.values()) if (lastAt > from) recent++;
  return sink.open() + recent;
}
