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
  readonly leaderElection: boolean;
  readonly bind: string;
  readonly metricsPort: string;
  readonly healthPort: string;
  readonly kubeconfig?: string;
  readonly context?: string;
  readonly logLevel: string;
}

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
    .option("--no-leader-election", "lead at once: only where nobody else does")
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
    .action((options: OperatorCommandOptions) => runOperatorCommand(options, io));
}

async function runOperatorCommand(options: OperatorCommandOptions, io: CommandIo): Promise<void> {
  const port = (option: string, text: string): number => wholeNumber(option, text, { min: 0, max: 65_535 });
  const { podImage, watchNamespace, leaderElection } = options;
  if (podImage === undefined || podImage === "")
    throw new CommandError("Cannot start: expected --pod-image IMAGE or MAILBOAT_POD_IMAGE, got neither", 2);
  const namespace = options.namespace ?? watchNamespace?.[0];
  if (leaderElection && namespace === undefined)
    throw new CommandError(
      "Cannot start: expected --namespace NS (or POD_NAMESPACE) for the Lease, got none",
      2,
    );
  const settings = {
    namespaces: watchNamespace === undefined ? undefined : [...new Set(watchNamespace)],
    namespace: namespace ?? "default",
    identity: options.identity ?? hostname(),
    podImage,
    imagePullPolicy: options.imagePullPolicy,
    leaderElection,
    bind: options.bind,
    metricsPort: port("--metrics-port", options.metricsPort),
    healthPort: port("--health-port", options.healthPort),
    kubeconfig: options.kubeconfig,
    context: options.context,
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
