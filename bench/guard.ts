/**
 * Has the product become dearer? Compares what it costs beside the stock path of the same runs with the committed ratios
 * (`ratios.json`): never with absolute times, which are the machine's. But on a machine that has become several times slower, as virtual
 * ones do for an hour, the two slow down unlike each other: then the stock path's own cost says so, and nothing is judged. Pure; throws
 * Error on ratios it cannot read.
 */
import { z } from "zod";
import type { Measurement } from "./repetition.ts";
import { spreadOf } from "./statistics.ts";

/** CPU of the product's processes divided by the CPU of the whole stock path, medians of interleaved runs. */
export interface Ratios {
  readonly pods: number;
  readonly nats: number;
  readonly together: number;
}

const ratio = z.number().positive();
const ratiosSchema = z.record(
  z.string(),
  z.object({
    pods: ratio,
    nats: ratio,
    together: ratio,
    /** CPU-seconds per 1,000 messages of the stock path up to which these ratios were seen to hold. */
    stockAtMost: ratio,
  }),
);

export type CommittedRatios = z.infer<typeof ratiosSchema>;

/** How much dearer a part may have become. */
const allowedGrowth = 0.25;

export function readRatios(text: string): CommittedRatios {
  return ratiosSchema.parse(JSON.parse(text));
}

/** Of one scenario, whose runs have both contenders. @throws Error when one of them is missing */
export function ratiosOf(measurements: readonly Measurement[]): Ratios {
  const stock = stockOf(measurements);
  const of = (read: (run: Measurement) => number): number => medianOf(measurements, "mailboat", read) / stock;
  const ratios = {
    pods: of(({ cpu }) => cpu.pods),
    nats: of(({ cpu }) => cpu.nats),
    together: of(({ cpu }) => cpu.pods + cpu.nats),
  };
  if (Object.values(ratios).every((value) => value > 0 && Number.isFinite(value))) return rounded(ratios);
  throw new Error("Cannot compare: expected runs of mailboat and of stock, got those of one of them");
}

/** Why nothing can be said of these runs; undefined = it can. */
export function notJudged(
  measurements: readonly Measurement[],
  { stockAtMost }: CommittedRatios[string],
): string | undefined {
  const stock = stockOf(measurements);
  return stock <= stockAtMost
    ? undefined
    : `the stock path cost ${stock.toFixed(2)} CPU-s per 1,000 here, and the committed ratios hold up to ${stockAtMost}`;
}

function stockOf(measurements: readonly Measurement[]): number {
  return medianOf(measurements, "stock", ({ cpu }) => cpu.pods + cpu.nats);
}

function medianOf(
  measurements: readonly Measurement[],
  name: string,
  read: (run: Measurement) => number,
): number {
  return spreadOf(measurements.filter(({ contender }) => contender === name).map(read)).median;
}

/** One line per part, and whether all are within bounds. */
export function compareRatios(
  scenario: string,
  measured: Ratios,
  committed: Ratios | undefined,
): { readonly lines: readonly string[]; readonly ok: boolean } {
  if (committed === undefined)
    return {
      lines: [`${scenario}: no committed ratio; measured ${JSON.stringify(measured)}`],
      ok: false,
    };
  const parts = ["pods", "nats", "together"] as const;
  const dearer = parts.filter((part) => measured[part] > committed[part] * (1 + allowedGrowth));
  const lines = parts.map(
    (part) =>
      `${scenario}, ${part}: ${measured[part].toFixed(3)} of the stock path, committed ${committed[part].toFixed(3)} (${percent(measured[part] / committed[part] - 1)})${dearer.includes(part) ? ": DEARER" : ""}`,
  );
  return { lines, ok: dearer.length === 0 };
}

function percent(share: number): string {
  return `${share >= 0 ? "+" : ""}${(share * 100).toFixed(0)} %`;
}

function rounded({ pods, nats, together }: Ratios): Ratios {
  const three = (value: number): number => Math.round(value * 1000) / 1000;
  return { pods: three(pods), nats: three(nats), together: three(together) };
}
