/** Composition root of `mailboat proxy`: an egress proxy with health and metrics. No NATS, no configuration but its options. */
import { hostname } from "node:os";
import { asksForHelp, UsageError } from "./options.ts";
import { createLogins } from "./proxy/logins.ts";
import { startProxy } from "./proxy/server.ts";
import { type ProxyProgramOptions, proxyUsage, readProxyOptions } from "./proxy-options.ts";
import { createDestinations } from "./route/destinations.ts";
import { systemClock } from "./runtime/clock.ts";
import { onStopRequest } from "./runtime/stop-requests.ts";
import { startHealth } from "./telemetry/health.ts";
import { createLog } from "./telemetry/pino-log.ts";
import { createProxyMetrics } from "./telemetry/proxy-metrics.ts";

const handshakeMs = 10_000;
const connectMs = 60_000;
/** Longer than pods wait for the reply to a final dot (10 minutes): the proxy is never the first to give up. */
const idleMs = 900_000;

async function main(args: readonly string[]): Promise<void> {
  if (asksForHelp(args)) return void process.stdout.write(`${proxyUsage}\n`);
  let options: ProxyProgramOptions;
  try {
    options = readProxyOptions(args);
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    process.stderr.write(`${error.message}\n${proxyUsage}\n`);
    process.exitCode = 2;
    return;
  }
  const log = createLog(options.logLevel, { proxy: hostname() });
  const proxy = await startProxy({
    host: options.bind,
    port: options.port,
    ...(options.sourceAddress === null ? {} : { sourceAddress: options.sourceAddress }),
    maxConnections: options.maxConnections,
    handshakeMs,
    connectMs,
    idleMs,
    log,
    isLogin: createLogins(options.authDir, systemClock),
    isAllowed: createDestinations(options.allowDestinations).isAllowed,
  });
  let stopping = false;
  const health = await startHealth({
    host: options.bind,
    port: options.metricsPort,
    metrics: createProxyMetrics(proxy.counts),
    notReady: () => (stopping ? ["stopping"] : []),
    status: () => ({ ...proxy.counts(), stopping }),
  });
  const shutdown = (reason: string): void => {
    if (stopping) return;
    stopping = true;
    log.info("stopping", { reason, open: proxy.counts().open });
    void proxy.drain(options.drainMs).then(() => process.exit(0));
  };
  onStopRequest(shutdown, options.exitWithParent);
  process.stdout.write(`${JSON.stringify({ ready: true, port: proxy.port, metrics: health.port })}\n`);
}

main(process.argv.slice(2)).catch((error: unknown) => {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exit(1);
});
