/** A counter that is cheap to count on: sums by label values in a map, handed to prom-client when it is read. Never fails. */
import { Counter, type Registry } from "prom-client";
import { createSeriesFold, type FoldRule } from "./series.ts";

export interface Tally<Label extends string> {
  inc(labels: Readonly<Record<Label, string>>, by?: number): void;
  /** As prom-client shows it. */
  readonly counter: Counter<Label>;
  /** Drops the series with this value of a label. */
  forget(label: string, value: string): void;
}

interface Sum<Label extends string> {
  readonly labels: Readonly<Record<Label, string>>;
  count: number;
}

export interface TallyOptions<Label extends string> {
  readonly name: string;
  readonly help: string;
  readonly labelNames: readonly Label[];
  /** Where the labels times each other may be too many. */
  readonly fold?: FoldRule<Label> | undefined;
}

/** prom-client sorts, joins and hashes the labels at each increment: 1.5 µs, several times for every message. */
export function createTally<Label extends string>(
  registry: Registry,
  { name, help, labelNames, fold }: TallyOptions<Label>,
): Tally<Label> {
  const folded = createSeriesFold(fold ?? { most: Number.POSITIVE_INFINITY, labels: [] });
  const sums = new Map<string, Sum<Label>>();
  const counter = new Counter<Label>({
    name,
    help,
    labelNames,
    registers: [registry],
    collect() {
      for (const { labels, count } of sums.values()) this.inc(labels, count);
      sums.clear();
    },
  });
  return {
    counter,
    inc(labels, by = 1) {
      let key = "";
      for (const label of labelNames) key += `${labels[label]}\n`;
      const sum = sums.get(key);
      if (sum === undefined) sums.set(key, { labels: folded.fold(labels), count: by });
      else sum.count += by;
    },
    forget(label, value) {
      folded.forget(label, value);
      removeSeries(counter, label, value);
    },
  };
}

/** Of a metric of prom-client, which has no such call of its own. */
export function removeSeries(metric: object, label: string, value: string): void {
  const { hashMap, remove } = metric as {
    hashMap: Record<string, { labels: Record<string, string> }>;
    remove(labels: Record<string, string>): void;
  };
  for (const { labels } of Object.values(hashMap)) if (labels[label] === value) remove.call(metric, labels);
}
