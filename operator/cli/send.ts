/** `mailboat send`: test messages through the front door, as an app would send them. Exit code 1 when one was refused. */
import { readFile } from "node:fs/promises";
import { createTransport } from "nodemailer";
import type { Command } from "commander";
import type { Endpoint } from "#operator/local/endpoint.ts";
import { chosenLogin, type Login, parseCredentials } from "#operator/local/credentials.ts";
import { addPlaceOptions, findEndpoint, findPool, poolOf, type ServerOptions } from "./admin-client.ts";
import { CommandError, messageOf, wholeNumber, type CommandIo } from "./command-io.ts";
import type { Door, Sent } from "./door.ts";

interface SendOptions extends Omit<ServerOptions, "tokenFile"> {
  readonly to: string[];
  readonly from?: string;
  readonly count: string;
  readonly subject: string;
  readonly text: string;
  readonly user?: string;
  readonly password?: string;
  readonly ca?: string;
  readonly insecure?: boolean;
  readonly json?: boolean;
}

interface SmtpAddress {
  readonly url: URL;
  readonly ca: string | undefined;
  readonly user: string | undefined;
  readonly password: string | undefined;
}

export function addSendCommand(program: Command, io: CommandIo): void {
  addPlaceOptions(program.command("send"))
    .description("Send a test message through the front door")
    .requiredOption("--to <address...>", "recipient; may be repeated")
    .option("--from <address>", "sender (default: test@ the tenant's first domain)")
    .option("--count <n>", "how many messages", "1")
    .option("--subject <text>", "subject", "A test message")
    .option("--text <text>", "text", "Sent by mailboat send.")
    .option("--user <name>", "login (default: the first tenant's)")
    .option(
      "--password <text>",
      "its password (default: as local mode wrote it down, or the tenant's Secret)",
    )
    .option(
      "--url <url>",
      "smtp://[USER:PASSWORD@]HOST:PORT, or smtps:// (default: local mode's submission port)",
    )
    .option(
      "--pool <name>",
      "pool to send through where there are several (namespace/name; default: the login's)",
    )
    .option("--ca <file>", "certificate authority to trust (default: local mode's)")
    .option("--insecure", "accept any certificate")
    .option("--json", "print one JSON object a message")
    .action((options: SendOptions) => send(options, io));
}

async function send(options: SendOptions, io: CommandIo): Promise<void> {
  const count = wholeNumber("--count", options.count, { min: 1, max: 1_000_000 });
  for (const to of options.to) checkAddress("--to", to);
  if (options.from !== undefined) checkAddress("--from", options.from);
  const door = await openDoor(options);
  const from = options.from ?? door.from;
  if (from === undefined) throw new CommandError("Cannot send: expected --from ADDRESS, got none", 2);
  let refused = 0;
  try {
    for (let number = 1; number <= count; number++) {
      const subject = count === 1 ? options.subject : `${options.subject} (${number} of ${count})`;
      const sent = await door.send({ from, to: options.to, subject, text: options.text });
      if (sent.id === undefined || sent.refused !== undefined) refused++;
      io.print(options.json === true ? JSON.stringify(sent) : textOf(sent));
    }
  } finally {
    door.close();
  }
  if (refused > 0) io.setExitCode(1);
}

/** Only what cannot be an address; a name may stand before it, in angle brackets. @throws CommandError (wrong usage) */
function checkAddress(option: string, text: string): void {
  const address = /<([^<>]*)>\s*$/.exec(text)?.[1] ?? text;
  if (/^.+@[^\s@]+$/.test(address.trim())) return;
  const expected = "an address with a domain such as you@example.net";
  throw new CommandError(`Cannot read ${option}: expected ${expected}, got "${text}"`, 2);
}

/** By SMTP where an address is known, else through the cluster. */
async function openDoor(options: SendOptions): Promise<Door> {
  const endpoint = options.url === undefined ? await findEndpoint(options) : undefined;
  if (options.url !== undefined || endpoint !== undefined) return openSmtpDoor(options, endpoint);
  const pool = await findPool(options);
  const { openClusterDoor } = await import("./cluster-door.ts");
  return openClusterDoor(pool, options);
}

async function openSmtpDoor(options: SendOptions, endpoint: Endpoint | undefined): Promise<Door> {
  const known = await knownLogin(options, endpoint);
  const transport = openTransport(await findAddress(options, { endpoint, known }), options);
  return {
    from: known?.from,
    send: (mail) =>
      transport.sendMail({ ...mail, to: [...mail.to] }).then((info) => taken(mail.to, info), failed(mail.to)),
    close: () => transport.close(),
  };
}

