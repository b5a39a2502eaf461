/** `mailboat operator`: the controller in a cluster. Reads the options; operator/reconcile does the rest. */
import { hostname } from "node:os";
import { setFlagsFromString } from "node:v8";
import { type Command, Option } from "commander";
import { CommandError, type CommandIo, wholeNumber } from "./command-io.ts";
import { untilSignal } from "./signals.ts";

interface OperatorCommandOptions {
  readonly watchNamespace?: string[];
  readonly namespace?: string;
  readonly identity?: string;
  readonly podImage?: string;
  readonly imagePullPolicy?: string;
  readonly podMonitorLabel?: string[];
  readonly leaderElection: boolean;
  readonly release?: boolean;
  readonly bind: string;
  readonly metricsPort: string;
  readonly healthPort: string;
  readonly kubeconfig?: string;
  readonly context?: string;
  readonly logLevel: string;
}

/** As the API server takes labels; of their lengths it has the last word. */
const labelPattern =
  /^(?<name>(?:[a-z0-9][-a-z0-9.]*\/)?[A-Za-z0-9](?:[-\w.]*[A-Za-z0-9])?)=(?<value>(?:[A-Za-z0-9](?:[-\w.]*[A-Za-z0-9])?)?)$/;

const repeated = (value: string, before: string[] = []): string[] => [...before, value];

export function addOperatorCommand(program: Command, io: CommandIo): void {
  program
    .command("operator")
    .description(
      "Run the controller: SendingPools, Tenants and TrafficShapes of a cluster become pods that send",
    )
    .option("--watch-namespace <ns>", "namespace to watch; may be repeated (default: all)", repeated)
    .addOption(new Option("--namespace <ns>", "its own, for its Lease").env("POD_NAMESPACE"))
    .addOption(new Option("--identity <name>", "its name as leader (default: the host's)").env("POD_NAME"))
    .addOption(new Option("--pod-image <image>", "image of the pods").env("MAILBOAT_POD_IMAGE"))
    .addOption(
      new Option("--image-pull-policy <policy>", "of the pods").choices(["Always", "IfNotPresent", "Never"]),
    )
    .option(
      "--pod-monitor-label <name=value>",
      "label of the pools' PodMonitors, which your Prometheus selects by; may be repeated",
      repeated,
    )
    .option("--no-leader-election", "lead at once: only where nobody else does")
    .option(
      "--release",
      "before an uninstall: end whoever leads, take the finalizer off all tenants, and end; pods go on",
    )
    .option("--bind <address>", "address of its ports", "0.0.0.0")
    .option("--metrics-port <n>", "/metrics; 0 = any free port", "8080")
    .option("--health-port <n>", "/healthz and /readyz; 0 = any free port", "8081")
    .option(
      "--kubeconfig <file>",
      "how to reach the API server (default: as kubectl does, then as a pod does)",
    )
    .option("--context <name>", "context of the kubeconfig (default: its current one)")
    .addOption(
      new Option("--log-level <level>", "lines to write")
        .choices(["debug", "info", "warn", "error"])
        .default("info"),
    )
    .action((options: OperatorCommandOptions) =>
      options.release === true ? runReleaseCommand(options, io) : runOperatorCommand(options, io),
    );
}

/** Its namespaces, and that of its Lease. */
function placeOf({ watchNamespace, namespace, identity, kubeconfig, context }: OperatorCommandOptions) {
  return {
    namespaces: watchNamespace === undefined ? undefined : [...new Set(watchNamespace)],
    namespace: namespace ?? watchNamespace?.[0],
    identity: identity ?? hostname(),
    kubeconfig,
    context,
  };
}

function labelsOf(texts: readonly string[] = []): Record<string, string> {
  const labels = texts.map((text): [string, string] => {
    const { name = "", value = "" } = labelPattern.exec(text)?.groups ?? {};
    if (name === "")
      throw new CommandError(`Cannot start: expected --pod-monitor-label NAME=VALUE, got "${text}"`, 2);
    return [name, value];
  });
  return Object.fromEntries(labels);
}

function noNamespace(): CommandError {
  const expected = "expected --namespace NS (or POD_NAMESPACE) for the Lease, got none";
  return new CommandError(`Cannot start: ${expected}`, 2);
}

async function runReleaseCommand(options: OperatorCommandOptions, io: CommandIo): Promise<void> {
  const { namespace, ...place } = placeOf(options);
  if (namespace === undefined) throw noNamespace();
  const [{ runRelease }, { createLog }] = await Promise.all([
    import("#operator/reconcile/release.ts"),
    import("#operator/telemetry/log.ts"),
  ]);
  const log = createLog(options.logLevel, { operator: place.identity });
  const stop = new AbortController();
  void untilSignal().then(() => stop.abort());
  io.setExitCode(await runRelease({ ...place, namespace }, { log, signal: stop.signal }));
}

async function runOperatorCommand(options: OperatorCommandOptions, io: CommandIo): Promise<void> {
  const port = (option: string, text: string): number => wholeNumber(option, text, { min: 0, max: 65_535 });
  const { podImage, leaderElection } = options;
  if (podImage === undefined || podImage === "")
    throw new CommandError("Cannot start: expected --pod-image IMAGE or MAILBOAT_POD_IMAGE, got neither", 2);
  const place = placeOf(options);
  if (leaderElection && place.namespace === undefined) throw noNamespace();
  const settings = {
    ...place,
    namespace: place.namespace ?? "default",
    podImage,
    imagePullPolicy: options.imagePullPolicy,
    podMonitorLabels: labelsOf(options.podMonitorLabel),
    leaderElection,
    bind: options.bind,
    metricsPort: port("--metrics-port", options.metricsPort),
    healthPort: port("--health-port", options.healthPort),
  };
  // What is kept grows with the tenants; V8 would let garbage grow along with it, to twice as much.
  setFlagsFromString("--heap-growing-percent=15");
  // Only here: the client of Kubernetes is large, and the other commands do without it.
  const [{ runOperator }, { createLog }] = await Promise.all([
    import("#operator/reconcile/operator.ts"),
    import("#operator/telemetry/log.ts"),
  ]);
  const log = createLog(options.logLevel, { operator: settings.identity });
  const stop = new AbortController();
  void untilSignal().then((signal) => {
    log.info("stopping", { reason: signal });
    stop.abort();
  });
  const exitCode = await runOperator(settings, {
    log,
    signal: stop.signal,
    onListening: (ports) => log.info("listening", ports),
  });
  // A lost lease must end the process whatever is still under way.
  if (exitCode !== 0) process.exit(exitCode);
  io.setExitCode(exitCode);
}
