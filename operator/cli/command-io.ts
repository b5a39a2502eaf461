/** What commands print to and how they fail: the one error that ends a command with a message and an exit code. */

/** 1 = the answer is no, 2 = wrong usage. */
export type FailureCode = 1 | 2;

/** Its message is shown as it is, without a stack. */
export class CommandError extends Error {
  readonly exitCode: FailureCode;
  constructor(message: string, exitCode: FailureCode = 1, options?: ErrorOptions) {
    super(message, options);
    this.name = "CommandError";
    this.exitCode = exitCode;
  }
}

export interface CommandIo {
  /** A line to standard output. */
  print(line: string): void;
  /** A line to standard error. */
  complain(line: string): void;
  /** Set by a command that ends with another code than 0. */
  setExitCode(code: number): void;
  readonly isTerminal: boolean;
}

/** @throws CommandError (wrong usage) unless the text is a whole number within the bounds */
export function wholeNumber(option: string, text: string, bounds: { min: number; max: number }): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || value < bounds.min || value > bounds.max)
    throw new CommandError(
      `Cannot read ${option}: expected a whole number of ${bounds.min} to ${bounds.max}, got "${text}"`,
      2,
    );
  return value;
}

/** The text of whatever was thrown, with the reason behind a failed fetch. */
export function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const cause = error.cause instanceof Error ? `: ${error.cause.message || error.cause.name}` : "";
  return `${error.message}${cause}`;
}
