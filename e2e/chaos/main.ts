/**
 * `npm run chaos -- [--scenario NAME] [--minutes N] [--seed S] [--json]`: plays one scenario on real processes and prints a page; its
 * last line says what was shown. Exit code 1 when it was not, 2 for wrong usage.
 */
import { parseArgs } from "node:util";
import { fairness } from "./fairness.ts";
import { limits } from "./limits.ts";
import { mayhem } from "./mayhem.ts";
import { type Outcome, verdictOf } from "./scenario.ts";

const usage = `usage: npm run chaos -- [--scenario NAME] [--seed S] [--json] [--quiet]
  --scenario mayhem [--minutes N]                        faults of all kinds at random, every id audited (the default)
  --scenario limits [--minutes N] [--signal SIGTERM|SIGKILL]   a site's limits while a pod ends every 10 s
  --scenario fairness [--messages N]                     one tenant's N queued messages, another's ten`;

function fail(): never {
  process.stderr.write(`${usage}\n`);
  process.exit(2);
}

function read() {
  try {
    return parseArgs({
      options: {
        scenario: { type: "string", default: "mayhem" },
        minutes: { type: "string", default: "5" },
        messages: { type: "string", default: "200000" },
        signal: { type: "string", default: "SIGKILL" },
        seed: { type: "string", default: "1" },
        json: { type: "boolean", default: false },
        quiet: { type: "boolean", default: false },
      },
    }).values;
  } catch {
    return fail();
  }
}

const values = read();
const minutes = Number(values.minutes);
const messages = Number(values.messages);
const seed = Number(values.seed);
const { signal } = values;
if (!(minutes > 0) || !(messages > 0) || !Number.isInteger(seed)) fail();
if (signal !== "SIGTERM" && signal !== "SIGKILL") fail();

const startedAt = performance.now();
const log = (line: string): void => {
  if (values.quiet) return;
  process.stderr.write(`${((performance.now() - startedAt) / 1000).toFixed(1).padStart(7)}  ${line}\n`);
};
const options = { minutes, seed, log };
const scenarios: Readonly<Record<string, () => Promise<Outcome>>> = {
  mayhem: () => mayhem(options),
  limits: () => limits({ ...options, signal }),
  fairness: () => fairness({ ...options, messages }),
};

const outcome = await (scenarios[values.scenario] ?? fail)();
const { lines, figures, wrong } = outcome;
if (values.json)
  process.stdout.write(`${JSON.stringify({ scenario: values.scenario, ...figures, wrong })}\n`);
else process.stdout.write(`${[...lines, verdictOf(outcome)].join("\n")}\n`);
process.exitCode = wrong.length === 0 ? 0 : 1;
