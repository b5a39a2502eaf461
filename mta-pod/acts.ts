/**
 * CORRIDOR: acts on queued mail (retry, bounce) in the whole pool. Each pod works off the shards it owns, a bounded number
 * at a time; who asked is answered within seconds, with how far it has come, and can ask again until it is done.
 */
import { idHashOf } from "#crds/wire/state-record.ts";
import type { Deliver } from "./deliver.ts";
import type { Unsplit } from "./parents.ts";
import type { ParkedActs } from "./parked-acts.ts";
import type { Purging } from "./purging.ts";
import { type Pod, silentOf } from "./pod.ts";
import { type QueueQuery, selectorOf } from "./queue-query.ts";
import type { ListedEntry } from "./schedule/types.ts";
import type { Peers } from "./spool/peers.ts";
import type { UnsplitActs } from "./unsplit-acts.ts";

/** `discard` is the operator's alone, for tenants that are deleted: the admin port does not know it. */
export type ActionName = "retry" | "bounce" | "discard";

export interface Progress {
  /** Entries looked at, of those that were queued when it began, or when its pod had read its shards. */
  readonly looked: number;
  readonly total: number;
  readonly affected: number;
  readonly isDone: boolean;
  /** Shards went to others, or were read again, or messages were split, before it was done: not all that was queued was looked at. Absent from pods of a release before. */
  readonly isInterrupted?: boolean;
}

export interface ActAnswer extends Omit<Progress, "isInterrupted"> {
  /** To ask again with, while it is not done. */
  readonly job: string;
  readonly pods: readonly string[];
  /** Pods that did not say how far they are, or went before they were done. */
  readonly silent: readonly string[];
  /** Pods that gave shards away, read them again, or split messages meanwhile. */
  readonly interrupted: readonly string[];
}

export interface ActsDeps {
  readonly pod: Pod;
  readonly peers: Peers;
  readonly deliver: Deliver;
  readonly parked: ParkedActs;
  readonly unsplit: UnsplitActs;
  readonly purging: Purging;
  /** All shards of this pod are read: what is stored in them is known. */
  isIndexed(): boolean;
  /** How often a shard of this pod was given away or read again. */
  changes(): number;
}

export type Acts = ReturnType<typeof createActs>;

const askMs = 4000;
/** A peer says how far it is after so long at the latest. */
const answerMs = 3000;
/** Whoever asked over HTTP is answered within this and `askMs`. */
const waitMs = 8000;
const pollMs = 250;
/** Shards that are just taken over are waited for so long, then acted on as far as they are known. */
const indexMs = 60_000;
const indexPollMs = 50;
/** Entries worked on at a time: loads, reports and deletions share the spool with the mail. */
const atATime = 64;
/** Looked at before others get their turn. */
const sliceEntries = 1000;
const maxJobs = 8;
const keepMs = 600_000;

const onward = { kind: "act-progress", query: {} } as const;

interface Job {
  looked: number;
  total: number;
  affected: number;
  isInterrupted: boolean;
  endedAt: number | undefined;
  ended: Promise<void>;
}

