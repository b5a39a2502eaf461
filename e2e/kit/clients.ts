/** SMTP clients that people use, each sending some mails to the front door. A client that is not installed is an Error that says how to get it. */
import { spawn } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createTransport } from "nodemailer";
import type { Sent } from "./audit.ts";
import { mailText } from "./load.ts";

interface Errand {
  /** HOST:PORT of the front door. */
  readonly address: string;
  readonly messages: number;
  readonly bytes: number;
  readonly user: string;
  readonly password: string;
  readonly from: string;
  /** Recipients go round these. */
  readonly domains: readonly string[];
}

/** Resolves when all were accepted. @throws Error with what the client said, when it was not */
type Client = (errand: Errand) => Promise<Sent>;

export const clients: Readonly<Record<string, Client>> = { smtplib, curl, nodemailer, swaks };

const pythonScript = `
import json, smtplib, sys
errand = json.load(sys.stdin)
host, port = errand["address"].rsplit(":", 1)
with smtplib.SMTP(host, int(port)) as server:
    server.login(errand["user"], errand["password"])
    for mail in errand["mails"]:
        server.sendmail(errand["from"], [mail["to"]], mail["text"])
`;

async function smtplib(errand: Errand): Promise<Sent> {
  const mails = mailsOf("smtplib", errand);
  await run(["python3", "-c", pythonScript], JSON.stringify({ ...errand, mails }));
  return accepted(mails);
}

async function curl(errand: Errand): Promise<Sent> {
  const mails = mailsOf("curl", errand);
  const folder = await mkdtemp(join(tmpdir(), "mailboat-e2e-curl-"));
  try {
    const parts = await Promise.all(
      mails.map(async ({ id, to, text }) => {
        const file = join(folder, id);
        await writeFile(file, text);
        return [
          `url = "smtp://${errand.address}"`,
          `user = "${errand.user}:${errand.password}"`,
          `mail-from = "${errand.from}"`,
          `mail-rcpt = "${to}"`,
          `upload-file = "${file}"`,
        ].join("\n");
      }),
    );
    await run(["curl", "--silent", "--show-error", "--fail-early", "--config", "-"], parts.join("\nnext\n"));
  } finally {
    await rm(folder, { recursive: true });
  }
  return accepted(mails);
}

async function nodemailer(errand: Errand): Promise<Sent> {
  const mails = mailsOf("nodemailer", errand);
  const [host = "", port] = errand.address.split(":");
  const auth = { user: errand.user, pass: errand.password };
  const transport = createTransport({
    pool: true,
    maxConnections: 4,
    host,
    port: Number(port),
    auth,
    ignoreTLS: true,
  });
  try {
    await Promise.all(
      mails.map(({ id, to, text }) =>
        transport.sendMail({
          from: errand.from,
          to,
          subject: id,
          headers: { "X-Test-Id": id },
          text: text.slice(text.indexOf("\r\n\r\n") + 4),
        }),
      ),
    );
  } finally {
    transport.close();
  }
  return accepted(mails);
}

async function swaks(errand: Errand): Promise<Sent> {
  const mails = mailsOf("swaks", errand);
  for (const { to, text } of mails)
    await run(
      ["swaks", "--server", errand.address, "--auth", "PLAIN", "--auth-user", errand.user]
        .concat(["--auth-password", errand.password, "--from", errand.from, "--to", to])
        .concat(["--silent", "2", "--data", "-"]),
      text.replaceAll("\r\n", "\n"),
    );
  return accepted(mails);
}

interface Mail {
  readonly id: string;
  readonly to: string;
  readonly text: string;
}

function mailsOf(client: string, { messages, bytes, from, domains }: Errand): Mail[] {
  return Array.from({ length: messages }, (_, index) => {
    const id = `${client}${index}`;
    const to = `${id}@${domains[index % domains.length] ?? ""}`;
    return { id, to, text: mailText({ from, to, bytes }) };
  });
}

function accepted(mails: readonly Mail[]): Sent {
  const now = performance.now();
  return { accepted: new Map(mails.map(({ id }) => [id, now])), refused: [], uncertain: new Set() };
}

const packages: Readonly<Record<string, string>> = { python3: "python3", curl: "curl", swaks: "swaks" };

async function run([program = "", ...args]: readonly string[], input: string): Promise<void> {
  const child = spawn(program, args, { stdio: ["pipe", "pipe", "pipe"] });
  let said = "";
  child.stdout.on("data", (data: Buffer) => (said += data.toString()));
  child.stderr.on("data", (data: Buffer) => (said += data.toString()));
  child.stdin.on("error", () => {});
  child.stdin.end(input);
  await new Promise<void>((resolve, reject) => {
    child.once("error", (error) =>
      reject(
        new Error(`Cannot run ${program}: install it (apt-get install ${packages[program] ?? program})`, {
          cause: error,
        }),
      ),
    );
    child.once("close", (code) =>
      code === 0 ? resolve() : reject(new Error(`${program} ended with ${code}: ${said.slice(-2000)}`)),
    );
  });
}
