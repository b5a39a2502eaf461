/** Options of `mailboat pod`: the only file of the pod that reads the command line. Throws UsageError with a text for people. */
import { parseArgs } from "node:util";

export class UsageError extends Error {
  override readonly name = "UsageError";
  readonly code = "MAILBOAT_USAGE";
}

export interface PodOptions {
  readonly configDir: string;
  readonly keysDir: string;
  readonly name: string;
  readonly bind: string;
  /** Of the admin port alone. */
  readonly adminBind: string;
  /** -1 = not served; 0 = any free port. */
  readonly ports: {
    readonly smtp: number;
    readonly submission: number;
    readonly submissions: number;
    readonly http: number;
    readonly admin: number;
    readonly metrics: number;
  };
  /** Beats the manifest's `queue.servers`. */
  readonly nats: readonly string[];
  readonly tlsDir: string | null;
  /** Login and certificates for NATS; read at each connect. */
  readonly natsDir: string | null;
  readonly adminTokenFile: string | null;
  /** "HOST:PORT" of DNS servers; [] = the system's. */
  readonly resolvers: readonly string[];
  readonly reusePort: boolean;
  /** Local mode: AUTH in clear from loopback. */
  readonly local: boolean;
  readonly exitWithParent: boolean;
  readonly logLevel: string;
  /** Longest time for open transactions after SIGTERM; 0 = the manifest's drain timeout. */
  readonly drainMs: number;
  /** How long new connections are still taken after SIGTERM: not every node knows at once that the pod leaves. */
  readonly lameDuckMs: number;
}

export const podUsage = `usage: mailboat pod --config DIR --keys DIR [--name NAME] [--bind ADDR] [--admin-bind ADDR] [--smtp-port N]
  [--submission-port N] [--submissions-port N] [--http-port N] [--admin-port N] [--metrics-port N] [--nats URL]... [--nats-dir DIR] [--tls-dir DIR]
  [--admin-token-file FILE] [--resolver HOST:PORT]... [--reuse-port] [--local] [--exit-with-parent]
  [--log-level debug|info|warn|error] [--drain-ms N] [--lame-duck-ms N]`;

/** Usage that was asked for is no failure: it goes to standard output. */
export function asksForHelp(args: readonly string[]): boolean {
  return args.includes("--help") || args.includes("-h");
}

function wholeNumber(name: string, text: string, max: number): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < -1 || value > max || text.trim() === "")
    throw new UsageError(`Cannot read --${name}: expected a whole number up to ${max}, got "${text}"`);
  return value;
}

/** What `parse` gives. @throws UsageError in place of what parseArgs throws */
export function parsed<Values>(parse: () => Values): Values {
  try {
    return parse();
  } catch (error) {
    throw new UsageError(
      `Cannot read the options: ${error instanceof Error ? error.message : String(error)}`,
    );
  }
}

/** `hostname` names the pod when --name is absent (the Kubernetes pod's name). */
export function readPodOptions(args: readonly string[], hostname: string): PodOptions {
  const values = parsed(() => parse(args));
  if (values.config === undefined || values.keys === undefined)
    throw new UsageError("Cannot start a pod: expected --config DIR and --keys DIR");
  const port = (name: `${keyof PodOptions["ports"]}-port`) => wholeNumber(name, values[name], 65535);
  return {
    configDir: values.config,
    keysDir: values.keys,
    name: values.name ?? hostname,
    bind: values.bind,
    adminBind: values["admin-bind"] ?? values.bind,
    ports: {
      smtp: port("smtp-port"),
      submission: port("submission-port"),
      submissions: port("submissions-port"),
      http: port("http-port"),
      admin: port("admin-port"),
      metrics: port("metrics-port"),
    },
    nats: values.nats,
    tlsDir: values["tls-dir"] ?? null,
    natsDir: values["nats-dir"] ?? null,
    adminTokenFile: values["admin-token-file"] ?? null,
    resolvers: values.resolver,
    reusePort: values["reuse-port"],
    local: values.local,
    exitWithParent: values["exit-with-parent"],
    logLevel: values["log-level"],
    drainMs: wholeNumber("drain-ms", values["drain-ms"], 86_400_000),
    lameDuckMs: wholeNumber("lame-duck-ms", values["lame-duck-ms"], 60_000),
  };
}

function parse(args: readonly string[]) {
  return parseArgs({
    args: [...args],
    strict: true,
    allowPositionals: false,
    options: {
      config: { type: "string" },
      keys: { type: "string" },
      name: { type: "string" },
      bind: { type: "string", default: "0.0.0.0" },
      "admin-bind": { type: "string" },
      "smtp-port": { type: "string", default: "2525" },
      "submission-port": { type: "string", default: "2587" },
      "submissions-port": { type: "string", default: "2465" },
      "http-port": { type: "string", default: "8025" },
      "admin-port": { type: "string", default: "8026" },
      "metrics-port": { type: "string", default: "9464" },
      nats: { type: "string", multiple: true, default: [] },
      "tls-dir": { type: "string" },
      "nats-dir": { type: "string" },
      "admin-token-file": { type: "string" },
      resolver: { type: "string", multiple: true, default: [] },
      "reuse-port": { type: "boolean", default: false },
      local: { type: "boolean", default: false },
      "exit-with-parent": { type: "boolean", default: false },
      "log-level": { type: "string", default: "info" },
      "drain-ms": { type: "string", default: "0" },
      "lame-duck-ms": { type: "string", default: "0" },
    },
  }).values;
}
