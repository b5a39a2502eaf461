/** A command of `mailboat` in this process: its exit code and what it said. */
import { runCommandLine } from "#operator/cli/program.ts";

export interface Outcome {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** @example const { code, out } = await mailboat("top", "--once", "--state", folder); */
export async function mailboat(...args: string[]): Promise<Outcome> {
  const out: string[] = [];
  const err: string[] = [];
  const code = await runCommandLine(args, {
    print: (line) => void out.push(line),
    complain: (line) => void err.push(line),
    isTerminal: false,
  });
  return { code, out: out.join("\n"), err: err.join("\n") };
}
