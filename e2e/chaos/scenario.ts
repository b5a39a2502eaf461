/** What `npm run chaos` can play: each ends with what it saw and what was wrong with it. Types, and how their page ends. */

export interface ScenarioOptions {
  readonly minutes: number;
  readonly seed: number;
  log(line: string): void;
}

export interface Outcome {
  /** For people, without the verdict. */
  readonly lines: readonly string[];
  /** For programs. */
  readonly figures: Readonly<Record<string, unknown>>;
  /** What was shown, in one sentence. */
  readonly shown: string;
  /** Why it was not; empty = it was. */
  readonly wrong: readonly string[];
}

export function verdictOf({ shown, wrong }: Pick<Outcome, "shown" | "wrong">): string {
  return wrong.length === 0 ? `shown: ${shown}` : `NOT shown: ${wrong.join("; ")}`;
}
