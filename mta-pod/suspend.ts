/**
 * CORRIDOR: suspends and resumes tenants, sites and messages in the whole pool: stated once in the spool, taken in by every pod's
 * scheduler, or as the message has its turn. An answer names the pods that had taken it in by then; those that had not will, since it is stored.
 */
import type { Envelope } from "#crds/wire/envelope.ts";
import { covers, isOfMessages, type Selection } from "#crds/wire/selection.ts";
import { type Pod, silentOf } from "./pod.ts";
import { endOf, type MessageHolds } from "./message-holds.ts";
import type { Peers } from "./spool/peers.ts";
import { createSuspensions, type Stated, type Suspension } from "./spool/suspensions.ts";
import type { Spool } from "./spool/connection.ts";

const askMs = 4000;
const applyMs = 3000;
const pollMs = 10;

export interface SuspendDeps {
  readonly pod: Pod;
  readonly spool: Spool;
  readonly peers: Peers;
  readonly holds: MessageHolds;
  pump(): void;
}

/** What the pods of the pool say of a change. */
export interface Applied {
  /** Entries queued in the selection now. */
  readonly affected: number;
  /** Suspensions stated or lifted. */
  readonly suspensions: number;
  /** Pods that had taken it in when this was answered, and those that had not said so. */
  readonly pods: readonly string[];
  readonly pending: readonly string[];
}

export type Suspending = ReturnType<typeof createSuspending>;

export function createSuspending({ pod, spool, peers, holds, pump }: SuspendDeps) {
  const { scheduler, clock } = pod;
  const suspensions = createSuspensions(spool, {
    onSuspended(suspension) {
      const { until } = suspension;
      if (isOfMessages(suspension)) holds.adopt(suspensions.list());
      else scheduler.suspend(laneOf(suspension), until ?? null, clock.now());
      pod.log.info("suspended", { ...selectorOf(suspension), until });
    },
    onLifted(lifted, remaining) {
      if (isOfMessages(lifted)) holds.adopt(remaining);
      else {
        scheduler.resume(laneOf(lifted), clock.now());
        // Narrower ones were lifted with it, but still stand.
        for (const { until, ...one } of remaining)
          if (!isOfMessages(one) && covers(lifted, one))
            scheduler.suspend(laneOf(one), until ?? null, clock.now());
      }
      pod.log.info("resumed", selectorOf(lifted));
      pump();
    },
  });

  const gathered = async (stated: Stated, selection: Selection): Promise<Applied> => {
    if (stated.kind === "unavailable")
      throw new Error("Cannot change suspensions: expected the spool to answer, got nothing; try again");
    const answers = await peers.ask("suspended", { revision: stated.revision, ...selection }, askMs);
    const said = answers.map((one) => ({ pod: one.pod, ...(one.answer as HereAnswer) }));
    const pods = said.filter(({ isApplied }) => isApplied).map((one) => one.pod);
    return {
      affected: said.reduce((sum, { count }) => sum + count, 0),
      suspensions: stated.count,
      pods,
      pending: silentOf(
        pod,
        pods.map((name) => ({ pod: name })),
      ),
    };
  };

  return {
    start: suspensions.start,
    list: suspensions.list,
    /** The answer to a peer: waits until this pod has taken in the change. */
    async here(query: unknown): Promise<HereAnswer> {
      const { revision, ...selection } = query as Selection & { revision: number };
      const until = clock.monotonic() + applyMs;
      while (suspensions.seen() < revision && clock.monotonic() < until)
        await new Promise((resolve) => setTimeout(resolve, pollMs));
      return {
        isApplied: suspensions.seen() >= revision,
        count: scheduler.count(laneOf(selection)),
      };
    },
    /** Mail that is queued and mail that comes, for `forSeconds` or until resumed; of one message until it can be queued no more. Rejects when the spool does not answer. */
    async suspend(selection: Selection, forSeconds?: number): Promise<Applied> {
      const at = clock.now();
      const until = endOf(selection, { at, forSeconds });
      const suspension: Suspension = {
        ...selectorOf(selection),
        ...(until === undefined ? {} : { until }),
        by: pod.name,
        at,
      };
      return gathered(await suspensions.suspend(suspension), selection);
    },
    /** Lifts every suspension within the selection; a wider one goes on. */
    async resume(selection: Selection): Promise<Applied> {
      return gathered(await suspensions.lift(selectorOf(selection)), selection);
    },
    /** The suspension that holds a lane, in words; null = none. */
    describe(
      lane: { readonly tenant: string; readonly site: string },
      message?: Pick<Envelope, "id" | "to">,
    ): string | null {
      const now = clock.now();
      const whole = suspensions
        .list()
        .find((one) => covers(one, lane) && (one.until === undefined || one.until > now));
      const found = whole ?? (message === undefined ? undefined : holds.of({ ...lane, ...message }));
      return found === undefined ? null : describeOf(found);
    },
  };
}

interface HereAnswer {
  readonly isApplied: boolean;
  readonly count: number;
}

function laneOf({ tenant, site }: Selection): { tenant?: string; site?: string } {
  return { ...(tenant === undefined ? {} : { tenant }), ...(site === undefined ? {} : { site }) };
}

function selectorOf(selection: Selection): Pick<Suspension, "tenant" | "site" | "domain" | "id"> {
  const { domain, id } = selection;
  return {
    ...laneOf(selection),
    ...(domain === undefined ? {} : { domain: domain.toLowerCase() }),
    ...(id === undefined ? {} : { id }),
  };
}

function describeOf({ tenant, site, domain, id, until }: Suspension): string {
  const what = [
    ...(id === undefined ? [] : [`message ${id}`]),
    ...(domain === undefined ? [] : [`mail to ${domain}`]),
    ...(tenant === undefined ? [] : [`tenant ${tenant}`]),
    ...(site === undefined ? [] : [`site ${site}`]),
  ];
  const end = until === undefined ? "until resumed" : `until ${new Date(until).toISOString()}`;
  return `a suspension of ${what.length === 0 ? "everything" : what.join(" at ")}, ${end}`;
}
