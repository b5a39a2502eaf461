/** The command line: puts the commands together, runs one, and turns failures into exit codes (0 done, 1 no, 2 wrong usage). */
import { Command, CommanderError } from "commander";
import { CommandError, messageOf, type CommandIo } from "./command-io.ts";
import { addLocalCommand } from "./local.ts";
import { addOperatorCommand } from "./operator.ts";
import { addPodCommand, addProxyCommand } from "./pod.ts";
import { addProviderCommand } from "./provider.ts";
import { addQueueCommands } from "./queue.ts";
import { addSendCommand } from "./send.ts";
import { addSinkCommands } from "./sink.ts";
import { addTopCommand } from "./top.ts";
import { addValidateCommand } from "./validate-command.ts";
import { addWhyCommand } from "./why.ts";

function createProgram(io: CommandIo): Command {
  const program = new Command("mailboat")
    .description("Outbound mail for Kubernetes.")
    .configureOutput({
      writeOut: (text) => io.print(text.trimEnd()),
      writeErr: (text) => io.complain(text.trimEnd()),
    })
    .enablePositionalOptions()
    .exitOverride()
    .addHelpText(
      "after",
      "\nExit codes: 0 done, 1 the answer is no (invalid, not found, not ready), 2 wrong usage.",
    );
  const add = [
    addLocalCommand,
    addPodCommand,
    addProxyCommand,
    addOperatorCommand,
    addValidateCommand,
    addSendCommand,
    addQueueCommands,
    addWhyCommand,
    addTopCommand,
    addSinkCommands,
    addProviderCommand,
  ];
  for (const addCommand of add) addCommand(program, io);
  return program;
}

/** Runs one command line (without node and script); never throws. */
export async function runCommandLine(
  args: readonly string[],
  io: Omit<CommandIo, "setExitCode">,
): Promise<number> {
  let exitCode = 0;
  const program = createProgram({ ...io, setExitCode: (code) => void (exitCode = code) });
  if (args.length === 0) {
    io.complain(program.helpInformation().trimEnd());
    return 2;
  }
  try {
    await program.parseAsync([...args], { from: "user" });
    return exitCode;
  } catch (error) {
    return failureCode(error, io);
  }
}

function failureCode(error: unknown, io: Pick<CommandIo, "complain">): number {
  // Commander has already said what is wrong; help that was asked for is no failure.
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
  io.complain(messageOf(error));
  return error instanceof CommandError ? error.exitCode : 1;
}
