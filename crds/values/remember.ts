/** Remembers what a pure function of a text gave, for hot paths that ask the same few texts again. Never fails by itself. */

/**
 * `compute`, remembering at most `max` of its answers (all are forgotten when one more comes) for texts of at most
 * `maxLength` characters, so that hostile input cannot fill memory. An answer of undefined is not remembered.
 * @example const lengthOf = remember({ max: 1000, maxLength: 255 }, (text) => text.length)
 */
export function remember<Value>(
  { max, maxLength }: { max: number; maxLength: number },
  compute: (text: string) => Value,
): (text: string) => Value {
  const answers = new Map<string, Value>();
  return (text) => {
    const known = answers.get(text);
    if (known !== undefined) return known;
    const answer = compute(text);
    if (answer === undefined || text.length > maxLength) return answer;
    if (answers.size >= max) answers.clear();
    answers.set(text, answer);
    return answer;
  };
}
