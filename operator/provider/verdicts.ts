/** Decides what the pretend provider answers, remembering attempts, rates and first sights in bounded maps. Pure: time and chance are arguments. */
import { LRUCache } from "lru-cache";
import { createSlidingWindow, type SlidingWindow } from "./meter.ts";
import type { ProviderRule } from "./rules.ts";

export type Verdict =
  | { readonly kind: "accept" }
  | { readonly kind: "refuse"; readonly code: number; readonly text: string }
  /** Say nothing, ever. */
  | { readonly kind: "hang" }
  /** Hang up without a reply; `record` = the message counts as received. */
  | { readonly kind: "drop"; readonly record: boolean };

interface RecipientAsked {
  readonly source: string;
  readonly from: string;
  readonly to: string;
  /** Monotonic ms. */
  readonly now: number;
  /** This transaction already passed the rule's throttle. */
  readonly admitted: boolean;
}

interface MessageAsked {
  readonly id: string;
  readonly from: string;
  readonly to: readonly string[];
  /** 0 ≤ chance < 1. */
  readonly chance: number;
}

export interface Verdicts {
  recipient(rule: ProviderRule, asked: RecipientAsked): Verdict;
  message(rule: ProviderRule, asked: MessageAsked): Verdict;
}

/** Senders, recipients and messages remembered at once; the least recently seen is forgotten and starts again. */
const maxRemembered = 200_000;

const accept: Verdict = { kind: "accept" };

export function createVerdicts(): Verdicts {
  const attempts = new LRUCache<string, number>({ max: maxRemembered });
  const firstSeen = new LRUCache<string, number>({ max: maxRemembered });
  const windows = new WeakMap<ProviderRule, SlidingWindow>();

  /** Counts an attempt; true while it is one of the first `times`. */
  const isEarly = (key: string, times: number | undefined): boolean => {
    if (times === undefined) return true;
    const made = (attempts.get(key) ?? 0) + 1;
    attempts.set(key, Math.min(made, times + 1));
    return made <= times;
  };

  const throttled = (rule: ProviderRule, now: number): boolean => {
    const rate = rule.throttle?.messagesPerSecond;
    if (rate === undefined) return false;
    const allowed = Math.ceil(rate);
    let window = windows.get(rule);
    if (window === undefined) windows.set(rule, (window = createSlidingWindow((allowed / rate) * 1000)));
    if (window.count(now) >= allowed) return true;
    window.add(now);
    return false;
  };

  const greylisted = (seconds: number, asked: RecipientAsked): boolean => {
    const key = `${asked.source} ${asked.from} ${asked.to}`;
    const first = firstSeen.get(key);
    if (first === undefined) firstSeen.set(key, asked.now);
    return asked.now - (first ?? asked.now) < seconds * 1000;
  };

  return {
    recipient(rule, asked) {
      const { bounce, defer, greylist, throttle } = rule;
      if (rule.hang?.stage === "rcpt") return { kind: "hang" };
      if (bounce?.stage === "rcpt") return refuse(bounce);
      if (greylist !== undefined && greylisted(greylist.seconds, asked)) return refuse(greylist);
      if (defer?.stage === "rcpt" && isEarly(`rcpt ${asked.from} ${asked.to}`, defer.times))
        return refuse(defer);
      if (throttle !== undefined && !asked.admitted && throttled(rule, asked.now)) return refuse(throttle);
      return accept;
    },
    message(rule, asked) {
      const { bounce, defer, dropAfterDot } = rule;
      const key = `${asked.id} ${asked.from} ${asked.to.join(" ")}`;
      if (rule.hang?.stage === "data") return { kind: "hang" };
      if (bounce?.stage === "data") return refuse(bounce);
      if (defer?.stage === "data" && isEarly(`data ${key}`, defer.times)) return refuse(defer);
      if (dropAfterDot !== undefined) {
        const { times, ratio, record } = dropAfterDot;
        const chosen = ratio === undefined || asked.chance < ratio;
        if (chosen && isEarly(`drop ${key}`, times)) return { kind: "drop", record };
      }
      return accept;
    },
  };
}

function refuse({ code, text }: { readonly code: number; readonly text: string }): Verdict {
  return { kind: "refuse", code, text };
}
