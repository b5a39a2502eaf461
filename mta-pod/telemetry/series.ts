/**
 * Bounds the label values of a metric: the busiest `limit` names are shown, each for an hour at least, the rest are "other".
 * And the sets of labels of a metric, since bounded labels times each other are many. Never fails.
 */
import type { Clock } from "#mta-pod/runtime/clock.ts";

const stickyMs = 3_600_000;
const sweepMs = 1_000;
export const otherSeries = "other";

/** Gives the label for a name. Never holds more than `limit` names (decisions.md 20), and counts about as many more. */
export interface SeriesBound {
  label(name: string): string;
}

interface Named {
  readonly since: number;
  usedAt: number;
  uses: number;
}

/** @example createSeriesBound(500, clock, forget).label("mail/acme") === "mail/acme" */
export function createSeriesBound(limit: number, clock: Clock, forget: (name: string) => void): SeriesBound {
  const named = new Map<string, Named>();
  /** Uses of names that are not shown, as far as they are among the most used (Misra and Gries, 1982). */
  const others = new Map<string, number>();
  let sweptAt = 0;
  let comparedAt = 0;

  const drop = (name: string): void => {
    named.delete(name);
    forget(name);
  };
  const sweep = (now: number): void => {
    sweptAt = now;
    for (const [name, { usedAt }] of named) if (now - usedAt >= stickyMs) drop(name);
  };
  const countOther = (name: string): void => {
    const uses = others.get(name);
    if (uses !== undefined || others.size < limit) others.set(name, (uses ?? 0) + 1);
    else
      for (const [other, count] of others)
        if (count > 1) others.set(other, count - 1);
        else others.delete(other);
  };
  /** Who was shown for an hour and was used less in the last one than somebody who is not makes room for it. */
  const compare = (now: number): void => {
    comparedAt = now;
    const least = [...named]
      .filter(([, { since }]) => now - since >= stickyMs)
      .sort(([, one], [, two]) => one.uses - two.uses);
    const most = [...others].sort(([, one], [, two]) => two - one);
    for (const [index, [name, { uses }]] of least.entries()) {
      const [other, otherUses] = most[index] ?? ["", 0];
      if (otherUses <= uses) break;
      drop(name);
      named.set(other, { since: now, usedAt: now, uses: 0 });
    }
    others.clear();
    for (const each of named.values()) each.uses = 0;
  };

  return {
    label(name) {
      const now = clock.monotonic();
      const known = named.get(name);
      if (known !== undefined) {
        known.usedAt = now;
        known.uses++;
        return name;
      }
      if (named.size >= limit && now - sweptAt > sweepMs) sweep(now);
      if (named.size < limit) {
        if (named.size === 0) comparedAt = now;
        named.set(name, { since: now, usedAt: now, uses: 1 });
        return name;
      }
      countOther(name);
      if (now - comparedAt >= stickyMs) compare(now);
      return named.has(name) ? name : otherSeries;
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