function openTransport(
  { url, ca, user, password }: SmtpAddress,
  options: SendOptions,
): ReturnType<typeof createTransport> {
  const secure = url.protocol === "smtps:";
  return createTransport({
    host: url.hostname.replace(/^\[|\]$/g, ""),
    port: Number(url.port || (secure ? 465 : 587)),
    secure,
    // A password never goes over a connection in clear, whatever the server offers.
    requireTLS: !secure && user !== undefined,
    pool: true,
    maxConnections: 1,
    connectionTimeout: 10_000,
    ...(user === undefined ? {} : { auth: { user, pass: password ?? "" } }),
    tls: {
      ...(ca === undefined ? {} : { ca }),
      ...(options.insecure === true ? { rejectUnauthorized: false } : {}),
    },
  });
}

async function findAddress(
  options: SendOptions,
  { endpoint, known }: { endpoint: Endpoint | undefined; known: Login | undefined },
): Promise<SmtpAddress> {
  const address =
    options.url ??
    `smtp://${endpoint === undefined ? "" : poolOf(endpoint, options.pool ?? known?.pool).submission}`;
  const url = URL.canParse(address) ? new URL(address) : undefined;
  const named = url === undefined ? undefined : loginIn(url);
  if (url === undefined || named === undefined || !["smtp:", "smtps:"].includes(url.protocol)) {
    // A password may be in it.
    const got = url === undefined ? `"${address.replace(/^.*@/s, "")}"` : `"${url.protocol}//${url.host}"`;
    throw new CommandError(`Cannot use --url: expected smtp://[USER:PASSWORD@]HOST:PORT, got ${got}`, 2);
  }
  const user = options.user ?? named.user ?? known?.username;
  const password = options.password ?? named.password ?? known?.password;
  if ((user === undefined) !== (password === undefined))
    throw new CommandError("Cannot send: expected --user with --password, got one of them", 2);
  const caFile = options.ca ?? endpoint?.ca;
  const ca = caFile === undefined ? undefined : await readText(caFile);
  return { url, ca, user, password };
}

/** The login in a URL; undefined = it is not in UTF-8, escaped where it has to be. */
function loginIn({ username, password }: URL): { user?: string; password?: string } | undefined {
  try {
    return {
      ...(username === "" ? {} : { user: decodeURIComponent(username) }),
      ...(password === "" ? {} : { password: decodeURIComponent(password) }),
    };
  } catch {
    return undefined;
  }
}

/** The login asked for, else the first tenant's, as local mode wrote them down. */
async function knownLogin(options: SendOptions, endpoint: Endpoint | undefined): Promise<Login | undefined> {
  if (endpoint === undefined) return undefined;
  return chosenLogin(parseCredentials(await readText(endpoint.credentialsFile)), options);
}

async function readText(file: string): Promise<string> {
  try {
    return await readFile(file, "utf8");
  } catch (error) {
    throw new CommandError(`Cannot read ${file}: expected a file, got ${messageOf(error)}`);
  }
}

/** What nodemailer tells of a message that was taken for one recipient at least. */
interface Taken {
  readonly response: string;
  readonly accepted: readonly (string | { readonly address: string })[];
  readonly rejectedErrors?: readonly { readonly recipient?: string; readonly response?: string }[];
}

function taken(to: readonly string[], { response, accepted, rejectedErrors = [] }: Taken): Sent {
  const id = /queued as (\S+)/.exec(response)?.[1] ?? "unknown";
  if (rejectedErrors.length === 0) return { to, id, reply: response };
  return {
    to: accepted.map((one) => (typeof one === "string" ? one : one.address)),
    id,
    reply: response,
    refused: rejectedErrors.map((error) => ({ to: error.recipient ?? "", reply: error.response ?? "" })),
  };
}

function failed(to: readonly string[]): (error: Error & { response?: string }) => Sent {
  return (error) => ({ to, reply: error.response ?? messageOf(error) });
}

function textOf({ to, id, reply, refused = [] }: Sent): string {
  const whole =
    id === undefined ? `refused for ${to.join(", ")}: ${reply}` : `queued as ${id} for ${to.join(", ")}`;
  return [whole, ...refused.map((one) => `refused for ${one.to}: ${one.reply}`)].join("\n");
}
