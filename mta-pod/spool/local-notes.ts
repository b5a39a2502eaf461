/** Sequences this process stored and indexed itself, until the tail has passed them. Pure data; never fails. */

export interface LocalNotes {
  add(seq: number): void;
  /** The tail has come to `seq`: was it noted? Forgets all up to it. */
  pass(seq: number): boolean;
  size(): number;
  clear(): void;
}

/**
 * Answers to publishes come nearly in order, so the oldest note is nearly the smallest: forgetting from the front costs
 * O(1) and leaves the odd straggler only until those before it are passed. Entries settled before the tail came to
 * them never arrive there, which is why passing one forgets all below.
 */
export function createLocalNotes(): LocalNotes {
  const notes = new Set<number>();
  return {
    add: (seq) => {
      notes.add(seq);
    },
    pass(seq) {
      const noted = notes.delete(seq);
      for (const oldest of notes) {
        if (oldest > seq) break;
        notes.delete(oldest);
      }
      return noted;
    },
    size: () => notes.size,
    clear: () => notes.clear(),
  };
}
