/**
 * Which stored entries share a subject, and which of them one purge may take: never one that nobody asked to delete. It
 * has to be told of every entry of a shard, as its index is; whatever is unknown makes deletes single ones. Pure data.
 */

interface Together {
  /** A purge of the subject below this sequence takes exactly `seqs`. */
  readonly below: number;
  readonly seqs: readonly number[];
}

export interface Bundles {
  /** An entry is stored, whether or not it can be read. */
  given(shard: number, subject: string, seq: number): void;
  /** From now on every entry of the shard up to `passed()` has been given. */
  indexed(shard: number, passed: () => number): void;
  /** The shard is another pod's, or will be read again. */
  forget(shard: number): void;
  /** Of `seqs`, to be deleted: those that one purge takes without any other. Ascending. */
  together(shard: number, subject: string, seqs: readonly number[]): Together;
  /** They are deleted. */
  removed(shard: number, subject: string, seqs: readonly number[]): void;
  /** Everything up to `upTo` under subjects that begin so is deleted. */
  purged(shard: number, subjectStart: string, upTo: number): void;
}

interface Shard {
  passed: (() => number) | undefined;
  /** Stored entries by subject; at most a bundle each. */
  readonly open: Map<string, number[]>;
}

const nothing: Together = { below: 0, seqs: [] };
/** Of an entry's subject with a bundle: `mb.<pool>.<shard>.q.<tenant>.<site>.<o or x>.<bundle>`. */
const bundleDots = 7;

export function createBundles(): Bundles {
  const shards = new Map<number, Shard>();
  return {
    given(shard, subject, seq) {
      const known = shards.get(shard) ?? { passed: undefined, open: new Map<string, number[]>() };
      shards.set(shard, known);
      const seqs = known.open.get(subject);
      if (seqs !== undefined) {
        if (!seqs.includes(seq)) seqs.push(seq);
      } else if (dotsIn(subject) === bundleDots) known.open.set(subject, [seq]);
    },
    indexed(shard, passed) {
      const known = shards.get(shard) ?? { passed, open: new Map<string, number[]>() };
      known.passed = passed;
      shards.set(shard, known);
    },
    forget: (shard) => void shards.delete(shard),
    together(shard, subject, seqs) {
      const known = shards.get(shard);
      const open = known?.open.get(subject);
      if (open === undefined || known?.passed === undefined) return nothing;
      const wanted = new Set(seqs);
      let below = known.passed() + 1;
      for (const seq of open) if (seq < below && !wanted.has(seq)) below = seq;
      const taken = open.filter((seq) => seq < below && wanted.has(seq)).sort((a, b) => a - b);
      const last = taken.at(-1);
      return last === undefined ? nothing : { below: last + 1, seqs: taken };
    },
    removed(shard, subject, seqs) {
      const known = shards.get(shard);
      const open = known?.open.get(subject);
      if (known === undefined || open === undefined) return;
      const gone = new Set(seqs);
      const left = open.filter((seq) => !gone.has(seq));
      if (left.length === 0) known.open.delete(subject);
      else known.open.set(subject, left);
    },
    purged(shard, subjectStart, upTo) {
      const open = shards.get(shard)?.open;
      for (const [subject, seqs] of open ?? []) {
        if (!subject.startsWith(subjectStart)) continue;
        const left = seqs.filter((seq) => seq > upTo);
        if (left.length === 0) open?.delete(subject);
        else open?.set(subject, left);
      }
    },
  };
}

function dotsIn(text: string): number {
  let count = 0;
  for (let at = text.indexOf("."); at >= 0; at = text.indexOf(".", at + 1)) count++;
  return count;
}
