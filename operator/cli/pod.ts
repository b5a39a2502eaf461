/** `mailboat pod`: one MTA pod as a process of its own, with this terminal's arguments, signals and exit code. */
import { spawn } from "node:child_process";
import { constants } from "node:os";
import { fileURLToPath } from "node:url";
import type { Command } from "commander";
import type { CommandIo } from "./command-io.ts";

/** The pod's entry; a process boundary lies between: commands import nothing of the pod. */
const podMain = fileURLToPath(new URL("../../mta-pod/main.ts", import.meta.url));

export function addPodCommand(program: Command, io: CommandIo): void {
  program
    .command("pod")
    .description("Run one MTA pod (what the image of the pods runs); its options are shown by --help")
    .helpOption(false)
    .allowUnknownOption()
    .passThroughOptions()
    .argument("[options...]", "options of the pod, such as --config DIR")
    .action(async (args: string[]) => io.setExitCode(await runPod(args)));
}

function runPod(args: readonly string[]): Promise<number> {
  const child = spawn(process.execPath, [podMain, ...args], { stdio: "inherit" });
  // Ctrl-C reaches the whole group of a terminal; the pod decides when it is drained.
  const ignore = (): void => {};
  const pass = (signal: NodeJS.Signals): void => void child.kill(signal);
  process.on("SIGINT", ignore).on("SIGTERM", pass).on("SIGHUP", pass);
  return new Promise<number>((resolve, reject) => {
    child.once("error", reject);
    child.once("exit", (code, signal) =>
      resolve(signal === null ? (code ?? 1) : 128 + constants.signals[signal]),
    );
  }).finally(() => {
    process.off("SIGINT", ignore).off("SIGTERM", pass).off("SIGHUP", pass);
  });
}
