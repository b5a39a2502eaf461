/** Reads pods' metrics in tests: the Prometheus text of every pod of a pool, and sums over it. */
import type { LocalMode } from "./local.ts";

export interface Sample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

/** Samples of all pods, one after another. */
export async function scrape(local: LocalMode): Promise<Sample[]> {
  const { pools } = await local.read();
  const texts = await Promise.all(
    (pools[0]?.metrics ?? []).map(async (address) => (await fetch(`http://${address}/metrics`)).text()),
  );
  return texts.flatMap(parseSamples);
}

function parseSamples(text: string): Sample[] {
  return text.split("\n").flatMap((line) => {
    const match = /^([a-z_]+)(?:\{(.*)\})? (\S+)$/.exec(line);
    if (match === null) return [];
    const labels = [...(match[2] ?? "").matchAll(/([a-z_]+)="((?:[^"\\]|\\.)*)"/g)];
    const entries = labels.map(([, name = "", value = ""]) => [name, value]);
    return [
      {
        name: match[1] ?? "",
        labels: Object.fromEntries(entries) as Sample["labels"],
        value: Number(match[3]),
      },
    ];
  });
}

/** Sum over the samples of that name that have these labels. */
export function sumOf(samples: readonly Sample[], name: string, labels: Sample["labels"] = {}): number {
  return samples
    .filter(
      (sample) =>
        sample.name === name &&
        Object.entries(labels).every(([label, value]) => sample.labels[label] === value),
    )
    .reduce((sum, { value }) => sum + value, 0);
}

/** JSON of /statusz of every pod. */
export async function statuses(local: LocalMode): Promise<Record<string, unknown>[]> {
  const { pools } = await local.read();
  return Promise.all(
    (pools[0]?.metrics ?? []).map(
      async (address) => (await (await fetch(`http://${address}/statusz`)).json()) as Record<string, unknown>,
    ),
  );
}
