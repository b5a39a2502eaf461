/** `npm run chaos -- --minutes N --seed S [--json]`: real pods, real NATS, random faults, every id audited. Exit code 1 when not shown. */
import { parseArgs } from "node:util";
import { setTimeout as delay } from "node:timers/promises";
import { type Load } from "#e2e/kit/load.ts";
import { type Arena, startArena } from "./arena.ts";
import { pageOf } from "./page.ts";
import { strikeUntil, type Struck } from "./schedule.ts";
import { failures, judge } from "./verdict.ts";

const pods = 4;
/** Mail flows so long before the first fault. */
const warmUpMs = 3000;
const drainMs = 180_000;
const pollMs = 200;
const progressMs = 5000;

const { values } = parseArgs({
  options: {
    minutes: { type: "string", default: "5" },
    seed: { type: "string", default: "1" },
    json: { type: "boolean", default: false },
    quiet: { type: "boolean", default: false },
  },
});
const minutes = Number(values.minutes);
const seed = Number(values.seed);
if (!(minutes > 0) || !Number.isInteger(seed)) {
  process.stderr.write("usage: npm run chaos -- [--minutes N] [--seed S] [--json] [--quiet]\n");
  process.exit(2);
}

const startedAt = performance.now();
const log = (line: string): void => {
  if (values.quiet) return;
  process.stderr.write(`${((performance.now() - startedAt) / 1000).toFixed(1).padStart(7)}  ${line}\n`);
};

/** What has been accepted and neither arrived nor come back. */
function missing({ sink, loads }: Arena, more: readonly Load[]): number {
  let count = 0;
  for (const load of [...loads, ...more])
    for (const id of load.accepted.keys())
      if (!sink.arrivals.has(id) && !(sink.refused.has(id) && sink.returned.has(id))) count++;
  return count;
}

async function tell(arena: Arena): Promise<void> {
  const accepted = arena.loads.reduce((sum, load) => sum + load.accepted.size, 0);
  const pods = await arena.statuses();
  const told = pods.map(
    ({ pod, shards, queued, inFlight }) => `${pod} ${shards.length}/${queued}/${inFlight}`,
  );
  log(
    `        accepted ${accepted}, arrived ${arena.sink.arrivals.size}; shards/queued/in flight: ${told.join(", ")}`,
  );
}

async function drained(arena: Arena, fills: readonly Load[]): Promise<void> {
  const until = performance.now() + drainMs;
  for (;;) {
    const left = missing(arena, fills);
    const statuses = await arena.statuses();
    const queued = statuses.reduce((sum, one) => sum + one.queued + one.inFlight, 0);
    if (left === 0 && queued === 0) return;
    if (performance.now() > until) {
      log(`not drained: ${left} missing, pods say ${JSON.stringify(statuses)}`);
      return;
    }
    await delay(pollMs);
  }
}

async function run(arena: Arena): Promise<boolean> {
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
  const progress = setInterval(() => void tell(arena), progressMs);
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
  await drained(arena, fills);
  const shown = judge({
    loads: [...arena.loads, ...fills],
    sink: arena.sink,
    struck,
    violations: arena.limits.violations(),
    doubtfulSeconds: arena.limits.doubtful(),
    from,
    to,
  });
  for (const line of new Set((await arena.errors()).map(eventOf))) log(`pods logged: ${line}`);
  const took = (to - from) / 60_000;
  if (values.json) process.stdout.write(`${JSON.stringify({ seed, minutes: took, pods, ...shown })}\n`);
  else process.stdout.write(`${pageOf({ seed, minutes: took, pods, shown }).join("\n")}\n`);
  return failures(shown).length === 0;
}

function eventOf(line: string): string {
  const { event, error } = JSON.parse(line) as { event?: string; error?: string };
  return `${event ?? "?"}${error === undefined ? "" : `: ${error}`}`;
}

const arena = await startArena({ pods, log });
log(`${pods} pods and 3 NATS nodes run; ${minutes} minutes of faults, seed ${seed}`);
try {
  process.exitCode = (await run(arena)) ? 0 : 1;
} finally {
  await arena[Symbol.asyncDispose]();
}
