/** `mailboat send`: test messages through the front door, as an app would send them. Exit code 1 when one was refused. */
import { readFile } from "node:fs/promises";
import { createTransport } from "nodemailer";
import type { Command } from "commander";
import { type Endpoint, firstPool } from "#operator/local/endpoint.ts";
import { parseCredentials } from "#operator/local/credentials.ts";
import { readEndpoint } from "./admin-client.ts";
import { CommandError, messageOf, wholeNumber, type CommandIo } from "./command-io.ts";

interface SendOptions {
  readonly to: string[];
  readonly from?: string;
  readonly count: string;
  readonly subject: string;
  readonly text: string;
  readonly user?: string;
  readonly password?: string;
  readonly url?: string;
  readonly state: string;
  readonly ca?: string;
  readonly insecure?: boolean;
  readonly json?: boolean;
}

interface Door {
  readonly url: URL;
  readonly ca: string | undefined;
  readonly user: string | undefined;
  readonly password: string | undefined;
  readonly from: string | undefined;
}

interface Sent {
  readonly to: readonly string[];
  /** Of `queued as ID`; absent when it was refused. */
  readonly id?: string;
  readonly reply: string;
}

export function addSendCommand(program: Command, io: CommandIo): void {
  program
    .command("send")
    .description("Send a test message through the front door")
    .requiredOption("--to <address...>", "recipient; may be repeated")
    .option("--from <address>", "sender (default: test@ the tenant's first domain)")
    .option("--count <n>", "how many messages", "1")
    .option("--subject <text>", "subject", "A test message")
    .option("--text <text>", "text", "Sent by mailboat send.")
    .option("--user <name>", "login (default: the first tenant's of local mode)")
    .option("--password <text>", "its password (default: local mode's)")
    .option("--url <url>", "smtp://HOST:PORT or smtps://HOST:PORT (default: local mode's submission port)")
    .option("--state <dir>", "state folder of local mode", ".mailboat")
    .option("--ca <file>", "certificate authority to trust (default: local mode's)")
    .option("--insecure", "accept any certificate")
    .option("--json", "print one JSON object a message")
    .action((options: SendOptions) => send(options, io));
}

async function send(options: SendOptions, io: CommandIo): Promise<void> {
  const count = wholeNumber("--count", options.count, { min: 1, max: 1_000_000 });
  const door = await findDoor(options);
  const from = options.from ?? door.from;
  if (from === undefined) throw new CommandError("Cannot send: expected --from ADDRESS, got none", 2);
  const transport = openTransport(door, options);
  let refused = 0;
  try {
    for (let number = 1; number <= count; number++) {
      const subject = count === 1 ? options.subject : `${options.subject} (${number} of ${count})`;
      const mail = { from, to: options.to, subject, text: options.text };
      const sent = await transport
        .sendMail(mail)
        .then(({ response }) => accepted(options.to, response), failed(options.to));
      if (sent.id === undefined) refused++;
      io.print(options.json === true ? JSON.stringify(sent) : lineOf(sent));
    }
  } finally {
    transport.close();
  }
  if (refused > 0) io.setExitCode(1);
}

function openTransport(door: Door, options: SendOptions): ReturnType<typeof createTransport> {
  const secure = door.url.protocol === "smtps:";
  const { user, password } = door;
  return createTransport({
    host: door.url.hostname.replace(/^\[|\]$/g, ""),
    port: Number(door.url.port || (secure ? 465 : 587)),
    secure,
    // A password never goes over a connection in clear, whatever the server offers.
    requireTLS: !secure && user !== undefined,
    pool: true,
    maxConnections: 1,
    connectionTimeout: 10_000,
    ...(user === undefined ? {} : { auth: { user, pass: password ?? "" } }),
    tls: {
      ...(door.ca === undefined ? {} : { ca: door.ca }),
      ...(options.insecure === true ? { rejectUnauthorized: false } : {}),
    },
  });
}

async function findDoor(options: SendOptions): Promise<Door> {
  const endpoint = options.url === undefined ? await readEndpoint(options.state) : undefined;
  const address = options.url ?? `smtp://${endpoint === undefined ? "" : firstPool(endpoint).submission}`;
  const url = URL.canParse(address) ? new URL(address) : undefined;
  if (url === undefined || !["smtp:", "smtps:"].includes(url.protocol))
    throw new CommandError(`Cannot use --url: expected smtp://HOST:PORT, got "${address}"`, 2);
  const known = await knownLogin(options, endpoint);
  const caFile = options.ca ?? endpoint?.ca;
  const ca = caFile === undefined ? undefined : await readText(caFile);
  const user = options.user ?? known?.username;
  return { url, ca, user, password: options.password ?? known?.password, from: known?.from };
}

/** The login asked for, else the first tenant's, as local mode wrote them down. */
async function knownLogin(
  options: SendOptions,
  endpoint: Endpoint | undefined,
): Promise<{ username: string; password: string; from: string | undefined } | undefined> {
  if (endpoint === undefined) return undefined;
  const logins = parseCredentials(await readText(endpoint.credentialsFile));
  const wanted = options.user;
  return wanted === undefined ? logins[0] : logins.find(({ username }) => username === wanted);
}

async function readText(file: string): Promise<string> {
  try {
    return await readFile(file, "utf8");
  } catch (error) {
    throw new CommandError(`Cannot read ${file}: expected a file, got ${messageOf(error)}`);
  }
}

function accepted(to: readonly string[], reply: string): Sent {
  const id = /queued as (\S+)/.exec(reply)?.[1];
  return { to, id: id ?? "unknown", reply };
}

function failed(to: readonly string[]): (error: Error & { response?: string }) => Sent {
  return (error) => ({ to, reply: error.response ?? messageOf(error) });
}

function lineOf({ to, id, reply }: Sent): string {
  return id === undefined ? `refused for ${to.join(", ")}: ${reply}` : `queued as ${id} for ${to.join(", ")}`;
}
