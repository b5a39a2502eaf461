/**
 * What one owner of a shard leaves to the next, as JSON in the lease (decisions.md 12). Times travel as what is left of them, so
 * that the pods' clocks need not agree: the successor waits a little longer, never shorter. Pure; unreadable = undefined.
 */
import { z } from "zod";
import { budgetKinds } from "./schedule/site-budgets.ts";
import type { BudgetKind, SiteHandover, SpentBudget, SpentBudgets } from "./schedule/types.ts";
import type { Identity } from "./spool/lease-record.ts";

/** Sites and sequences beyond these are left out: the lease key is read by every pod. */
const maxSites = 500;
const maxInFlight = 5000;
/** Over all sites; tenants and sender domains beyond these are taken to have spent what they may. */
const maxBudgets = 1000;
/** The longest name is that of a site beside a provider's: two names of rules, of up to 380 characters each. */
const maxText = 1024;
/** A shard that goes on so often within a reply's time is not what limits are lost by, nor one that more pods are guests of. */
const maxFormer = 32;

const count = z.number().int().min(0).max(1_000_000);
/** One a day is the slowest rate; a suspicion goes along for as long. */
const longestMs = 86_400_000;
const leftMs = z.number().min(0).max(longestMs);
const source = z.object({
  source: z.string().max(maxText),
  open: count,
  // Records of an earlier release have none.
  lingering: count.default(0),
  lingeringMs: leftMs.default(0),
  window: count,
  pausedMs: leftMs,
  messageMs: leftMs,
  connectionMs: leftMs,
});
const budget = z.object({
  // One that this release does not know is passed over.
  kind: z.string().max(maxText),
  name: z.string().max(maxText),
  busy: count,
  messageMs: leftMs,
});
const site = z.object({
  site: z.string().max(maxText),
  backoffMs: leftMs,
  sources: z.array(source).max(64),
  // Of releases that do not say: not known.
  budgets: z.array(budget).max(maxBudgets).optional(),
  othersAgoMs: leftMs.optional(),
  anybodys: count.default(0),
});
const sequences = z.array(z.number().int().min(1)).max(maxInFlight);
const former = z.object({
  pod: z.string().max(maxText),
  incarnation: z.string().max(maxText),
  inFlight: sequences,
  sites: z.array(z.string().max(maxText)).max(maxSites),
});
const record = z.object({
  v: z.literal(1),
  // Of releases that do not say: everything is told.
  untoldMs: leftMs.optional(),
  inFlight: sequences,
  sites: z.array(site).max(maxSites),
  // Of releases that tell of themselves only: none.
  former: z.array(former).max(maxFormer).default([]),
  suspicion: z.object({ agoMs: leftMs, leftMs, noted: sequences }).optional(),
});

export type HandOverRecord = z.infer<typeof record>;

/** What was queued at an owner's death is suspected of it, until it has had its turn (poison.ts); of each lane the first as long as it lasts. */
export interface Suspicion {
  /** When the shard was taken from the dead. */
  readonly takenAt: number;
  /** So long all of it is suspected. */
  readonly until: number;
  /** Sequences that the owner since then has noted as begun: not a death, as long as it lives. */
  readonly noted: ReadonlySet<number>;
}

/** Who had the shard before and is not through, or is a guest at one of its sites: the next owner has to ask it as well. */
export interface FormerOwner extends Identity {
  readonly inFlight: readonly number[];
  /** With connections that it may have open. */
  readonly sites: readonly string[];
}

export interface HandedOver {
  readonly inFlight: readonly number[];
  readonly sites: readonly SiteHandover[];
  /** At sites that are not named somebody may have sent as late as then; absent = nobody who matters. */
  readonly untoldSince?: number | undefined;
  /** Absent = nobody before is still at it. */
  readonly former?: readonly FormerOwner[];
  /** Absent = nothing is suspected. */
  readonly suspicion?: Suspicion | undefined;
}

export function encodeHandOver(handedOver: HandedOver, now: number): HandOverRecord {
  const { inFlight, sites, untoldSince, former = [], suspicion } = handedOver;
  const left = (at: number): number => Math.min(longestMs, Math.max(0, Math.ceil(at - now)));
  const told = sites.map((one) => ({
    site: one.site,
    budgets: one.budgets,
    backoffMs: left(one.backoffUntil),
    sources: one.sources.map((spent) => ({
      source: spent.source,
      open: spent.open + (spent.former ?? 0),
      lingering: spent.lingering ?? 0,
      lingeringMs: left(spent.lingeringUntil ?? 0),
      window: spent.window ?? 0,
      pausedMs: left(spent.pausedUntil),
      messageMs: left(spent.nextMessageAt),
      connectionMs: left(spent.nextConnectionAt),
    })),
  }));
  const budgetsOf = budgetEncoder(now);
  // Those with connections first: what is left out is learnt anew at most, but a connection must be counted.
  const weight = ({ sources }: (typeof told)[number]): number =>
    sources.reduce((sum, { open }) => sum + open, 0);
  const untoldMs = told.length > maxSites ? 0 : Math.max(0, now - (untoldSince ?? 0));
  return {
    v: 1,
    // A longer time than the slowest rate's interval is as good as told.
    ...(untoldMs < longestMs ? { untoldMs: Math.floor(untoldMs) } : {}),
    inFlight: inFlight.slice(0, maxInFlight),
    sites: told
      .toSorted((a, b) => weight(b) - weight(a))
      .slice(0, maxSites)
      .map(({ budgets, ...one }) => ({ ...one, ...budgetsOf(budgets) })),
    ...(suspicion === undefined || now - suspicion.takenAt > longestMs
      ? {}
      : {
          suspicion: {
            agoMs: Math.max(0, now - suspicion.takenAt),
            leftMs: left(suspicion.until),
            // What was noted long ago is mostly at its end.
            noted: [...suspicion.noted].slice(-maxInFlight),
          },
        }),
    former: byOwner(former)
      .slice(0, maxFormer)
      .map(({ inFlight, sites, ...owner }) => ({
        ...owner,
        inFlight: inFlight.slice(0, maxInFlight),
        sites: sites.slice(0, maxSites),
      })),
  };
}

