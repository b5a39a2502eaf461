/** A real Prometheus that scrapes given addresses once a second; asked over its HTTP API. Its data goes when it is closed. */
import { spawn } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { stringify } from "yaml";
import { freePorts } from "#operator/local/ports.ts";
import { until } from "#test/kit/until.ts";

interface Target {
  /** HOST:PORT. */
  readonly address: string;
  readonly job: string;
  readonly labels: Readonly<Record<string, string>>;
}

export interface Prometheus extends AsyncDisposable {
  /** An instant query: how many series it answers with, but for those that are not a number. @throws Error with Prometheus' words for what it does not understand */
  count(query: string): Promise<number>;
  /** JSON of a path of the API, below /api/v1/. */
  get(path: string): Promise<unknown>;
}

interface PrometheusOptions {
  /** Path of the program. */
  readonly program: string;
  readonly targets: readonly Target[];
  readonly ruleFiles: readonly string[];
}

export async function startPrometheus({
  program,
  targets,
  ruleFiles,
}: PrometheusOptions): Promise<Prometheus> {
  const folder = await mkdtemp(join(tmpdir(), "mailboat-prometheus-"));
  const [port = 0] = await freePorts(1);
  const config = {
    global: { scrape_interval: "1s", evaluation_interval: "1s" },
    rule_files: ruleFiles,
    scrape_configs: [...new Set(targets.map(({ job }) => job))].map((job) => ({
      job_name: job,
      honor_labels: true,
      static_configs: targets
        .filter((target) => target.job === job)
        .map(({ address, labels }) => ({ targets: [address], labels })),
    })),
  };
  const configFile = join(folder, "prometheus.yaml");
  await writeFile(configFile, stringify(config));
  const child = spawn(
    program,
    [
      `--config.file=${configFile}`,
      `--storage.tsdb.path=${join(folder, "data")}`,
      `--web.listen-address=127.0.0.1:${port}`,
      "--log.level=warn",
    ],
    { stdio: ["ignore", "ignore", "pipe"] },
  );
  let said = "";
  child.stderr.on("data", (data: Buffer) => (said = (said + data.toString("utf8")).slice(-4000)));
  const exited = new Promise<void>((resolve) => child.once("close", () => resolve()));
  const get = async (path: string): Promise<unknown> => {
    const response = await fetch(`http://127.0.0.1:${port}/api/v1/${path}`);
    const text = await response.text();
    if (!response.ok) throw new Error(`${path}: ${response.status} ${text}`);
    return (JSON.parse(text) as { data: unknown }).data;
  };
  const close = async (): Promise<void> => {
    child.kill("SIGKILL");
    await exited;
    await rm(folder, { recursive: true, force: true, maxRetries: 5 });
  };
  try {
    await until(
      "Prometheus to be ready",
      async () => {
        if (child.exitCode !== null) throw new Error("Prometheus ended");
        return fetch(`http://127.0.0.1:${port}/-/ready`).then(
          ({ ok }) => ok,
          () => false,
        );
      },
      30_000,
    );
  } catch (error) {
    await close();
    throw new Error(`${String(error)}\n${said}`, { cause: error });
  }
  return {
    get,
    async count(query) {
      const { result } = (await get(`query?query=${encodeURIComponent(query)}`)) as {
        result: { value: [number, string] }[];
      };
      return result.filter(({ value: [, value] }) => value !== "NaN").length;
    },
    [Symbol.asyncDispose]: close,
  };
}
