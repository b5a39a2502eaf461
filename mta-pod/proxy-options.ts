/** Options of `mailboat proxy`. Throws UsageError with a text for people. */
import { isIP } from "node:net";
import { parseArgs } from "node:util";
import ipaddr from "ipaddr.js";
import { parsed, UsageError } from "./options.ts";

export interface ProxyProgramOptions {
  /** A folder with the files `username` and `password`, as a Secret is mounted. */
  readonly authDir: string;
  readonly bind: string;
  readonly port: number;
  readonly metricsPort: number;
  readonly sourceAddress: string | null;
  readonly allowDestinations: readonly string[];
  readonly maxConnections: number;
  readonly drainMs: number;
  readonly exitWithParent: boolean;
  readonly logLevel: string;
}

export const proxyUsage = `usage: mailboat proxy --auth-dir DIR [--bind ADDR] [--port N] [--metrics-port N] [--source-address ADDR]
  [--allow-destination CIDR]... [--max-connections N] [--drain-ms N] [--exit-with-parent] [--log-level debug|info|warn|error]`;

export function readProxyOptions(args: readonly string[]): ProxyProgramOptions {
  const values = parsed(() => parse(args));
  const authDir = values["auth-dir"];
  if (authDir === undefined)
    throw new UsageError(
      "Cannot start a proxy: expected --auth-dir DIR, since it lets nobody in without a login",
    );
  const sourceAddress = values["source-address"] ?? null;
  if (sourceAddress !== null && isIP(sourceAddress) === 0)
    throw new UsageError(`Cannot read --source-address: expected an IP address, got "${sourceAddress}"`);
  for (const cidr of values["allow-destination"])
    if (!ipaddr.isValidCIDR(cidr))
      throw new UsageError(
        `Cannot read --allow-destination: expected an address range such as 10.0.0.0/8, got "${cidr}"`,
      );
  const number = (name: "port" | "metrics-port" | "max-connections" | "drain-ms", max: number): number => {
    const value = Number(values[name]);
    if (/^\d+$/.test(values[name]) && value <= max) return value;
    throw new UsageError(
      `Cannot read --${name}: expected a whole number up to ${max}, got "${values[name]}"`,
    );
  };
  return {
    authDir,
    bind: values.bind,
    port: number("port", 65_535),
    metricsPort: number("metrics-port", 65_535),
    sourceAddress,
    allowDestinations: values["allow-destination"],
    maxConnections: number("max-connections", 100_000),
    drainMs: number("drain-ms", 86_400_000),
    exitWithParent: values["exit-with-parent"],
    logLevel: values["log-level"],
  };
}

function parse(args: readonly string[]) {
  return parseArgs({
    args: [...args],
    strict: true,
    allowPositionals: false,
    options: {
      "auth-dir": { type: "string" },
      bind: { type: "string", default: "0.0.0.0" },
      port: { type: "string", default: "1080" },
      "metrics-port": { type: "string", default: "9464" },
      "source-address": { type: "string" },
      "allow-destination": { type: "string", multiple: true, default: [] },
      "max-connections": { type: "string", default: "5000" },
      "drain-ms": { type: "string", default: "600000" },
      "exit-with-parent": { type: "boolean", default: false },
      "log-level": { type: "string", default: "info" },
    },
  }).values;
}
