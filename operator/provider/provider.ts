/** The pretend mailbox provider: an SMTP receiver that behaves as its rules say, and counts. Throws when it cannot listen. */
import type { AddressInfo } from "node:net";
import { SMTPServer, type SMTPServerOptions } from "smtp-server";
import { createAudit, type Audit, type Clock } from "./audit.ts";
import { createAuthority } from "./certificate.ts";
import { createClients, type Clients } from "./clients.ts";
import { startControl } from "./control.ts";
import { createMessageStore, type MessageStore } from "./message-store.ts";
import { noRules, type ProviderRules } from "./rules.ts";
import { sessionHooks } from "./session.ts";
import { createVerdicts } from "./verdicts.ts";

export interface ProviderOptions {
  readonly host?: string;
  /** One listener each, 0 = any free port; default one free port. */
  readonly ports?: readonly number[];
  /** Control port, 0 = any free one, absent = none. */
  readonly httpPort?: number | undefined;
  readonly hostname?: string;
  readonly rules?: ProviderRules;
  /** Offer STARTTLS with a certificate made at the start, or with this one. */
  readonly tls?: boolean | { readonly key: string; readonly cert: string };
  /** Header whose value identifies a message in the counts; absent = X-Mailboat-Id or Mailboat's Received, else Message-ID. */
  readonly idHeader?: string | undefined;
  /** Messages kept for the dump, default 1,000; bytes of them together, default 64 MiB. */
  readonly keepMessages?: number;
  readonly keepBytes?: number;
  /** Every message is appended to it (mbox by the ending .mbox, else JSON lines). */
  readonly dumpFile?: string | undefined;
  /** Default 50 MiB. */
  readonly maxMessageBytes?: number;
  /** A silent client is hung up on after this, default 10 minutes. */
  readonly idleMs?: number;
  readonly clock?: Clock;
  readonly random?: () => number;
  readonly onFileError?: (error: Error) => void;
}

export interface Provider extends AsyncDisposable {
  readonly host: string;
  readonly ports: readonly number[];
  /** The first of `ports`. */
  readonly port: number;
  readonly httpPort: number | undefined;
  readonly audit: Audit;
  readonly messages: MessageStore;
  rules(): ProviderRules;
  setRules(rules: ProviderRules): void;
  close(): Promise<void>;
}

const systemClock: Clock = { now: () => Date.now(), monotonic: () => performance.now() };

/**
 * Starts a provider.
 * @example await using provider = await startProvider({ rules: { rules: [] } }); provider.audit.stats()
 */
export async function startProvider(options: ProviderOptions = {}): Promise<Provider> {
  const host = options.host ?? "127.0.0.1";
  const clock = options.clock ?? systemClock;
  const audit = createAudit(clock);
  const clients = createClients(audit);
  const messages = createMessageStore({
    maxMessages: options.keepMessages ?? 1000,
    maxBytes: options.keepBytes ?? 64 * 1024 * 1024,
    file: options.dumpFile,
    onFileError: options.onFileError ?? (() => {}),
  });
  let rules = options.rules ?? noRules;
  const hooks = sessionHooks({
    audit,
    clients,
    store: messages,
    verdicts: createVerdicts(),
    clock,
    random: options.random ?? Math.random,
    rules: () => rules,
    idHeader: options.idHeader,
  });
  const smtp = { ...hooks, ...(await serverOptions(options, clock)) };
  const servers: SMTPServer[] = [];
  const core = {
    host,
    audit,
    messages,
    rules: () => rules,
    setRules: (next: ProviderRules) => void (rules = next),
  };
  const closeAll = (): Promise<void> => closeServers(servers, clients, messages);
  try {
    for (const port of options.ports ?? [0])
      servers.push(await listen(new SMTPServer(smtp), { host, port, clients }));
    const control =
      options.httpPort === undefined ? undefined : await startControl({ ...core, port: options.httpPort });
    const close = async (): Promise<void> => {
      await control?.close();
      await closeAll();
    };
    const ports = servers.map(portOf);
    return {
      ...core,
      ports,
      port: ports[0] ?? 0,
      httpPort: control?.port,
      close,
      [Symbol.asyncDispose]: close,
    };
  } catch (error) {
    await closeAll();
    throw error;
  }
}

async function serverOptions(options: ProviderOptions, clock: Clock): Promise<SMTPServerOptions> {
  const name = options.hostname ?? "mx.provider.example";
  const { tls } = options;
  const made = tls === true ? await selfMade(name, clock.now()) : tls === false ? undefined : tls;
  return {
    name,
    banner: "pretend provider",
    size: options.maxMessageBytes ?? 50 * 1024 * 1024,
    socketTimeout: options.idleMs ?? 600_000,
    closeTimeout: 1000,
    // Replies carry the enhanced code that the rule names, not one that is guessed from the code.
    hideENHANCEDSTATUSCODES: true,
    authOptional: true,
    disableReverseLookup: true,
    disabledCommands: made === undefined ? ["AUTH", "STARTTLS"] : ["AUTH"],
    logger: false,
    ...made,
  };
}

async function selfMade(name: string, now: number): Promise<{ key: string; cert: string }> {
  const authority = await createAuthority("pretend provider", 30, now);
  return authority.issue([name, "localhost", "127.0.0.1"], 30);
}

function listen(
  server: SMTPServer,
  { host, port, clients }: { host: string; port: number; clients: Clients },
): Promise<SMTPServer> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.server.on("connection", (socket) => clients.accept(socket, portOf(server)));
    server.listen(port, host, () => {
      server.off("error", reject);
      // From here on errors are those of single connections: clients that reset or talk nonsense.
      server.on("error", () => {});
      resolve(server);
    });
  });
}

function portOf(server: SMTPServer): number {
  const address: AddressInfo | string | null = server.server.address();
  return typeof address === "object" && address !== null ? address.port : 0;
}

async function closeServers(
  servers: readonly SMTPServer[],
  clients: Clients,
  messages: MessageStore,
): Promise<void> {
  const closed = servers.map((server) => new Promise<void>((resolve) => server.close(() => resolve())));
  clients.destroyAll();
  await Promise.all(closed);
  await messages.close();
}
