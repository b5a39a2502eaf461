/** The scenario `mayhem`: real pods, real NATS, random faults of all kinds, every id audited. */
import { setTimeout as delay } from "node:timers/promises";
import { type Load } from "#e2e/kit/load.ts";
import { type Arena, startArena } from "./arena.ts";
import { pageOf } from "./page.ts";
import type { Outcome, ScenarioOptions } from "./scenario.ts";
import { strikeUntil, type Struck } from "./schedule.ts";
import { failures, judge } from "./verdict.ts";

const pods = 4;
/** Mail flows so long before the first fault. */
const warmUpMs = 3000;
/** Nothing arrives for so long: it never will. A site with a rate may have minutes of mail left. */
const drainMs = 90_000;
const pollMs = 200;
const progressMs = 5000;

export async function mayhem(options: ScenarioOptions): Promise<Outcome> {
  const { log, minutes, seed } = options;
  const arena = await startArena({ pods, log });
  log(`${pods} pods and 3 NATS nodes run; ${minutes} minutes of faults, seed ${seed}`);
  try {
    return await run(arena, options);
  } finally {
    await arena[Symbol.asyncDispose]();
  }
}

/** What has been accepted and neither arrived nor come back. */
function missing({ sink, loads }: Arena, more: readonly Load[]): number {
  let count = 0;
  for (const load of [...loads, ...more])
    for (const id of load.accepted.keys())
      if (!sink.arrivals.has(id) && !(sink.refused.has(id) && sink.returned.has(id))) count++;
  return count;
}

async function tell(arena: Arena, log: (line: string) => void): Promise<void> {
  const accepted = arena.loads.reduce((sum, load) => sum + load.accepted.size, 0);
  const pods = await arena.statuses();
  const told = pods.map(
    ({ pod, shards, queued, inFlight }) => `${pod} ${shards.length}/${queued}/${inFlight}`,
  );
  log(
    `        accepted ${accepted}, arrived ${arena.sink.arrivals.size}; shards/queued/in flight: ${told.join(", ")}`,
  );
}

interface Parked {
  readonly entries: readonly { readonly id: string; readonly state: string }[];
}

/** Mail that was under way at three kills of its owners looks like mail that kills: told so, and told on, as its operator would. */
async function letGo({ local }: Arena, log: (line: string) => void): Promise<void> {
  const { entries } = (await local.admin("/v1/queue?limit=1000")) as Parked;
  for (const { id, state } of entries) {
    if (state !== "parked") continue;
    log(`parked, and sent on its way: ${id}`);
    await local.admin("/v1/queue/retry", { id });
  }
}

async function drained(arena: Arena, fills: readonly Load[], log: (line: string) => void): Promise<void> {
  let fewest = Infinity;
  let until = 0;
  for (;;) {
    // A pod that was killed last is still on its way back: the next look finds it.
    await letGo(arena, log).catch(() => undefined);
    const left = missing(arena, fills);
    const statuses = await arena.statuses();
    const queued = statuses.reduce((sum, one) => sum + one.queued + one.inFlight, 0);
    if (left === 0 && queued === 0) return;
    if (left + queued < fewest) {
      fewest = left + queued;
      until = performance.now() + drainMs;
    }
    if (performance.now() > until) {
      log(`not drained: ${left} missing, pods say ${JSON.stringify(statuses)}`);
      return;
    }
    await delay(pollMs);
  }
}

async function run(arena: Arena, { log, minutes, seed }: ScenarioOptions): Promise<Outcome> {
  const fills: Load[] = [];
  const observed: Arena = {
    ...arena,
    fill() {
      const load = arena.fill();
      fills.push(load);
      return load;
    },
  };
  const from = performance.now();
  const progress = setInterval(() => void tell(arena, log), progressMs);
  await delay(warmUpMs);
  let struck: Struck[];
  try {
    struck = await strikeUntil({ arena: observed, seed, untilMs: from + minutes * 60_000, log });
  } finally {
    clearInterval(progress);
    for (const load of [...arena.loads, ...fills]) load.stop();
  }
  const to = performance.now();
  log("faults are over, loads stop");
  await Promise.all([...arena.loads, ...fills].map((load) => load.done));
  await drained(arena, fills, log);
  const shown = judge({
    loads: [...arena.loads, ...fills],
    sink: arena.sink,
    struck,
    violations: arena.limits.violations(),
    doubtful: arena.limits.doubtful(),
    excused: arena.limits.excused(),
    from,
    to,
  });
  for (const line of new Set((await arena.errors()).map(eventOf))) log(`pods logged: ${line}`);
  const took = (to - from) / 60_000;
  return {
    lines: pageOf({ seed, minutes: took, pods, shown }),
    figures: { seed, minutes: took, pods, ...shown },
    shown: `${shown.kills} kills among ${struck.length} faults, nothing lost, no limit exceeded, doubles only of what was open`,
    wrong: failures(shown),
  };
}

function eventOf(line: string): string {
  const { event, error } = JSON.parse(line) as { event?: string; error?: string };
  return `${event ?? "?"}${error === undefined ? "" : `: ${error}`}`;
}
