/**
 * Deletes entries of one bundle together, by one purge, while there are many to delete: an entry waits a few milliseconds
 * for others of its subject. Few, alone, or anything unclear: one by one (`deletions.ts`), again and again until done.
 */
import { callApi } from "./api.ts";
import type { Bundles } from "./bundles.ts";
import type { Spool } from "./connection.ts";
import type { Deletion, Deletions, Removed } from "./deletions.ts";
import type { Cancel } from "./timers.ts";

interface BundledDeletion extends Deletion {
  readonly shard: number;
  readonly subject: string;
}

export interface BundleDeletions {
  remove(deletion: BundledDeletion, done: (removed: Removed) => void): void;
  /** Asked for and not known to be done, those of `deletions` aside. */
  pending(): number;
  close(): void;
}

interface Leaving {
  readonly deletion: BundledDeletion;
  readonly done: (removed: Removed) => void;
  /** How often it was not among those that could go together. */
  passedOver: number;
}

/** An entry is open until its delete is acknowledged (decisions.md 14): this much longer, in exchange for a third of the server's work. */
const lingerMs = 10;
const fullBundle = 32;
/** Fewer cost less one by one. */
const fewest = 3;
/** The one before it in the bundle may just be on its way out as well. */
const patience = 2;
const windowMs = 100;
/** In a window; below, nobody would come to wait for. */
const busyDeletions = 20;

export function createBundleDeletions(
  spool: Spool,
  { bundles, deletions }: { bundles: Bundles; deletions: Deletions },
): BundleDeletions {
  const now = (): number => spool.options.clock.monotonic();
  const gathered = new Map<string, Leaving[]>();
  let cancelFlush: Cancel | undefined;
  let pending = 0;
  let windowStart = 0;
  let inWindow = 0;
  let isBusy = false;
  let closed = false;

  const countIn = (): boolean => {
    const at = now();
    if (at - windowStart >= windowMs) {
      isBusy = inWindow >= busyDeletions && at - windowStart < 2 * windowMs;
      windowStart = at;
      inWindow = 0;
    }
    inWindow++;
    return isBusy || inWindow > busyDeletions;
  };

  const single = ({ deletion, done }: Leaving, isDoubtful: boolean): void => {
    const { shard, subject, seq } = deletion;
    deletions.remove({ ...deletion, isDoubtful }, (removed) => {
      if (removed === "removed") bundles.removed(shard, subject, [seq]);
      done(removed);
    });
  };

  const alone = (leaving: Leaving, isDoubtful = false): void => {
    pending--;
    single(leaving, isDoubtful);
  };

  const purge = async (leaving: readonly Leaving[], below: number): Promise<void> => {
    const [first] = leaving;
    if (first === undefined) return;
    const { shard, stream, subject } = first.deletion;
    const result = await callApi(spool, {
      subject: `STREAM.PURGE.${stream}`,
      body: { filter: subject, seq: below },
      isUrgent: false,
    });
    // Whether it was done is unknown: each of them is looked at before it is deleted.
    if (result.kind !== "ok") return leaving.forEach((one) => alone(one, true));
    const seqs = leaving.map(({ deletion }) => deletion.seq);
    bundles.removed(shard, subject, seqs);
    for (const { done } of leaving) {
      pending--;
      done("removed");
    }
  };

  const send = (subject: string, leaving: readonly Leaving[]): void => {
    gathered.delete(subject);
    const shard = leaving[0]?.deletion.shard ?? 0;
    const { below, seqs } = bundles.together(
      shard,
      subject,
      leaving.map(({ deletion }) => deletion.seq),
    );
    const going = new Set(seqs.length < fewest ? [] : seqs);
    // Not by sequence alone: an index that is read again may ask for what is on its way out already.
    const isGoing = ({ deletion }: Leaving): boolean => going.has(deletion.seq);
    if (going.size > 0) void purge(leaving.filter(isGoing), below);
    const left: Leaving[] = [];
    for (const one of leaving)
      if (isGoing(one)) continue;
      else if (++one.passedOver > patience || closed) alone(one);
      else left.push(one);
    if (left.length > 0) gathered.set(subject, left);
  };

  const flush = (): void => {
    cancelFlush = undefined;
    for (const [subject, leaving] of Array.from(gathered)) send(subject, leaving);
    if (gathered.size > 0) cancelFlush ??= spool.timers.after(lingerMs, flush);
  };

  return {
    remove(deletion, done) {
      const leaving = { deletion, done, passedOver: 0 };
      // A purge asks nobody whether the entry is still that one.
      const isDoubtful = deletion.isDoubtful === true;
      if (!countIn() || isDoubtful || closed || !spool.connected()) return single(leaving, isDoubtful);
      pending++;
      const group = gathered.get(deletion.subject) ?? [];
      group.push(leaving);
      gathered.set(deletion.subject, group);
      cancelFlush ??= spool.timers.after(lingerMs, flush);
      if (group.length === fullBundle) send(deletion.subject, group);
      return undefined;
    },
    pending: () => pending,
    close() {
      closed = true;
      cancelFlush?.();
      flush();
    },
  };
}
