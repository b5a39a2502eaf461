/**
 * A tenant's limit of queued messages as a ledger that the pods of a pool change in turns: what is known to be queued, and what
 * each pod may store besides. Known and grants together never exceed the limit, so what is queued does not. Pure; never fails.
 *
 * What a pod has stored counts under its grant until the pod claims again; then it becomes known. A count of the indexes takes
 * the place of what is known when it has come to all of that (`marks`): it is lower by what was settled meanwhile.
 */
import { domainOf } from "#mta-pod/smtp/address.ts";

export interface Holder {
  readonly pod: string;
  readonly incarnation: string;
}

export interface Grant extends Holder {
  /** Another one each time it is claimed. */
  readonly number: number;
  /** What the pod may store, and may have stored, since it claimed. */
  readonly most: number;
}

export interface Ledger {
  /** Queued at most, besides what the grants stand for. */
  readonly known: number;
  /** By shard: the last sequence that is among the known. */
  readonly marks: readonly number[];
  readonly grants: readonly Grant[];
}

/** What a pod says of a tenant when it is asked. */
export interface PodCount {
  /** Entries in the index of its shards, and what is set aside or being split there. */
  readonly count: number;
  /** Of each shard that it owns and has wholly indexed: the sequence up to which it has. */
  readonly through: readonly (readonly [shard: number, seq: number])[];
  /** Of each shard: the last sequence that it stored there for the tenant itself. */
  readonly marks: readonly (readonly [shard: number, seq: number])[];
}

export interface Claim {
  readonly self: Holder;
  readonly limit: number;
  readonly shards: number;
  /** Living pods, 1 at least. */
  readonly pods: number;
  /** Messages that wait for room: of all of them, and of the first one. */
  readonly wanted: number;
  readonly first: number;
  /** Stored since the claim before, up to the moment of `marks`. */
  readonly stored: number;
  /** Granted before, and still unused, under way, or stored since that moment. */
  readonly kept: number;
  /** Of this pod, by shard. */
  readonly marks: ReadonlyMap<number, number>;
  /** What the pods answered; undefined = they were not asked. */
  readonly counts: readonly PodCount[] | undefined;
  /** The store may have been set back: what the ledger says of sequences is void. */
  readonly isRestored: boolean;
  /** Nothing can come of the grant any more. Only asked when there is a whole count. */
  isOver(grant: Grant): boolean;
}

export type Claimed =
  /** Nobody knows what is queued. */
  | { readonly kind: "unknown" }
  | {
      readonly kind: "claimed";
      readonly ledger: Ledger;
      /** Free for this pod on top of what it keeps. */
      readonly block: number;
      /** Granted to this pod now, with what it keeps. */
      readonly most: number;
      /** How much the limit leaves, negative when it was lowered. */
      readonly free: number;
      /** The pods' answers made a whole count. False, or others share what is free: asking again may find more. */
      readonly isWhole: boolean;
      readonly isShared: boolean;
      /** Whether the ledger is another than it was. */
      readonly isNews: boolean;
    };

/** A message may become an entry per site, hence per domain; one that is larger than the limit has to have it for itself. */
export function weightOf(to: readonly string[], limit: number): number {
  if (to.length < 2) return 1;
  return Math.min(new Set(to.map(domainOf)).size, limit);
}

/** A pod takes at most this part of what is free, over the number of pods. */
const blockShare = 1 / 2;
const maxBlock = 10_000;

