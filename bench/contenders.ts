/** Who takes part: the product and the stock path, and with --peers what can be had on this machine. */
import type { Contender } from "./contender.ts";
import type { Options } from "./options.ts";
import { exim } from "./peers/exim.ts";
import { haraka } from "./peers/haraka.ts";
import { kumomta } from "./peers/kumomta.ts";
import { postfix } from "./peers/postfix.ts";
import { product } from "./product.ts";
import { type ContenderName, ownContenders, type Scenario } from "./scenarios.ts";
import { stock } from "./stock.ts";

/** One column of a table: a contender, with so many pods. */
export interface Entrant {
  readonly label: string;
  readonly contender: Contender;
  readonly isPeer: boolean;
  readonly pods: number;
  /** The scenario's, but for what the column is about. */
  readonly scenario: Scenario;
}

/** Of a scenario, in the order of the columns. */
export function entrantsOf(scenario: Scenario, options: Options): Entrant[] {
  const { podCounts } = options;
  const variants = variantsOf(scenario);
  return namesOf(options)
    .filter((name) => scenario.leftOut[name] === undefined)
    .flatMap((name) => {
      const contender = contenderOf(name, options);
      if (contender === undefined) return [];
      return podCounts.flatMap((pods) =>
        variants.map((variant) => ({
          label: [
            name,
            ...(podCounts.length > 1 ? [counted(pods, "pod")] : []),
            ...(variant.label === undefined ? [] : [variant.label]),
          ].join(", "),
          contender,
          isPeer: !ownContenders.includes(name),
          pods,
          scenario: variant.scenario,
        })),
      );
    });
}

interface Variant {
  /** undefined = there is only one. */
  readonly label: string | undefined;
  readonly scenario: Scenario;
}

/** Many tenants are compared with one, a long queue with none. */
function variantsOf(scenario: Scenario): Variant[] {
  if (scenario.tenants > 1)
    return [1, scenario.tenants].map((tenants) => ({
      label: counted(tenants, "tenant"),
      scenario: { ...scenario, tenants },
    }));
  if (scenario.queued > 0)
    return [0, scenario.queued].map((queued) => ({
      label: `${queued.toLocaleString("en")} queued`,
      scenario: { ...scenario, queued },
    }));
  return [{ label: undefined, scenario }];
}

function counted(count: number, what: string): string {
  return `${count.toLocaleString("en")} ${what}${count === 1 ? "" : "s"}`;
}

/** Those that were asked for and do not take part, and why. */
export function leftOutOf(scenario: Scenario, options: Options): string[] {
  return namesOf(options).flatMap((name) => {
    const reason =
      scenario.leftOut[name] ??
      (name === "kumomta" && options.kumod === undefined ? "no --kumod PATH" : undefined);
    return reason === undefined ? [] : [`${name}: ${reason}`];
  });
}

function namesOf({ only, peers, podCounts }: Options): readonly ContenderName[] {
  if (only.length > 0) return only;
  // How the CPU time of a message grows with pods is a question about the product.
  if (podCounts.length > 1) return ["mailboat"];
  return peers ? [...ownContenders, "haraka", "postfix", "exim", "kumomta"] : ownContenders;
}

function contenderOf(name: ContenderName, { kumod }: Options): Contender | undefined {
  if (name === "kumomta") return kumod === undefined ? undefined : kumomta(kumod);
  return { mailboat: product, stock, haraka, postfix, exim }[name];
}
