/** `npm run cluster -- up|down|build`: a cluster to play with. Ends with one line that says what was shown; exit code 1 when something was not. */
import { access } from "node:fs/promises";
import { join } from "node:path";
import { installPackages } from "./apt.ts";
import { findBinaries, kubernetesVersion } from "./binaries.ts";
import { type Cluster, startCluster, stopCluster } from "./cluster.ts";
import { root } from "./images/images.ts";
import { placesOfPlay } from "./place.ts";
import { tierHere } from "./tier.ts";

const usage = `usage: npm run cluster -- up | down [N | --all] | build
  up     starts a cluster, loads the images of this checkout, installs the chart; it stays until down
  down   ends the cluster that up started; of several, the one whose number is given, or all with --all
  build  only fetches and builds what clusters need: minutes the first time, then nothing`;

const release = ["mailboat", "--namespace", "mailboat-system"] as const;
const say = (line: string): void => console.log(line);

async function build(): Promise<string> {
  const { tier, why, isFailure } = await tierHere();
  if (tier === "none" || isFailure) throw new Error(`nothing built: ${why}`);
  if (tier === "full") await installPackages(process.env, say);
  await findBinaries(process.env, say);
  return `cluster build: what a cluster needs is here (tier ${tier}: ${why})`;
}

async function up(): Promise<string> {
  const { tier, why } = await tierHere();
  if (tier === "none") throw new Error(`no cluster: ${why}`);
  say(`tier ${tier}: ${why}`);
  const cluster = await startCluster({ tier, say });
  try {
    say(`Kubernetes ${kubernetesVersion} is up after ${(cluster.startedInMs / 1000).toFixed(1)} s`);
    const shown = tier === "full" ? await installAll(cluster) : await installDefinitions(cluster);
    const config = await cluster.leave();
    say(`\nexport KUBECONFIG=${config} PATH=${join(cluster.binaries.path("kubectl"), "..")}:$PATH`);
    say("kubectl get pods --all-namespaces        # kubectl port-forward reaches Services from here");
    say(
      `logs of the cluster itself: ${join(cluster.place.folder, "log")}; end it: npm run cluster -- down ${cluster.place.index}\n`,
    );
    return `cluster up: Kubernetes ${kubernetesVersion} in tier ${tier}, ${shown}; KUBECONFIG=${config}`;
  } catch (error) {
    await cluster[Symbol.asyncDispose]();
    throw error;
  }
}

async function installAll(cluster: Cluster): Promise<string> {
  await cluster.loadImages();
  say("images loaded: mailboat-pod, mailboat-operator, nats");
  const chart = join(root, "charts", "mailboat");
  const values = join(chart, "ci", "trial-values.yaml");
  await access(values);
  const args = ["install", ...release, chart, "--create-namespace", "--values", values];
  try {
    say(await cluster.helm([...args, "--wait", "--timeout", "120s"]));
  } catch (error) {
    const pods = await cluster.kubectl(["get", "pods", "--all-namespaces"]);
    const logs = await cluster.kubectl([
      "logs",
      "-n",
      "mailboat-system",
      "deploy/mailboat-operator",
      "--tail=5",
    ]);
    throw new Error(`${String(error)}\n${pods}${logs}`, { cause: error });
  }
  return "node ready, images loaded, chart installed and its Deployments ready";
}

async function installDefinitions(cluster: Cluster): Promise<string> {
  await cluster.kubectl(["apply", "--server-side", "-f", join(root, "crds", "manifests")]);
  return "no node, so no pods; CustomResourceDefinitions installed";
}

async function down(which: string | undefined): Promise<string> {
  const places = await placesOfPlay();
  const chosen =
    which === undefined || which === "--all" ? places : places.filter((one) => String(one.index) === which);
  // Several people may play on one machine.
  if (which === undefined && places.length > 1)
    throw new Error(`which of ${places.map(({ index }) => index).join(", ")}? Say its number, or --all`);
  if (chosen.length === 0 && which !== undefined) throw new Error(`there is no cluster ${which}`);
  for (const place of chosen) await stopCluster(place);
  return `cluster down: ${chosen.length === 0 ? "there was none" : `${chosen.length} taken down`}`;
}

const commands: Readonly<Record<string, (argument?: string) => Promise<string>>> = { up, down, build };

async function main([name = "", argument]: readonly string[]): Promise<void> {
  const command = commands[name];
  if (command === undefined) {
    console.error(usage);
    process.exitCode = 2;
    return;
  }
  try {
    say(await command(argument));
  } catch (error) {
    console.error(`cluster ${name}: ${error instanceof Error ? error.message : String(error)}`);
    process.exitCode = 1;
  }
  // Connections to what goes on by itself would keep this process.
  process.exit();
}

await main(process.argv.slice(2));
