/** `mailboat validate`: admission's and the compiler's checks without a cluster; exit code 1 when something is refused. */
import type { Command } from "commander";
import { CommandError, type CommandIo } from "./command-io.ts";
import { runValidate } from "./validate.ts";

interface ValidateCommandOptions {
  readonly file?: string[];
  readonly json?: boolean;
  readonly withoutSecrets?: boolean;
}

export function addValidateCommand(program: Command, io: CommandIo): void {
  program
    .command("validate")
    .description("Check resources offline, as admission and the compiler would: for CI and pre-commit")
    .option("-f, --file <path...>", "a YAML file or a folder of them; may be repeated")
    .option("--without-secrets", "missing Secrets are notes: they come from elsewhere")
    .option("--json", "print the result as JSON")
    .action(async (options: ValidateCommandOptions) => {
      if (options.file === undefined)
        throw new CommandError("Cannot validate: expected -f FILE or -f DIR, got none", 2);
      const withoutSecrets = options.withoutSecrets === true;
      io.setExitCode(
        await runValidate({
          files: options.file,
          json: options.json === true,
          withoutSecrets,
          out: io.print,
        }),
      );
    });
}