/** One pod's turn. `ledger` = as it stands, undefined = there is none yet. */
export function claim(ledger: Ledger | undefined, by: Claim): Claimed {
  const marks = Array.from({ length: by.shards }, (_, shard) =>
    Math.max(by.isRestored ? 0 : (ledger?.marks[shard] ?? 0), by.marks.get(shard) ?? 0),
  );
  const counted = by.counts === undefined ? undefined : wholeCount(by.counts, marks);
  const known = counted ?? (ledger === undefined ? undefined : ledger.known + by.stored);
  if (known === undefined) return { kind: "unknown" };
  const own = ledger?.grants.find((grant) => isOf(grant, by.self));
  const others = (ledger?.grants ?? []).filter(
    (grant) => !isOf(grant, by.self) && !(counted !== undefined && by.isOver(grant)),
  );
  const granted = sum(others.map(({ most }) => most));
  const free = by.limit - known - granted - by.kept;
  const block = blockOf(free, by);
  const most = by.kept + block;
  const grant = { ...by.self, number: (own?.number ?? 0) + 1, most };
  return {
    kind: "claimed",
    ledger: { known, marks, grants: most > 0 ? [...others, grant] : others },
    block,
    most,
    free,
    isWhole: counted !== undefined,
    isShared: granted > 0,
    isNews: block > 0 || most !== (own?.most ?? 0) || others.length + (own ? 1 : 0) !== ledger?.grants.length,
  };
}

/** As much as was just used up, twice over: a pod that is quick asks seldom, one that is slow holds nothing back from the others. */
function blockOf(free: number, { pods, wanted, first, stored }: Claim): number {
  if (free < first || wanted === 0) return 0;
  const share = Math.floor((free * blockShare) / Math.max(1, pods));
  return Math.max(first, Math.min(wanted + 2 * stored, share, maxBlock));
}

/** Undefined unless every shard is in it, up to whatever is known to be stored there. */
function wholeCount(counts: readonly PodCount[], marks: readonly number[]): number | undefined {
  const needed = [...marks];
  const through = marks.map(() => -1);
  let count = 0;
  for (const one of counts) {
    count += one.count;
    for (const [shard, seq] of one.marks)
      if (shard < needed.length) needed[shard] = Math.max(needed[shard] ?? 0, seq);
    for (const [shard, seq] of one.through)
      if (shard < through.length) through[shard] = Math.max(through[shard] ?? -1, seq);
  }
  return through.every((seq, shard) => seq >= (needed[shard] ?? 0)) ? count : undefined;
}

function isOf(grant: Grant, { pod, incarnation }: Holder): boolean {
  return grant.pod === pod && grant.incarnation === incarnation;
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}

const version = 1;

/** @example textOf({ known: 3, marks: [7], grants: [] }) === "[1,3,[7],[]]" */
export function textOf({ known, marks, grants }: Ledger): string {
  const rows = grants.map(({ pod, incarnation, number, most }) => [pod, incarnation, number, most]);
  return JSON.stringify([version, known, marks, rows]);
}

/** Undefined for what cannot be read: then all is counted anew. */
export function ledgerOf(text: string | undefined): Ledger | undefined {
  if (text === undefined) return undefined;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (!Array.isArray(value) || value[0] !== version) return undefined;
  const [, known, marks, rows] = value as unknown[];
  if (!isCount(known) || !Array.isArray(marks) || !marks.every(isCount) || !Array.isArray(rows))
    return undefined;
  const grants = rows.map(grantOf);
  return grants.every((grant) => grant !== undefined) ? { known, marks, grants } : undefined;
}

function grantOf(row: unknown): Grant | undefined {
  if (!Array.isArray(row)) return undefined;
  const [pod, incarnation, number, most] = row as unknown[];
  const isGrant =
    typeof pod === "string" && typeof incarnation === "string" && isCount(number) && isCount(most);
  return isGrant ? { pod, incarnation, number, most } : undefined;
}

/** Of another pod's, as it was told; undefined for what is none. */
export function podCountOf(answer: unknown): PodCount | undefined {
  if (typeof answer !== "object" || answer === null) return undefined;
  const { count, through, marks } = answer as Record<string, unknown>;
  return isCount(count) && arePlaces(through) && arePlaces(marks) ? { count, through, marks } : undefined;
}

function arePlaces(value: unknown): value is (readonly [number, number])[] {
  return (
    Array.isArray(value) && value.every((one) => Array.isArray(one) && isCount(one[0]) && isCount(one[1]))
  );
}

function isCount(value: unknown): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0;
}
