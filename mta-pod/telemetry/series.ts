/**
 * Bounds the label values of a metric: the first `limit` stay by name for an hour after their last use, the rest are "other".
 * And the sets of labels of a metric, since bounded labels times each other are many. Never fails.
 */
import type { Clock } from "#mta-pod/runtime/clock.ts";

const stickyMs = 3_600_000;
export const otherSeries = "other";

/** Gives the label for a name. Never holds more than `limit` names (decisions.md 20). */
export interface SeriesBound {
  label(name: string): string;
}

/** @example createSeriesBound(500, clock).label("mail/acme") === "mail/acme" */
export function createSeriesBound(limit: number, clock: Clock, forget: (name: string) => void): SeriesBound {
  const lastUse = new Map<string, number>();
  let sweptAt = 0;
  const sweep = (now: number) => {
    sweptAt = now;
    for (const [name, usedAt] of lastUse) {
      if (now - usedAt < stickyMs) continue;
      lastUse.delete(name);
      forget(name);
    }
  };
  return {
    label(name) {
      const now = clock.monotonic();
      if (lastUse.has(name)) {
        lastUse.set(name, now);
        return name;
      }
      if (lastUse.size >= limit && now - sweptAt > 1000) sweep(now);
      if (lastUse.size >= limit) return otherSeries;
      lastUse.set(name, now);
      return name;
    },
  };
}

/** Which labels a metric may give up, and after how many sets of labels it does. */
export interface FoldRule<Label extends string> {
  readonly most: number;
  readonly labels: readonly Label[];
}

export interface SeriesFold<Label extends string> {
  /** The labels as they are while there is room, else with those of the rule as "other": nothing is left uncounted. */
  fold(labels: Readonly<Record<Label, string>>): Readonly<Record<Label, string>>;
  /** Makes room again: sets with this value are gone. */
  forget(label: string, value: string): void;
}

/** @example createSeriesFold({ most: 6000, labels: ["provider"] }).fold({ tenant, provider, outcome }) */
export function createSeriesFold<Label extends string>(rule: FoldRule<Label>): SeriesFold<Label> {
  const known = new Map<string, Readonly<Record<Label, string>>>();
  const others = Object.fromEntries(rule.labels.map((label) => [label, otherSeries]));
  return {
    fold(labels) {
      const key = Object.values(labels).join("\n");
      if (known.has(key)) return labels;
      if (known.size >= rule.most) return { ...labels, ...others };
      known.set(key, labels);
      return labels;
    },
    forget(label, value) {
      for (const [key, labels] of known) if (labels[label as Label] === value) known.delete(key);
    },
  };
}
