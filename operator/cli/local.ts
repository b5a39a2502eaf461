/** `mailboat local`: everything on this machine, no cluster. Reads the options; operator/local does the rest. */
import type { Command } from "commander";
import { CommandError, wholeNumber, type CommandIo } from "./command-io.ts";

interface LocalCommandOptions {
  readonly file?: string[];
  readonly pods?: string;
  readonly state: string;
  readonly bind: string;
  readonly nats?: string;
  readonly demo?: boolean;
  readonly json?: boolean;
  readonly smtpPort: string;
  readonly submissionPort: string;
  readonly submissionsPort: string;
  readonly httpPort: string;
  readonly adminPort: string;
  readonly metricsPort: string;
  readonly resolver?: string[];
}

export function addLocalCommand(program: Command, io: CommandIo): void {
  program
    .command("local")
    .description(
      "Run Mailboat on this machine without a cluster: resources from files, real pods, a NATS of its own",
    )
    .option(
      "-f, --file <path...>",
      "a YAML file or a folder of them, as kubectl apply takes; may be repeated",
    )
    .option("--pods <n>", "pods of each pool (default: its spec.replicas)")
    .option("--state <dir>", "where the queue, certificates and tokens are kept", ".mailboat")
    .option("--bind <address>", "address to listen on; the admin port stays on loopback", "127.0.0.1")
    .option("--nats <urls>", "use this NATS (servers with commas between them) in place of one of its own")
    .option("--demo", "example resources, a pretend mailbox provider and some mail")
    .option("--resolver <host:port...>", "DNS servers to ask in place of the system's")
    .option("--smtp-port <n>", "SMTP; 0 = any free port, here and below", "2525")
    .option("--submission-port <n>", "submission (STARTTLS)", "2587")
    .option("--submissions-port <n>", "submissions (TLS)", "2465")
    .option("--http-port <n>", "injection over HTTP", "8025")
    .option("--admin-port <n>", "admin over HTTP", "8026")
    .option("--metrics-port <n>", "metrics and health of the first pod; pod i adds i", "9464")
    .option("--json", "print JSON in place of lines for people")
    .action((options: LocalCommandOptions) => runLocalCommand(options, io));
}

async function runLocalCommand(options: LocalCommandOptions, io: CommandIo): Promise<void> {
  const port = (option: string, text: string): number => wholeNumber(option, text, { min: 0, max: 65_535 });
  const pods =
    options.pods === undefined ? undefined : wholeNumber("--pods", options.pods, { min: 1, max: 64 });
  if (options.file === undefined && options.demo !== true)
    throw new CommandError("Cannot start: expected -f FILE, -f DIR or --demo, got none of them", 2);
  const { runLocal } = await import("#operator/local/local.ts");
  const exitCode = await runLocal({
    files: options.file ?? [],
    pods,
    state: options.state,
    bind: options.bind,
    nats: options.nats,
    demo: options.demo === true,
    json: options.json === true,
    resolvers: options.resolver ?? [],
    ports: {
      smtp: port("--smtp-port", options.smtpPort),
      submission: port("--submission-port", options.submissionPort),
      submissions: port("--submissions-port", options.submissionsPort),
      http: port("--http-port", options.httpPort),
      admin: port("--admin-port", options.adminPort),
      metrics: port("--metrics-port", options.metricsPort),
    },
    print: io.print,
    complain: io.complain,
  });
  io.setExitCode(exitCode);
}
