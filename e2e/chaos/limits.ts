/**
 * The scenario `limits`: a site of 2 connections and 30 messages/s, 8 pods, one of them ended every 10 s. Judged where the mail arrives:
 * never a third connection, never a 31st message in any second, and of the rate nearly all is used.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { missingOf } from "#e2e/kit/audit.ts";
import { longestGap } from "#e2e/kit/gaps.ts";
import { type Load, startLoad } from "#e2e/kit/load.ts";
import { podStatuses } from "#e2e/kit/pod-status.ts";
import { type Sink, startSink } from "#e2e/kit/sink.ts";
import { type LocalMode, startLocal } from "#test/kit/local.ts";
import { testPassword, testResources } from "#test/kit/local-resources.ts";
import { random } from "#test/kit/random.ts";
import { until } from "#test/kit/until.ts";
import { createLimitWatch, type LimitWatch, tooDoubtful } from "./limit-watch.ts";
import type { Outcome, ScenarioOptions } from "./scenario.ts";
import { signalLiving } from "./victims.ts";

export interface LimitsOptions extends ScenarioOptions {
  readonly signal: "SIGTERM" | "SIGKILL";
}

const pods = 8;
const shards = 8;
const limit = { name: "limited", connections: 2, perSecond: 30 } as const;
const everyMs = 10_000;
/** The site's owner: each time costs a hand-over, and the others' ends cost nothing. */
const mostOwners = 5;
/** Of the rate; a hand-over takes under a second after a SIGTERM, about two after a SIGKILL that the runner has seen. */
const leastUsed = { SIGTERM: 0.9, SIGKILL: 0.85 } as const;
/** There is mail for the site at each moment. */
const backlog = 600;
const drainMs = 120_000;

interface Scene extends AsyncDisposable {
  readonly sink: Sink;
  readonly watch: LimitWatch;
  readonly local: LocalMode;
}

async function startScene(log: (line: string) => void): Promise<Scene> {
  const watch = createLimitWatch([limit], (violation) => log(`LIMIT ${violation}`));
  const sink = await startSink({ ports: 1, watch });
  const folder = await mkdtemp(join(tmpdir(), "mailboat-limits-"));
  const rule = {
    name: limit.name,
    match: { domains: ["limited.test"] },
    limits: { connections: limit.connections, messageRate: `${limit.perSecond}/s` },
    routes: [{ host: "127.0.0.1", port: sink.ports[0] }],
  };
  const close = async (): Promise<void> => {
    watch.stop();
    await sink[Symbol.asyncDispose]();
    await rm(folder, { recursive: true, force: true, maxRetries: 5 });
  };
  try {
    const resources = testResources({ rules: [rule], shards });
    const local = await startLocal({ resources, pods, state: folder, readyMs: 120_000 });
    return {
      sink,
      watch,
      local,
      async [Symbol.asyncDispose]() {
        await local[Symbol.asyncDispose]();
        await close();
      },
    };
  } catch (error) {
    await close();
    throw error;
  }
}

function begin(local: LocalMode, options: { prefix: string; messages: number; perSecond?: number }): Load {
  return startLoad({
    ...options,
    address: () => local.endpoints.smtp,
    connections: 16,
    bytes: 1000,
    domains: ["limited.test"],
    user: "acme",
    password: testPassword,
    from: "news@acme.example",
  });
}

/** The pod that has the site's mail; undefined while it is handed over. */
async function ownerOf(local: LocalMode): Promise<string | undefined> {
  const queued = (await podStatuses(local)).toSorted((a, b) => b.queued - a.queued);
  return (queued[0]?.queued ?? 0) > 0 ? queued[0]?.pod : undefined;
}

interface Ended {
  total: number;
  owners: number;
}

