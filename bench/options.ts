/** The command line of the benchmark. Throws Error on what it cannot use. */
import { parseArgs } from "node:util";
import type { Durability } from "./contender.ts";
import {
  type ContenderName,
  contenderNames,
  defaultScenarios,
  type Scenario,
  scenarios,
} from "./scenarios.ts";

type Task = "compare" | "check" | "soak" | "tenants" | "profile" | "help";

export interface Options {
  readonly task: Task;
  readonly scenarios: readonly Scenario[];
  /** The first of `podCounts`. */
  readonly pods: number;
  readonly podCounts: readonly number[];
  readonly repetitions: number;
  /** Empty = all that the scenario has. */
  readonly only: readonly ContenderName[];
  /** Of the task "tenants". */
  readonly tenants: number | undefined;
  readonly peers: boolean;
  /** Path of KumoMTA's program. */
  readonly kumod: string | undefined;
  readonly durability: Durability;
  /** File for the report. */
  readonly report: string | undefined;
  readonly json: boolean;
}

export const usage = `npm run bench -- [options]
  --scenario NAME     one of: ${scenarios.map(({ name }) => name).join(", ")}; may be repeated (default: ${defaultScenarios.join(", ")})
  --messages N        in place of the scenario's
  --size BYTES        in place of the scenario's
  --queued N          messages that wait for a slow next hop meanwhile, in place of the scenario's
  --rate N            messages per second in place of the scenario's; 0 = as fast as they are accepted
  --pods N            pods, and processes of the stock path (default 2); 1,2,4 = each in turn, of the product alone
  --repetitions N     of each contender, interleaved (default 3)
  --only NAME         one of: ${contenderNames.join(", ")}; may be repeated
  --peers             also Haraka (npm), Postfix and Exim (Debian's packages), unpacked into the user's cache; needs root
  --kumod PATH        also KumoMTA, whose program this is
  --synced            each message is on the disk before its 250
  --report FILE       write the tables with plots as one HTML file
  --json              one JSON object to standard output, progress to standard error
  --check             compare with the committed ratios to the stock path; fails when a part is 25 % dearer
  --soak N            N messages through the product at the rate of "paced", memory sampled each second
  --tenants N         compile, pod start and one edit with N tenants; their mail: --scenario tenants
  --profile           where the pods' CPU time goes: perf when it is there, else the profiler of V8`;

/** @example readOptions(["--scenario", "burst", "--pods", "1"]) */
export function readOptions(args: readonly string[]): Options {
  const { values } = parseArgs({
    args: [...args],
    options: {
      scenario: { type: "string", multiple: true },
      messages: { type: "string" },
      size: { type: "string" },
      queued: { type: "string" },
      rate: { type: "string" },
      pods: { type: "string" },
      repetitions: { type: "string" },
      only: { type: "string", multiple: true },
      peers: { type: "boolean" },
      kumod: { type: "string" },
      synced: { type: "boolean" },
      report: { type: "string" },
      json: { type: "boolean" },
      check: { type: "boolean" },
      soak: { type: "string" },
      tenants: { type: "string" },
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
  const queued = whole("queued", values.queued, 0);
  const ratePerSecond = whole("rate", values.rate, 0);
  const podCounts = (values.pods ?? "2").split(",").map((text) => whole("pods", text, 1));
  const kumod = values.kumod;
  return {
    task: taskOf(values),
    scenarios: names.map(named).map((scenario) => ({
      ...scenario,
      ...(messages === undefined ? {} : { messages }),
      ...(bytes === undefined ? {} : { bytes }),
      ...(queued === undefined ? {} : { queued }),
      ...(ratePerSecond === undefined ? {} : { ratePerSecond }),
    })),
    pods: podCounts[0] ?? 2,
    podCounts,
    repetitions: whole("repetitions", values.repetitions, 1) ?? 3,
    only: (values.only ?? []).map(contender),
    tenants: whole("tenants", values.tenants, 1),
    peers: values.peers === true || kumod !== undefined,
    kumod,
    durability: values.synced === true ? "disk" : "os",
    report: values.report,
    json: values.json === true,
  };
}

function taskOf(given: {
  readonly help?: boolean;
  readonly soak?: string;
  readonly tenants?: string;
  readonly profile?: boolean;
  readonly check?: boolean;
}): Task {
  if (given.help === true) return "help";
  if (given.soak !== undefined) return "soak";
  if (given.tenants !== undefined) return "tenants";
  if (given.profile === true) return "profile";
  return given.check === true ? "check" : "compare";
}

function named(name: string): Scenario {
  const found = scenarios.find((scenario) => scenario.name === name);
  if (found !== undefined) return found;
  throw new Error(`Cannot run ${name}: expected one of ${scenarios.map((one) => one.name).join(", ")}`);
}

function contender(name: string): ContenderName {
  const found = contenderNames.find((one) => one === name);
  if (found !== undefined) return found;
  throw new Error(`Cannot use --only ${name}: expected one of ${contenderNames.join(", ")}`);
}

function whole(option: string, text: string, least: number): number;
function whole(option: string, text: string | undefined, least: number): number | undefined;
function whole(option: string, text: string | undefined, least: number): number | undefined {
  if (text === undefined) return undefined;
  const value = Number(text);
  if (text !== "" && Number.isSafeInteger(value) && value >= least) return value;
  throw new Error(`Cannot use --${option} ${text}: expected a whole number of ${least} or more`);
}
