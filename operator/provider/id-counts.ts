/** How often each message arrived for each recipient, and when first and last. Holds millions; pure, time is an argument. */

export interface IdCount {
  readonly id: string;
  readonly recipient: string;
  readonly count: number;
  /** Milliseconds since 1970. */
  readonly firstAt: number;
  readonly lastAt: number;
}

export interface IdCounts {
  /** @returns how often the message has arrived for the recipient by now, this time included. */
  add(id: string, recipient: string, at: number): number;
  get(id: string, recipient: string): IdCount | undefined;
  /** Different pairs of id and recipient. */
  unique(): number;
  /** Pairs that arrived more than once. */
  repeated(): number;
  /** The pairs that arrived more than once, at most `limit` of them. */
  repeats(limit: number): IdCount[];
  entries(): IterableIterator<IdCount>;
}

/** One Map entry and 20 bytes of columns a pair. */
export function createIdCounts(): IdCounts {
  const rows = new Map<string, number>();
  let counts = new Uint32Array(1024);
  let times = new Float64Array(2048);
  const repeatedKeys = new Set<string>();
  const grow = (): void => {
    const more = new Uint32Array(counts.length * 2);
    more.set(counts);
    counts = more;
    const moreTimes = new Float64Array(times.length * 2);
    moreTimes.set(times);
    times = moreTimes;
  };
  const at = (key: string, row: number): IdCount => ({
    id: key.slice(0, key.indexOf(" ")),
    recipient: key.slice(key.indexOf(" ") + 1),
    count: counts[row] ?? 0,
    firstAt: times[row * 2] ?? 0,
    lastAt: times[row * 2 + 1] ?? 0,
  });
  const get = (key: string): IdCount | undefined => {
    const row = rows.get(key);
    return row === undefined ? undefined : at(key, row);
  };
  return {
    add(id, recipient, now) {
      const key = keyOf(id, recipient);
      let row = rows.get(key);
      if (row === undefined) {
        row = rows.size;
        if (row === counts.length) grow();
        rows.set(key, row);
        times[row * 2] = now;
      } else repeatedKeys.add(key);
      times[row * 2 + 1] = now;
      const count = (counts[row] ?? 0) + 1;
      counts[row] = count;
      return count;
    },
    get: (id, recipient) => get(keyOf(id, recipient)),
    unique: () => rows.size,
    repeated: () => repeatedKeys.size,
    repeats: (limit) =>
      [...repeatedKeys].slice(0, limit).flatMap((key) => {
        const found = get(key);
        return found === undefined ? [] : [found];
      }),
    *entries() {
      for (const [key, row] of rows) yield at(key, row);
    },
  };
}

/** Ids hold no space once theirs are replaced, so the first space parts the two. Joined at once, never kept as a rope. */
function keyOf(id: string, recipient: string): string {
  return Buffer.from(`${id.replaceAll(" ", "_")} ${recipient.toLowerCase()}`, "utf8").toString("utf8");
}
