/** Entry of the `mailboat` program: runs the command line of this process and ends with its exit code. */
import { runCommandLine } from "./program.ts";
import { endAfterSignal } from "./signals.ts";

// A reader that has seen enough (`| head`) is no failure.
process.stdout.on("error", (error: NodeJS.ErrnoException) => process.exit(error.code === "EPIPE" ? 0 : 1));

process.exitCode = await runCommandLine(process.argv.slice(2), {
  print: (line) => void process.stdout.write(`${line}\n`),
  complain: (line) => void process.stderr.write(`${line}\n`),
  isTerminal: process.stdout.isTTY,
});
endAfterSignal();
