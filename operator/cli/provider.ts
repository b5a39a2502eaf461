/** `mailboat provider`: the pretend mailbox provider by itself, for CI and for trying things out. Ends by a signal. */
import { readFile } from "node:fs/promises";
import type { Command } from "commander";
import { parse } from "yaml";
import { formatIssue } from "#crds/values/issue.ts";
import { hostPort } from "#operator/local/endpoint.ts";
import type { Provider } from "#operator/provider/provider.ts";
import { noRules, parseRules, type ProviderRules } from "#operator/provider/rules.ts";
import { CommandError, messageOf, wholeNumber, type CommandIo } from "./command-io.ts";
import { untilSignal } from "./signals.ts";

interface ProviderCommandOptions {
  readonly file?: string;
  readonly port: string;
  readonly httpPort?: string;
  readonly bind: string;
  readonly dump?: string;
  readonly idHeader?: string;
  readonly tls?: boolean;
  readonly json?: boolean;
}

const example = `
The rules file (YAML or JSON); the first rule that matches a recipient decides, no rule accepts:
  rules:
  - domains: [slow.example]            # or mailboxes: ["bounce-*@example.net"]
    throttle: {messagesPerSecond: 5, connections: 2}
  - domains: [later.example]
    defer: {times: 2, code: 451, text: "4.3.0 try again later", stage: rcpt}
  - domains: [gone.example]
    bounce: {code: 550, text: "5.1.1 no such user here"}
Also: closeAfter {messages, how}, tarpit {delayMs}, dropAfterDot {times, ratio, record}, hang {stage}, greylist {seconds}.
On the HTTP port: GET /v1/stats, /v1/messages?to=&limit=, /v1/messages/N, /v1/refusals, /v1/ids; PUT /v1/rules; DELETE /v1/messages.`;

export function addProviderCommand(program: Command, io: CommandIo): void {
  program
    .command("provider")
    .description(
      "Run a pretend mailbox provider: it accepts, defers, bounces, throttles... and counts what it got",
    )
    .option("-f, --file <path>", "rules; without, everything is accepted")
    .option("--port <n>", "SMTP port, 0 = any free one", "2599")
    .option("--http-port <n>", "control port, 0 = any free one (default: none)")
    .option("--bind <address>", "address to listen on", "127.0.0.1")
    .option("--dump <file>", "append every message to it (mbox by the ending .mbox, else JSON lines)")
    .option("--id-header <name>", "header whose value identifies a message in the counts")
    .option("--tls", "offer STARTTLS with a certificate made at the start")
    .option("--json", "print the ready line as JSON")
    .addHelpText("after", example)
    .action((options: ProviderCommandOptions) => runProvider(options, io));
}

async function runProvider(options: ProviderCommandOptions, io: CommandIo): Promise<void> {
  const ports = { min: 0, max: 65_535 };
  const port = wholeNumber("--port", options.port, ports);
  const httpPort =
    options.httpPort === undefined ? undefined : wholeNumber("--http-port", options.httpPort, ports);
  const rules = await readRules(options.file);
  const { startProvider } = await import("#operator/provider/provider.ts");
  let provider: Provider;
  try {
    provider = await startProvider({
      host: options.bind,
      ports: [port],
      httpPort,
      rules,
      tls: options.tls === true,
      idHeader: options.idHeader,
      dumpFile: options.dump,
      onFileError: (error) => io.complain(`Cannot write the dump: ${error.message}`),
    });
  } catch (error) {
    throw new CommandError(`Cannot start the provider: expected free ports, got ${messageOf(error)}`);
  }
  // Before the ready line: whoever reads it may stop us at once.
  const stopped = untilSignal();
  const at = (bound: number): string => hostPort(options.bind, bound);
  const http = provider.httpPort === undefined ? {} : { http: at(provider.httpPort) };
  const ready = { smtp: at(provider.port), ...http };
  const fields = Object.entries(ready).map(([name, value]) => `${name}=${value}`);
  io.print(options.json === true ? JSON.stringify({ ready: true, ...ready }) : `ready ${fields.join(" ")}`);
  await stopped;
  await provider.close();
}

async function readRules(file: string | undefined): Promise<ProviderRules> {
  if (file === undefined) return noRules;
  let document: unknown;
  try {
    document = parse(await readFile(file, "utf8"));
  } catch (error) {
    throw new CommandError(`Cannot read ${file}: expected YAML or JSON, got ${messageOf(error)}`);
  }
  const parsed = parseRules(document);
  if (parsed.ok) return parsed.value;
  throw new CommandError(`Cannot use ${file}: ${parsed.issues.map(formatIssue).join("; ")}`);
}
