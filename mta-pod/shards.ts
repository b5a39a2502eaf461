/**
 * CORRIDOR: the shards this pod owns. Winning a lease opens the shard's reader, whose entries are indexed; losing it
 * forgets them. Quiesces a shard before it is handed over. Knows nothing of mail.
 */
import { formatIssue } from "#crds/values/issue.ts";
import type { Envelope } from "#crds/wire/envelope.ts";
import type { StateRecord } from "#crds/wire/state-record.ts";
import type { Deliver } from "./deliver.ts";
import type { StoredAt } from "./intake.ts";
import type { ParkedEntry } from "./poison.ts";
import type { Log } from "./runtime/log.ts";
import { type Arrival, type Arrivals, openArrivals } from "./spool/arrivals.ts";
import type { Bundles } from "./spool/bundles.ts";
import type { Spool } from "./spool/connection.ts";
import type { SettledLog } from "./spool/settled-log.ts";
import { openShard, type ShardReader } from "./spool/shard-reader.ts";

interface Owned {
  readonly leaseSeq: number;
  readonly arrivals: Arrivals;
  readonly states: Map<number, StateRecord>;
  reader: ShardReader;
  indexed: boolean;
  /** Being handed over: not to be read again. */
  retired: boolean;
}

export interface ShardsDeps {
  readonly spool: Spool;
  readonly log: Log;
  readonly bundles: Bundles;
  readonly settledLog: Pick<SettledLog, "caughtUp">;
  deliver(): Deliver;
  /** Entries of the shard in the index or being split, those under way included. */
  sizeOf(shard: number): number;
  /** Whether the entry is one of those. */
  knows(shard: number, seq: number): boolean;
  /** A stored entry that cannot be read: kept in sight, in no index. */
  damaged(shard: number, seq: number, what: Pick<ParkedEntry, "id" | "subject" | "reason">): void;
  /** The shard's stream has lost our epoch: nothing is read before there is a new one. */
  epochLost(shard: number, leaseSeq: number): void;
  /** All of the shard is read again: what was told of it is void. */
  reset(shard: number): void;
}

export interface Shards {
  owned(shard: number, leaseSeq: number): void;
  lost(shard: number, reason: string): void;
  /** The shard will be handed over: nothing of it is read or begun any more, what is in flight goes on. */
  retire(shard: number): void;
  /** This pod stored an entry: indexes it at once when it owns the shard, so that the tail need not bring it. */
  stored(at: StoredAt, envelope: Envelope, body: Buffer): void;
  /** False = bodies of others' mail find no room here for now, and need not be sent. True at the start. */
  wantBodies(wanted: boolean): void;
  reindex(shard: number): void;
  leaseSeqOf(shard: number): number;
  owns(shard: number): boolean;
  isIndexed(): boolean;
  /** How often a shard was given away, or read again: what was known of its entries then is void. */
  changes(): number;
  /** Everything of the shard up to there is or was in the index; undefined = it is not wholly read, or not ours to count. */
  indexedTo(shard: number): number | undefined;
}

export function createShards(deps: ShardsDeps): Shards {
  const owned = new Map<number, Owned>();
  let wantsBodies = true;
  let changes = 0;

  const drop = (shard: number): void => {
    changes++;
    deps.deliver().drop(shard);
  };

  /** An entry just stored, here or elsewhere, its body at hand: the tail need not bring it. */
  const index = (shard: number, { seq, subject, envelope, body }: Arrival): void => {
    const state = owned.get(shard);
    if (state?.reader.noteLocal(seq) !== true) return;
    deps.bundles.given(shard, subject, seq);
    deps.deliver().add({ shard, seq, subject }, envelope, body === undefined ? {} : { body });
    deps.deliver().pump();
  };

  const open = (shard: number, leaseSeq: number): void => {
    const states = new Map<number, StateRecord>();
    const startedAt = performance.now();
    const current = (): boolean => owned.get(shard)?.states === states;
    const reader = openShard({
      spool: deps.spool,
      shard,
      leaseSeq,
      beforeScan: deps.settledLog.caughtUp,
      handlers: {
        onState: (seq, _stateSeq, record) => void states.set(seq, record),
        onEntry: ({ seq, subject }, envelope) => {
          if (!current()) return;
          deps.bundles.given(shard, subject, seq);
          deps.deliver().add({ shard, seq, subject }, envelope, { state: states.get(seq) });
          deps.deliver().pump();
        },
        onDamaged: ({ seq, subject, id }, issues) => {
          if (!current()) return;
          deps.bundles.given(shard, subject, seq);
          deps.damaged(shard, seq, { id, subject, reason: issues.map(formatIssue).join("; ") });
        },
        onEpochLost: () => {
          if (current()) deps.epochLost(shard, leaseSeq);
        },
        indexSize: () => deps.sizeOf(shard),
        knows: (seq) => deps.knows(shard, seq),
        onIndexed: (count) => {
          const state = owned.get(shard);
          if (state === undefined || !current()) return;
          state.indexed = true;
          states.clear();
          deps.bundles.indexed(shard, () => reader.passed());
          deps.log.info("shard indexed", { shard, count, ms: Math.round(performance.now() - startedAt) });
        },
        onReset: () => {
          const state = owned.get(shard);
          if (state === undefined || !current()) return;
          state.indexed = false;
          states.clear();
          deps.bundles.forget(shard);
          deps.reset(shard);
          drop(shard);
        },
      },
    });
    const arrivals = openArrivals(deps.spool, shard, (arrival) => {
      if (current()) index(shard, arrival);
    });
    if (!wantsBodies) arrivals.pause();
    owned.set(shard, { leaseSeq, arrivals, states, reader, indexed: false, retired: false });
  };

  const close = (shard: number): void => {
    const state = owned.get(shard);
    state?.arrivals.close();
    state?.reader.close();
    deps.bundles.forget(shard);
    owned.delete(shard);
    drop(shard);
  };

  return {
    owned: open,
    lost(shard, reason) {
      deps.log.info("shard lost", { shard, reason });
      close(shard);
    },
    retire(shard) {
      const state = owned.get(shard);
      if (state === undefined) return;
      state.retired = true;
      state.arrivals.close();
      state.reader.close();
      drop(shard);
    },
    stored: ({ shard, seq, subject }, envelope, body) => index(shard, { seq, subject, envelope, body }),
    wantBodies(wanted) {
      wantsBodies = wanted;
      for (const { arrivals, retired } of owned.values())
        if (!wanted) arrivals.pause();
        else if (!retired) arrivals.resume();
    },
    reindex(shard) {
      const state = owned.get(shard);
      if (state === undefined || state.retired) return;
      deps.log.error("index does not match the stream: reading it again", { shard });
      close(shard);
      deps.reset(shard);
      open(shard, state.leaseSeq);
    },
    leaseSeqOf: (shard) => owned.get(shard)?.leaseSeq ?? 0,
    owns: (shard) => owned.has(shard),
    isIndexed: () => [...owned.values()].every(({ indexed }) => indexed),
    changes: () => changes,
    indexedTo(shard) {
      const state = owned.get(shard);
      return state?.indexed === true && !state.retired ? state.reader.passed() : undefined;
    },
  };
}
