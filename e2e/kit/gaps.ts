/** The longest time in which nothing happened. Pure. */

/** @example longestGap([0, 10, 50], { from: 5, to: 60 }) === 40 */
export function longestGap(times: Iterable<number>, { from, to }: { from: number; to: number }): number {
  const inside = [...times].filter((time) => time > from && time < to).sort((a, b) => a - b);
  let last = from;
  let longest = 0;
  for (const time of [...inside, to]) {
    longest = Math.max(longest, time - last);
    last = time;
  }
  return longest;
}
