/** `mailboat pod`, `mailboat proxy`: one MTA pod or egress proxy as a process of its own, with this terminal's arguments, signals and exit code. */
import { spawn } from "node:child_process";
import { constants } from "node:os";
import { fileURLToPath } from "node:url";
import type { Command } from "commander";
import { stopSignals } from "#operator/local/stop-requests.ts";
import type { CommandIo } from "./command-io.ts";

/** Entries of other programs; a process boundary lies between: commands import nothing of the pod. */
const podMain = fileURLToPath(new URL("../../mta-pod/main.ts", import.meta.url));
const proxyMain = fileURLToPath(new URL("../../mta-pod/proxy-main.ts", import.meta.url));

export function addPodCommand(program: Command, io: CommandIo): void {
  passOn(program.command("pod"), podMain, io)
    .description("Run one MTA pod (what the image of the pods runs); its options are shown by --help")
    .argument("[options...]", "options of the pod, such as --config DIR");
}

export function addProxyCommand(program: Command, io: CommandIo): void {
  passOn(program.command("proxy"), proxyMain, io)
    .description(
      "Run one egress proxy, which pods in mode Proxy send through; its options are shown by --help",
    )
    .argument("[options...]", "options of the proxy, such as --auth-dir DIR");
}

function passOn(command: Command, main: string, io: CommandIo): Command {
  return command
    .helpOption(false)
    .allowUnknownOption()
    .passThroughOptions()
    .action(async (args: string[]) => io.setExitCode(await run(main, args)));
}

function run(main: string, args: readonly string[]): Promise<number> {
  const child = spawn(process.execPath, [main, ...args], { stdio: "inherit" });
  // Ctrl-C reaches the whole group of a terminal, so the pod hears of it twice; it decides when it is drained.
  const pass = (signal: NodeJS.Signals): void => void child.kill(signal);
  for (const signal of stopSignals) process.on(signal, pass);
  return new Promise<number>((resolve, reject) => {
    child.once("error", reject);
    child.once("exit", (code, signal) =>
      resolve(signal === null ? (code ?? 1) : 128 + constants.signals[signal]),
    );
  });
}
