/** When which fault strikes, from one seed: ends of pods every few seconds, and of the others one at a time. */
import { setTimeout as delay } from "node:timers/promises";
import { random } from "#test/kit/random.ts";
import type { Arena } from "./arena.ts";
import { type FaultKind, otherFaults, podFaults } from "./faults.ts";
import type { PodVictim } from "./victims.ts";

/** A fault that hit somebody. */
export interface Struck {
  readonly kind: FaultKind;
  readonly what: string;
  /** `performance.now()`. */
  readonly at: number;
  /** When it was undone; Infinity while it lasts. */
  until: number;
  /** The one process of the product's that it hit. */
  readonly pod?: PodVictim;
}

export interface ScheduleOptions {
  readonly arena: Arena;
  readonly seed: number;
  readonly untilMs: number;
  log(line: string): void;
}

const podEveryMs = [3000, 7000] as const;
const otherEveryMs = [1500, 5000] as const;

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
    let one: Struck | undefined;
    // Chances of its own: how long a fault takes must not change which one is next.
    const own = random(Math.floor(chance() * 2 ** 31));
    await kind.strike({
      arena,
      random: own,
      hits(what, pod) {
        one = { kind, what, at: performance.now(), until: Infinity, ...(pod === undefined ? {} : { pod }) };
        struck.push(one);
        log(`${kind.name}: ${what}`);
      },
    });
    if (one === undefined) log(`${kind.name}: hit nobody, and does not count`);
    else one.until = performance.now();
  }
}

function weighted(kinds: readonly FaultKind[], chance: number): FaultKind {
  let left = chance * kinds.reduce((sum, { weight }) => sum + weight, 0);
  const [first] = kinds;
  if (first === undefined) throw new Error("Cannot pick a fault: expected one at least");
  return kinds.find(({ weight }) => (left -= weight) < 0) ?? first;
}
