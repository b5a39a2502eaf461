/** Works off a list, a bounded number at a time; a refusal ends what has not begun. */

export interface Bounds {
  readonly atATime: number;
  /** Nothing more begins once it is aborted. */
  readonly signal?: AbortSignal | undefined;
}

/** @throws the first refusal, once all that had begun are over; the signal's reason */
export async function inParallel<Item>(
  items: readonly Item[],
  { atATime, signal }: Bounds,
  work: (item: Item) => Promise<void>,
): Promise<void> {
  const refusals: unknown[] = [];
  const next = items.values();
  const worker = async (): Promise<void> => {
    for (const item of next) {
      signal?.throwIfAborted();
      try {
        await work(item);
      } catch (error) {
        refusals.push(error);
      }
      if (refusals.length > 0) return;
    }
  };
  await Promise.all(Array.from({ length: Math.min(atATime, items.length) }, worker));
  if (refusals.length > 0) throw refusals[0];
}