/** Ends pods until `untilMs`, chosen by the seed. */
async function endPods(
  { local }: Scene,
  { seed, signal, log }: LimitsOptions,
  untilMs: number,
): Promise<Ended> {
  const chance = random(seed);
  const ended = { total: 0, owners: 0 };
  for (let at = performance.now() + everyMs; at < untilMs; at += everyMs) {
    await delay(Math.max(0, at - performance.now()));
    const running = Object.entries((await local.read()).pids.pods).sort(([a], [b]) => a.localeCompare(b));
    const owner = await ownerOf(local);
    // At the last chance it is the owner, if it never was.
    const mustBeOwner = ended.owners === 0 && at + everyMs >= untilMs && owner !== undefined;
    const choice = running.filter(([name]) =>
      mustBeOwner ? name === owner : name !== owner || ended.owners < mostOwners,
    );
    const [name = "", pid] = choice[Math.floor(chance() * choice.length)] ?? [];
    // It may be started again just now.
    if (pid === undefined || !signalLiving(pid, signal)) continue;
    ended.total++;
    if (name === owner) ended.owners++;
    log(`${signal}: ${name}${name === owner ? ", the site's owner" : ""}`);
  }
  await delay(Math.max(0, untilMs - performance.now()));
  return ended;
}

export async function limits(options: LimitsOptions): Promise<Outcome> {
  const { minutes, seed, signal, log } = options;
  await using scene = await startScene(log);
  const { sink, watch, local } = scene;
  const loads = [
    begin(local, { prefix: "first", messages: backlog }),
    begin(local, { prefix: "m", messages: Infinity, perSecond: limit.perSecond }),
  ];
  let ended: Ended;
  const from = performance.now();
  try {
    await until("a backlog", () => (loads[0]?.accepted.size ?? 0) >= backlog, 60_000);
    log(`${pods} pods run; ${minutes} minutes, seed ${seed}`);
    ended = await endPods(scene, options, performance.now() + minutes * 60_000);
  } finally {
    for (const load of loads) load.stop();
  }
  const to = performance.now();
  await Promise.all(loads.map((load) => load.done));
  const missing = (): string[] => loads.flatMap((load) => missingOf(load, sink));
  await until("the queue to be empty", () => missing().length === 0, drainMs).catch(() => {});
  const times = [...sink.arrivals.values()].map(({ firstAt }) => firstAt);
  const start = Math.min(...times);
  const seconds = (to - start) / 1000;
  const used = times.filter((at) => at <= to).length / seconds / limit.perSecond;
  const doubled = [...sink.arrivals.values()].filter(({ count }) => count > 1).length;
  const mostDoubled = signal === "SIGTERM" ? 0 : ended.owners * limit.connections;
  const violations = watch.violations();
  const doubtful = watch.doubtful();
  const most = watch.most(0);
  const lost = missing();
  const gapMs = longestGap(times, { from: start, to });
  return {
    lines: [
      `limits: ${((to - from) / 60_000).toFixed(1)} minutes, seed ${seed}, ${pods} pods; ${ended.total} got ${signal}, ${ended.owners} of them the site's owner`,
      `a site of ${limit.connections} connections and ${limit.perSecond}/s: ${violations.length} violations (not sure: ${doubtful.count} of ${doubtful.of}; as read at most ${most.connections} at once, ${most.perSecond} in a second), ${(100 * used).toFixed(1)} % of the rate used, longest pause ${(gapMs / 1000).toFixed(1)} s`,
      `arrived ${times.length}, lost ${lost.length}, doubled ${doubled} (at most ${mostDoubled} were open)`,
      "",
    ],
    figures: {
      minutes,
      seed,
      signal,
      pods,
      ...ended,
      used,
      gapMs,
      doubled,
      violations,
      doubtful,
      most,
      lost: lost.length,
    },
    shown: `no limit exceeded at ${ended.total} ends of pods, ${(100 * used).toFixed(1)} % of the rate used, nothing lost`,
    wrong: [
      ...violations.slice(0, 3),
      ...tooDoubtful(doubtful),
      ...(used >= leastUsed[signal] ? [] : [`only ${(100 * used).toFixed(1)} % of the rate used`]),
      ...(lost.length === 0 ? [] : [`${lost.length} lost: ${lost.slice(0, 5).join(", ")}`]),
      ...(doubled <= mostDoubled ? [] : [`${doubled} doubled, at most ${mostDoubled} were open`]),
    ],
  };
}