function byOwner(former: readonly FormerOwner[]): FormerOwner[] {
  const known = new Map<string, FormerOwner>();
  for (const { pod, incarnation, inFlight, sites } of former) {
    const key = `${pod} ${incarnation}`;
    const before = known.get(key);
    known.set(key, {
      pod,
      incarnation,
      inFlight: [...new Set([...(before?.inFlight ?? []), ...inFlight])],
      sites: [...new Set([...(before?.sites ?? []), ...sites])],
    });
  }
  return [...known.values()];
}

type ToldBudgets = Pick<HandOverRecord["sites"][number], "budgets" | "othersAgoMs" | "anybodys">;

/** Those in use first, then those that have to wait for longest; what is left out is told to have been spent now. */
function budgetEncoder(now: number): (budgets: SpentBudgets | undefined) => ToldBudgets {
  let room = maxBudgets;
  return (budgets) => {
    if (budgets === undefined) return { anybodys: 0 };
    const { told, othersSpentAt, anybodys = 0 } = budgets;
    const kept = told.toSorted((a, b) => b.busy - a.busy || b.nextMessageAt - a.nextMessageAt).slice(0, room);
    room -= kept.length;
    const agoMs = kept.length < told.length ? 0 : Math.max(0, Math.floor(now - (othersSpentAt ?? 0)));
    const leftOut =
      told.reduce((sum, { busy }) => sum + busy, 0) - kept.reduce((sum, { busy }) => sum + busy, 0);
    return {
      budgets: kept.map(({ kind, name, busy, nextMessageAt }) => ({
        kind,
        name,
        busy,
        messageMs: Math.min(longestMs, Math.max(0, Math.ceil(nextMessageAt - now))),
      })),
      ...(agoMs < longestMs ? { othersAgoMs: agoMs } : {}),
      anybodys: anybodys + leftOut,
    };
  };
}

function decodeBudgets(
  { budgets, othersAgoMs, anybodys }: ToldBudgets,
  now: number,
): SpentBudgets | undefined {
  if (budgets === undefined) return undefined;
  const told = budgets.flatMap(({ kind, name, busy, messageMs }): SpentBudget[] =>
    isBudgetKind(kind) ? [{ kind, name, busy, nextMessageAt: messageMs === 0 ? 0 : now + messageMs }] : [],
  );
  return {
    told,
    ...(othersAgoMs === undefined ? {} : { othersSpentAt: now - othersAgoMs }),
    ...(anybodys > 0 ? { anybodys } : {}),
  };
}

function optionalBudgets(budgets: SpentBudgets | undefined): { readonly budgets?: SpentBudgets } {
  return budgets === undefined ? {} : { budgets };
}

function isBudgetKind(text: string): text is BudgetKind {
  return budgetKinds.some((kind) => kind === text);
}

export function decodeHandOver(value: unknown, now: number): HandedOver | undefined {
  const parsed = record.safeParse(value);
  if (!parsed.success) return undefined;
  const sites = parsed.data.sites.map((one) => ({
    site: one.site,
    backoffUntil: one.backoffMs === 0 ? 0 : now + one.backoffMs,
    ...optionalBudgets(decodeBudgets(one, now)),
    sources: one.sources.map((spent) => ({
      source: spent.source,
      open: spent.open,
      ...(spent.lingering > 0 && spent.lingeringMs > 0
        ? { lingering: spent.lingering, lingeringUntil: now + spent.lingeringMs }
        : {}),
      ...(spent.window > 0 ? { window: spent.window } : {}),
      pausedUntil: spent.pausedMs === 0 ? 0 : now + spent.pausedMs,
      nextMessageAt: now + spent.messageMs,
      nextConnectionAt: now + spent.connectionMs,
    })),
  }));
  const { inFlight, untoldMs, former, suspicion } = parsed.data;
  return {
    inFlight,
    sites,
    former,
    ...(untoldMs === undefined ? {} : { untoldSince: now - untoldMs }),
    ...(suspicion === undefined ? {} : { suspicion: suspicionOf(suspicion, now) }),
  };
}

function suspicionOf(told: NonNullable<HandOverRecord["suspicion"]>, now: number): Suspicion {
  return { takenAt: now - told.agoMs, until: now + told.leftMs, noted: new Set(told.noted) };
}
