/** The command line of the benchmark. Throws Error on what it cannot use. */
import { parseArgs } from "node:util";
import {
  type ContenderName,
  contenderNames,
  defaultScenarios,
  type Scenario,
  scenarios,
} from "./scenarios.ts";

type Task = "compare" | "check" | "soak" | "profile" | "help";

export interface Options {
  readonly task: Task;
  readonly scenarios: readonly Scenario[];
  readonly pods: number;
  readonly repetitions: number;
  readonly only: ContenderName | undefined;
  readonly json: boolean;
}

export const usage = `npm run bench -- [options]
  --scenario NAME     one of: ${scenarios.map(({ name }) => name).join(", ")}; may be repeated (default: ${defaultScenarios.join(", ")})
  --messages N        in place of the scenario's
  --size BYTES        in place of the scenario's
  --rate N            messages per second in place of the scenario's; 0 = as fast as they are accepted
  --pods N            pods, and processes of the stock path (default 2)
  --repetitions N     of each contender, interleaved (default 3)
  --only NAME         one of: ${contenderNames.join(", ")}
  --json              one JSON object to standard output, progress to standard error
  --check             compare with the committed ratios to the stock path; fails when a part is 25 % dearer
  --soak N            N messages through the product at the rate of "paced", memory sampled each second
  --profile           where the pods' CPU time goes: perf when it is there, else the profiler of V8`;

/** @example readOptions(["--scenario", "burst", "--pods", "1"]) */
export function readOptions(args: readonly string[]): Options {
  const { values } = parseArgs({
    args: [...args],
    options: {
      scenario: { type: "string", multiple: true },
      messages: { type: "string" },
      size: { type: "string" },
      rate: { type: "string" },
      pods: { type: "string" },
      repetitions: { type: "string" },
      only: { type: "string" },
      json: { type: "boolean" },
      check: { type: "boolean" },
      soak: { type: "string" },
      profile: { type: "boolean" },
      help: { type: "boolean" },
    },
  });
  const soak = whole("soak", values.soak, 1);
  const names =
    values.scenario ??
    (soak !== undefined ? ["paced"] : values.profile === true ? ["burst"] : defaultScenarios);
  const messages = soak ?? whole("messages", values.messages, 1);
  const bytes = whole("size", values.size, 600);
  const ratePerSecond = whole("rate", values.rate, 0);
  const task =
    values.help === true
      ? "help"
      : soak !== undefined
        ? "soak"
        : values.profile === true
          ? "profile"
          : values.check === true
            ? "check"
            : "compare";
  return {
    task,
    scenarios: names.map(named).map((scenario) => ({
      ...scenario,
      ...(messages === undefined ? {} : { messages }),
      ...(bytes === undefined ? {} : { bytes }),
      ...(ratePerSecond === undefined ? {} : { ratePerSecond }),
    })),
    pods: whole("pods", values.pods, 1) ?? 2,
    repetitions: whole("repetitions", values.repetitions, 1) ?? 3,
    only: contender(values.only),
    json: values.json === true,
  };
}

function named(name: string): Scenario {
  const found = scenarios.find((scenario) => scenario.name === name);
  if (found !== undefined) return found;
  throw new Error(`Cannot run ${name}: expected one of ${scenarios.map((one) => one.name).join(", ")}`);
}

function contender(name: string | undefined): ContenderName | undefined {
  if (name === undefined) return undefined;
  const found = contenderNames.find((one) => one === name);
  if (found !== undefined) return found;
  throw new Error(`Cannot use --only ${name}: expected one of ${contenderNames.join(", ")}`);
}

function whole(option: string, text: string | undefined, least: number): number | undefined {
  if (text === undefined) return undefined;
  const value = Number(text);
  if (text !== "" && Number.isSafeInteger(value) && value >= least) return value;
  throw new Error(`Cannot use --${option} ${text}: expected a whole number of ${least} or more`);
}