export function createActs({ pod, peers, deliver, parked, unsplit, purging, isIndexed, changes }: ActsDeps) {
  const { scheduler, clock } = pod;
  const jobs = new Map<string, Job>();

  const actOn = async (action: ActionName, query: QueueQuery, handle: number): Promise<boolean> => {
    const queued = scheduler.entryOf(handle);
    if (queued === undefined || queued.state === "inflight") return false;
    if (!pod.ownership.mayProceed(queued.entry.shard)) return false;
    if (action === "retry" && query.domain === undefined && !mayBeForLater(queued, query)) {
      if (queued.state === "waiting") scheduler.requeue(handle, clock.now());
      return true;
    }
    if (action === "discard") return deliver.discard(handle);
    return action === "retry" ? deliver.retry(handle, query) : deliver.bounce(handle, query);
  };

  /**
   * The index does not tell mail for later (X-Send-At) from other mail that waits; its envelope does. What was attempted twice is none; one
   * attempt is also said of mail some of whose recipients were bounced before its time.
   */
  const mayBeForLater = ({ state, entry }: Omit<ListedEntry, "handle">, { id }: QueueQuery): boolean =>
    id === undefined && state === "waiting" && entry.attempt <= 1 && entry.due > clock.now();

  const newlyOf = (whole: readonly Unsplit[], all: readonly number[], known: readonly number[]): number[] => {
    const isKnown = new Set(known);
    const messages = new Set(whole.map(({ idHash }) => idHash));
    const isPart = (handle: number): boolean =>
      messages.has(scheduler.entryOf(handle)?.entry.idHash ?? Number.NaN);
    return all.filter((handle) => !isKnown.has(handle) && isPart(handle));
  };

  const oneByOne = async <T>(
    job: Job,
    handles: readonly T[],
    act: (handle: T) => Promise<boolean>,
  ): Promise<void> => {
    let next = 0;
    const worker = async (): Promise<void> => {
      while (next < handles.length) {
        const handle = handles[next++];
        if (handle !== undefined && (await act(handle))) job.affected++;
        if (++job.looked % sliceEntries !== 0) continue;
        deliver.pump();
        await new Promise((resolve) => setImmediate(resolve));
      }
    };
    await Promise.all(Array.from({ length: atATime }, worker));
  };

  const work = async (job: Job, action: ActionName, query: QueueQuery): Promise<void> => {
    const before = changes();
    const until = clock.monotonic() + indexMs;
    while (!isIndexed() && clock.monotonic() < until)
      await new Promise((resolve) => setTimeout(resolve, indexPollMs));
    const selector = selectorOf(pod, query);
    const queued = (): readonly number[] =>
      query.id === undefined
        ? scheduler.handles(selector)
        : scheduler.withIdHash(idHashOf(query.id), selector).map(({ handle }) => handle);
    let handles = queued();
    const aside = parked.list(query);
    const whole = unsplit.list(query);
    job.total = handles.length + aside.length + whole.length;
    for (const entry of aside) {
      if (await parked.act(action, entry, query)) job.affected++;
      job.looked++;
    }
    await oneByOne(job, whole, async (parent) => {
      const { isAffected, isPassedOver } = await unsplit.act(action, parent, query);
      job.isInterrupted ||= isPassedOver;
      return isAffected;
    });
    // What came of them meanwhile as well, and not what was taken in since.
    const come = whole.length === 0 ? [] : newlyOf(whole, queued(), handles);
    handles = [...handles, ...come];
    job.total += come.length;
    if (action === "discard" && selector.tenant !== undefined && selector.site === undefined) {
      const { together, single } = await purging.sort(handles);
      await oneByOne(job, single, (handle) => actOn(action, query, handle));
      handles = await purging.purge(selector.tenant, together);
      const gone = together.length - handles.length;
      job.looked += gone;
      job.affected += gone;
    }
    await oneByOne(job, handles, (handle) => actOn(action, query, handle));
    job.isInterrupted ||= changes() !== before;
    job.endedAt = clock.monotonic();
    deliver.pump();
  };

  const begin = (name: string, action: ActionName, query: QueueQuery): Job => {
    const known = jobs.get(name);
    if (known !== undefined) return known;
    for (const [other, { endedAt }] of jobs)
      if (endedAt !== undefined && clock.monotonic() - endedAt > keepMs) jobs.delete(other);
    const running = [...jobs.values()].filter(({ endedAt }) => endedAt === undefined).length;
    if (running >= maxJobs) throw new Error(`Cannot ${action}: expected at most ${maxJobs} acts at a time`);
    const none = { looked: 0, total: 0, affected: 0, isInterrupted: false };
    const job: Job = { ...none, endedAt: undefined, ended: Promise.resolve() };
    jobs.set(name, job);
    job.ended = work(job, action, query).catch((error: unknown) => {
      job.endedAt = clock.monotonic();
      pod.log.error("act failed", { action, error: String(error) });
    });
    return job;
  };

  /** `heard`: what each pod has said of it so far; one that misses a question is asked again, one that goes is not forgotten. */
  const gathered = async (
    name: string,
    { kind, query }: { readonly kind: string; readonly query: object },
    heard = new Map<string, Progress>(),
  ): Promise<ActAnswer> => {
    const answers = await peers.ask(kind, { job: name, ...query }, askMs);
    const answered = new Set<string>();
    for (const { pod: from, answer } of answers) {
      // Started again meanwhile, it knows of nothing: as gone as one that does not come back.
      if (answer === null) continue;
      answered.add(from);
      heard.set(from, answer as Progress);
    }
    const said = [...heard.values()];
    const sum = (of: (progress: Progress) => number) => said.reduce((total, one) => total + of(one), 0);
    const open = [...heard].filter(([, { isDone }]) => !isDone).map(([from]) => from);
    const missing = new Set(silentOf(pod, answers));
    const mute = [...missing].filter((from) => heard.get(from)?.isDone !== true);
    return {
      job: name,
      looked: sum(({ looked }) => looked),
      total: sum(({ total }) => total),
      affected: sum(({ affected }) => affected),
      isDone: open.every((from) => !answered.has(from) && !missing.has(from)),
      pods: [...heard.keys()],
      silent: [...new Set([...mute, ...open.filter((from) => !answered.has(from))])],
      interrupted: [...heard].filter(([, one]) => one.isInterrupted === true).map(([from]) => from),
    };
  };

  return {
    /** The answer to a peer that begins an act. */
    async beginHere(query: unknown): Promise<Progress> {
      const {
        job: name,
        action,
        selection,
      } = query as {
        job: string;
        action: ActionName;
        selection: QueueQuery;
      };
      const job = begin(name, action, selection);
      await Promise.race([job.ended, new Promise((resolve) => setTimeout(resolve, answerMs).unref())]);
      return progressOf(job);
    },
    /** The answer to a peer that asks on; null = this pod has no part in it. */
    progressHere(query: unknown): Progress | null {
      const job = jobs.get((query as { job: string }).job);
      return job === undefined ? null : progressOf(job);
    },
    async act(action: ActionName, selection: QueueQuery): Promise<ActAnswer> {
      const name = pod.newId();
      const until = clock.monotonic() + waitMs;
      const heard = new Map<string, Progress>();
      let answer = await gathered(name, { kind: "act", query: { action, selection } }, heard);
      while (!answer.isDone && clock.monotonic() < until) {
        await new Promise((resolve) => setTimeout(resolve, pollMs));
        answer = await gathered(name, onward, heard);
      }
      return answer;
    },
    /** How far an act is; null = no pod knows it (any more). */
    async progress(job: string): Promise<ActAnswer | null> {
      const answer = await gathered(job, onward);
      return answer.pods.length === 0 ? null : answer;
    },
  };
}

function progressOf({ looked, total, affected, isInterrupted, endedAt }: Job): Progress {
  return { looked, total, affected, isDone: endedAt !== undefined, isInterrupted };
}
