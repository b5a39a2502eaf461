/** Opens the front doors of a pod (SMTP, submission, submissions, HTTP, admin) and closes them in order. Rejects when a port is taken. */
import { readFileSync } from "node:fs";
import { createSecureContext } from "node:tls";
import type { Admission } from "./admit/admission.ts";
import type { ActionName } from "./acts.ts";
import { followCertificate } from "./config/tls-files.ts";
import type { Explain } from "./explain.ts";
import type { QueueQuery } from "./queue-query.ts";
import { startAdmin } from "./http-in/admin.ts";
import { startInjection } from "./http-in/injection.ts";
import type { PodOptions } from "./options.ts";
import type { Clock } from "./runtime/clock.ts";
import type { Log } from "./runtime/log.ts";
import type { InboundHooks, Login } from "./smtp/inbound.ts";
import { createBufferBudget } from "./smtp-in/buffer-budget.ts";
import type { SunkStore } from "./spool/sunk.ts";
import { type Listener, startListener } from "./smtp-in/listener.ts";
import type { TlsMaterial } from "./smtp-in/options.ts";

/** Bodies held by all sessions of a pod together; beyond it sockets are paused. */
const maxBufferedBytes = 128 * 1024 * 1024;
const maxConnections = 10_000;
const maxConnectionsPerAddress = 2000;
/** RFC 5321 4.5.3.2.7. */
const idleMs = 300_000;

export interface FrontDeps {
  readonly options: PodOptions;
  readonly clock: Clock;
  readonly log: Log;
  /** Aborted at the end. */
  readonly signal: AbortSignal;
  readonly hostname: string;
  readonly hooks: InboundHooks;
  readonly explain: Explain;
  readonly sunk: Pick<SunkStore, "list" | "find">;
  admission(): Admission;
  /** A witness knows that an incarnation of a pod is dead: its leases are freed. */
  witness(pod: string, incarnation: string): Promise<unknown>;
}

export interface Front {
  readonly ports: Readonly<Record<string, number>>;
  connections(): number;
  /** Takes no more; answers what is open within `graceMs`. */
  close(graceMs: number): Promise<void>;
}

export async function openFront(deps: FrontDeps): Promise<Front> {
  const { options, clock, log, hooks } = deps;
  const { bind: host, ports, reusePort, local } = options;
  const listeners = new Map<string, Listener>();
  const certificate = options.tlsDir === null ? () => null : followTls(options.tlsDir, listeners, deps);
  const budget = createBufferBudget(maxBufferedBytes);
  const smtp = (name: "smtp" | "submission" | "submissions", port: number): Promise<Listener> =>
    startListener({
      name,
      host,
      port,
      reusePort,
      tls: certificate(),
      implicitTls: name === "submissions",
      hostname: deps.hostname,
      maxMessageBytes: (login) => deps.admission().maxMessageBytes(login),
      maxConnections,
      maxConnectionsPerAddress,
      maxBufferedBytes,
      idleMs,
      plaintextAuthFrom: local ? "loopback" : "nobody",
      // An address is trusted where relays connect (decisions.md 8), not where users log in.
      hooks: name === "smtp" ? hooks : { ...hooks, trusted: () => null },
      budget,
      clock,
      log,
    });
  for (const name of ["smtp", "submission", "submissions"] as const) {
    if (ports[name] < 0 || (name === "submissions" && options.tlsDir === null)) continue;
    listeners.set(name, await smtp(name, ports[name]));
  }
  const injection = ports.http < 0 ? undefined : await startInjection(injectionOptions(deps));
  const tokenFile = options.adminTokenFile;
  const admin =
    ports.admin < 0 || tokenFile === null ? undefined : await startAdmin(adminOptions(deps, tokenFile));
  const opened: Record<string, number> = {};
  for (const [name, listener] of listeners) opened[name] = listener.port;
  if (injection !== undefined) opened["http"] = injection.port;
  if (admin !== undefined) opened["admin"] = admin.port;
  return {
    ports: opened,
    connections: () => [...listeners.values()].reduce((sum, listener) => sum + listener.connections(), 0),
    async close(graceMs) {
      for (const listener of listeners.values()) listener.stopAccepting();
      await Promise.all([
        ...[...listeners.values()].map((listener) => listener.drain(graceMs)),
        injection?.close(graceMs),
        admin?.close(graceMs),
      ]);
    },
  };
}

/** Until there is a certificate nobody is offered TLS; a renewed one is for handshakes from then on. */
function followTls(
  dir: string,
  listeners: ReadonlyMap<string, Listener>,
  { log, signal }: FrontDeps,
): () => TlsMaterial | null {
  let current: TlsMaterial | null = null;
  followCertificate({
    dir,
    signal,
    onCertificate(material) {
      createSecureContext(material);
      current = material;
      for (const listener of listeners.values()) listener.setTls(material);
      log.info("certificate loaded", { dir });
    },
    onIssue: (issue) => log.error("no certificate that can be used", { dir, issue }),
  });
  return () => current;
}

/** Read for each request: it may be made again while we run. No file, no token, nobody is let in. */
function readToken(file: string): string {
  try {
    return readFileSync(file, "utf8").trim();
  } catch {
    return "";
  }
}

function injectionOptions({ options, hooks, explain, hostname, log, admission }: FrontDeps) {
  return {
    host: options.bind,
    port: options.ports.http,
    reusePort: options.reusePort,
    hostname,
    log,
    maxMessageBytes: (login: Login) => admission().maxMessageBytes(login),
    hooks: { ...hooks, explain: (tenant: string, id: string) => explain.message(id, tenant) },
  };
}

function adminOptions({ options, explain, sunk, witness, log }: FrontDeps, tokenFile: string) {
  return {
    host: options.adminBind,
    port: options.ports.admin,
    reusePort: options.reusePort,
    token: () => readToken(tokenFile),
    log,
    hooks: {
      queue: (query: QueueQuery) => explain.queue(query),
      message: (id: string) => explain.message(id),
      top: () => explain.top(),
      tenants: explain.tenants,
      act: (action: ActionName, query: QueueQuery) => explain.act(action, query),
      progress: explain.progress,
      suspend: explain.suspend,
      resume: explain.resume,
      sunk: sunk.list,
      sunkMessage: async (id: string) => {
        const found = await sunk.find(id);
        return found === undefined ? null : { ...found.sunk, message: found.message.toString("base64") };
      },
      witness,
    },
  };
}
