/** Composition root of `mailboat pod`: builds the rooms, hands them to the corridors, owns the order of start and shutdown. */
import { randomBytes } from "node:crypto";
import { hostname } from "node:os";
import { setFlagsFromString } from "node:v8";
import { asksForHelp, type PodOptions, podUsage, readPodOptions, UsageError } from "./options.ts";
import { onStopRequest } from "./runtime/stop-requests.ts";
import { type RunningPod, startPod } from "./start.ts";
import { createLog } from "./telemetry/pino-log.ts";

/** Bodies come out of slabs: one buffer of V8's for two dozen mails of 10 KB, and memory that goes back when they do. */
const slabBytes = 256 * 1024;
/** Inner flags of V8's, of the one version of Node that is pinned. */
const engineFlags = [
  // Buffers count against the bound of the whole heap, in place of a fixed 64 MB between two full collections: those came seven times a
  // second at 100 KB a mail, a third of what the pod cost.
  "--external-memory-accounted-in-global-limit",
  // What a message runs through is compiled for speed after 1,000 calls, not 3,000: the same code runs for days.
  "--invocation-count-for-turbofan=1000",
];

async function main(args: readonly string[]): Promise<void> {
  if (asksForHelp(args)) return void process.stdout.write(`${podUsage}\n`);
  Buffer.poolSize = slabBytes;
  for (const flag of engineFlags) setFlagsFromString(flag);
  let options: PodOptions;
  try {
    options = readPodOptions(args, process.env["POD_NAME"] || hostname());
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    process.stderr.write(`${error.message}\n${podUsage}\n`);
    process.exitCode = 2;
    return;
  }
  const incarnation = randomBytes(8).toString("hex");
  const log = createLog(options.logLevel, { pod: options.name });
  process.on("unhandledRejection", (error) =>
    log.error("unhandled rejection", { error: String(error), stack: stackOf(error) }),
  );
  process.on("uncaughtException", (error) => {
    // State in memory is not to be trusted any more; the queue is in JetStream, so ending loses nothing.
    log.error("uncaught exception", { error: String(error), stack: error.stack });
    setTimeout(() => process.exit(1), 50);
  });
  const stop = new AbortController();
  let pod: RunningPod | undefined;
  const end = (running: RunningPod): void =>
    void running.stop().then(
      () => process.exit(0),
      (error: unknown) => {
        log.error("stop failed", { error: String(error) });
        process.exit(1);
      },
    );
  const shutdown = (reason: string): void => {
    if (stop.signal.aborted) return;
    log.info("stopping", { reason });
    stop.abort();
    if (pod !== undefined) end(pod);
  };
  // Before the start, which may wait: the first process of a container has no other way to be stopped.
  onStopRequest(shutdown, options.exitWithParent);
  try {
    pod = await startPod({ options, log, incarnation, signal: stop.signal });
  } catch (error) {
    if (stop.signal.aborted) process.exit(0);
    throw error;
  }
  if (stop.signal.aborted) return end(pod);
  process.stdout.write(`${JSON.stringify({ ready: true, pod: options.name, incarnation, ...pod.ports })}\n`);
}

function stackOf(error: unknown): string | undefined {
  return error instanceof Error ? error.stack : undefined;
}

main(process.argv.slice(2)).catch((error: unknown) => {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exit(1);
});
