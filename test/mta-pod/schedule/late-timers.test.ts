/** A machine that is short of processor has timers that come late: the rate holds all the same, and little of it is lost. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Sent } from "#mta-pod/schedule/peer-count.ts";
import { handOver, takeOver } from "#mta-pod/schedule/handover.ts";
import type { Link } from "#mta-pod/schedule/link.ts";
import { SiteState } from "#mta-pod/schedule/site-state.ts";
import { random } from "#test/kit/random.ts";

interface Seen {
  readonly most: number;
  readonly used: number;
}

function siteOf(perSecond: number): { site: SiteState; link: Link } {
  const site = new SiteState("s");
  site.configure({ limits: { connections: 20, messagesPerSecond: perSecond } });
  const link = site.linkOf("default");
  link.window.restart(20);
  return { site, link };
}

/** What the owner leaves who has ended all its connections. */
function successorOf(former: SiteState, perSecond: number, now: number): { site: SiteState; link: Link } {
  const left = handOver(former);
  const next = siteOf(perSecond);
  const sources = left.sources.map((spent) => ({ ...spent, open: 0 }));
  takeOver(next.site, { ...left, sources }, { until: 0, now });
  return next;
}

interface Manner {
  readonly perSecond: number;
  readonly lateMs: number;
  readonly seed: number;
  /** The site gets another owner that often, at once; default never. */
  readonly handOverMs?: number;
}

/** A minute of one source at one site, every timer late by up to `lateMs`; what its peer counts. */
function run({ perSecond, lateMs, seed, handOverMs = Number.POSITIVE_INFINITY }: Manner): Seen {
  const chance = random(seed);
  const late = (): number => chance() * lateMs;
  let { site, link } = siteOf(perSecond);
  const start = 1_000_000;
  const counted: number[] = [];
  let answers: { at: number; sent: Sent | null }[] = [];
  let now = start;
  let handOverAt = start + handOverMs * (0.5 + chance());
  while (now < start + 60_000) {
    while ((answers[0]?.at ?? Number.POSITIVE_INFINITY) <= now) {
      const answer = answers.shift();
      if (answer !== undefined) link.messages.counted.answered(answer.sent, answer.at);
      link.end("kept");
    }
    if (now >= handOverAt && answers.length === 0) {
      ({ site, link } = successorOf(site, perSecond, now));
      answers = [];
      handOverAt = now + handOverMs * (0.5 + chance());
    }
    if (!link.isOpen(now)) {
      const wakeAt = Math.min(link.wakeAt, answers[0]?.at ?? link.wakeAt);
      now = Math.max(now + 0.01, wakeAt + late());
      continue;
    }
    link.start(now);
    const { holdMs, sent } = link.messages.book(now);
    const at = now + holdMs + (holdMs > 0 ? late() : 0) + 0.5;
    counted.push(at);
    answers.push({ at: at + 0.5 + late() / 4, sent });
    answers.sort((a, b) => a.at - b.at);
  }
  counted.sort((a, b) => a - b);
  const most = counted.reduce((sum, at, index) => {
    let first = index;
    while (first > 0 && (counted[first - 1] ?? 0) > at - 1000) first--;
    return Math.max(sum, index - first + 1);
  }, 0);
  return { most, used: counted.length / 60 / perSecond };
}

for (const perSecond of [5, 30, 200])
  for (const lateMs of [2, 10, 30])
    test(`${perSecond}/s with timers up to ${lateMs} ms late`, (t) => {
      for (const seed of [1, 2, 3]) {
        const { most, used } = run({ perSecond, lateMs, seed });
        t.diagnostic(`${most} in the busiest second, ${(100 * used).toFixed(1)} % used`);
        assert.ok(most <= perSecond, `${most} in a second`);
        assert.ok(used > 0.9, `${(100 * used).toFixed(1)} % used`);
      }
    });

for (const perSecond of [5, 30, 200])
  test(`${perSecond}/s with late timers, and other owners all the time`, (t) => {
    for (const seed of [1, 2, 3, 4, 5]) {
      const { most, used } = run({ perSecond, lateMs: 60, seed, handOverMs: 3000 });
      t.diagnostic(`${most} in the busiest second, ${(100 * used).toFixed(1)} % used`);
      assert.ok(most <= perSecond, `${most} in a second`);
    }
  });
