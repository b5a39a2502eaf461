/** The demo: a pretend mailbox provider, some mail from two tenants, and a short story of what becomes of it. Never fatal. */
import { readFile } from "node:fs/promises";
import { setTimeout as delay } from "node:timers/promises";
import { createTransport } from "nodemailer";
import { type Provider, startProvider } from "#operator/provider/provider.ts";
import { type Login, parseCredentials } from "./credentials.ts";
import { demoProviderRules, ensureDemoFiles } from "./demo-files.ts";
import { demoPool, introduction, nextSteps, type Progress, progressLine } from "./demo-story.ts";
import { type Endpoint, firstPool } from "./endpoint.ts";
import type { LocalOptions } from "./options.ts";
import type { StateDir } from "./state-dir.ts";

export interface Demo {
  /** Resources to run. */
  readonly folder: string;
  /** Sends the mail and tells the story. @returns what ends that early */
  begin(endpoint: Endpoint): () => Promise<void>;
  close(): Promise<void>;
}

const domains = [
  "fast.example",
  "steady.example",
  "slow.example",
  "later.example",
  "bounce.example",
] as const;
const messages = 60;
const gapMs = 60;
/** Between two looks at the counts; a line only when they changed. */
const lookMs = 2000;
const longestMs = 120_000;

export async function prepareDemo(state: StateDir, options: LocalOptions): Promise<Demo> {
  const { folder, providerPort } = await ensureDemoFiles(state);
  const provider = await startProvider({
    hostname: "mx.provider.example",
    ports: [providerPort],
    httpPort: 0,
    rules: demoProviderRules,
    tls: true,
  });
  return {
    folder,
    begin(endpoint) {
      const stop = new AbortController();
      const telling = tell({ provider, endpoint, options, state, folder, signal: stop.signal });
      const quiet = telling.catch((error: unknown) => {
        if (!stop.signal.aborted) options.complain(`the demo's mail stopped: ${String(error)}`);
      });
      return async () => {
        stop.abort();
        await quiet;
      };
    },
    close: () => provider.close(),
  };
}

interface Telling {
  readonly provider: Provider;
  readonly endpoint: Endpoint;
  readonly options: LocalOptions;
  readonly state: StateDir;
  readonly folder: string;
  readonly signal: AbortSignal;
}

async function tell(telling: Telling): Promise<void> {
  const { provider, endpoint, options, state, folder } = telling;
  const print = (lines: readonly string[]): void => {
    if (!options.json) for (const line of lines) options.print(line);
  };
  const providerHttp = provider.httpPort ?? 0;
  print(introduction({ endpoint, state: state.path, folder, providerHttp, providerPort: provider.port }));
  const sent: Sent = { accepted: 0, refused: 0, bouncing: undefined };
  const sending = sendAll(telling, sent);
  // Its failure is met where it is awaited; until then it must not count as unhandled.
  sending.catch(() => {});
  await follow(telling, { sent, before: provider.audit.stats().total.messages, print });
  await sending;
  print(nextSteps({ endpoint, state: options.state, bouncing: sent.bouncing, providerHttp }));
}

interface Sent {
  accepted: number;
  refused: number;
  /** Id of a message to bounce.example. */
  bouncing: string | undefined;
}

async function sendAll({ endpoint, signal }: Telling, sent: Sent): Promise<void> {
  const logins = demoLogins(parseCredentials(await readFile(endpoint.credentialsFile, "utf8")));
  const ca = await readFile(endpoint.ca, "utf8");
  const transports = logins.map((login) => openTransport(endpoint, login, ca));
  try {
    for (let number = 0; number < messages && !signal.aborted; number++) {
      const index = number % Math.max(1, transports.length);
      const [transport, login] = [transports[index], logins[index]];
      if (transport === undefined || login === undefined) return;
      const domain = domains[Math.floor(number / 2) % domains.length] ?? domains[0];
      const mail = {
        from: login.from ?? "",
        to: `user${number}@${domain}`,
        subject: `Demo message ${number + 1} of ${messages}`,
        text: "Sent by the demo of Mailboat's local mode.",
      };
      const reply = await transport.sendMail(mail).then(
        ({ response }) => response,
        () => undefined,
      );
      if (reply === undefined) sent.refused++;
      else sent.accepted++;
      if (domain === "bounce.example") sent.bouncing ??= /queued as (\S+)/.exec(reply ?? "")?.[1];
      await delay(gapMs, undefined, { signal }).catch(() => {});
    }
  } finally {
    for (const transport of transports) transport.close();
  }
}

/** Resources of the user's may run beside the demo's (`-f`): their mail is none of it. Unless an edit has called its pool otherwise. */
function demoLogins(logins: readonly Login[]): readonly Login[] {
  const own = logins.filter(({ pool }) => pool === demoPool);
  return own.length > 0 ? own : logins;
}

function openTransport(endpoint: Endpoint, login: Login, ca: string): ReturnType<typeof createTransport> {
  const pool = endpoint.pools.find((one) => one.pool === login.pool) ?? firstPool(endpoint);
  const { hostname, port } = new URL(`smtp://${pool.submission}`);
  return createTransport({
    host: hostname.replace(/^\[|\]$/g, ""),
    port: Number(port),
    requireTLS: true,
    pool: true,
    maxConnections: 1,
    auth: { user: login.username, pass: login.password },
    tls: { ca },
  });
}

/** Prints a line whenever the counts moved, until every message has an outcome. */
async function follow(
  { provider, signal }: Telling,
  told: { readonly sent: Sent; readonly before: number; print(lines: readonly string[]): void },
): Promise<void> {
  const startedAt = performance.now();
  let last = "";
  while (!signal.aborted && performance.now() - startedAt < longestMs) {
    await delay(lookMs, undefined, { signal }).catch(() => {});
    const progress = progressOf(provider, told.sent);
    const line = progressLine(progress, performance.now() - startedAt);
    const counts = JSON.stringify(progress);
    if (counts !== last && !signal.aborted) told.print([line]);
    last = counts;
    const handedIn = told.sent.accepted + told.sent.refused;
    if (handedIn >= messages && progress.delivered + progress.bounced >= told.sent.accepted) return;
  }
}

function progressOf({ audit }: Provider, sent: Sent): Progress {
  const { domains: byDomain } = audit.stats();
  const delivered = domains.reduce((sum, name) => sum + (byDomain[name]?.messages ?? 0), 0);
  const refusals = audit.refusals(10_000);
  const deferred = refusals.filter(({ code }) => code >= 400 && code < 500).length;
  return {
    accepted: sent.accepted,
    delivered,
    deferred,
    bounced: refusals.filter(({ code }) => code >= 500).length,
  };
}
