/**
 * What many tenants cost apart from their mail: compiling, a pod's start, one edit until every pod has taken it over. Prints; the
 * answer is no when one of them is beyond its limit. Throws Error when the product does not start or an edit is not taken over.
 */
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { z } from "zod";
import { compile } from "#operator/compile/compile.ts";
import { readResources } from "#operator/gather/folder.ts";
import type { StartOptions } from "./contender.ts";
import { product, type RunningProduct } from "./product.ts";
import { ed25519Key, loginTenant, tenantRate, writeResources } from "./resources.ts";
import { spreadOf } from "./statistics.ts";
import type { Run } from "./task.ts";
import { usageOf } from "./usage.ts";

const limits = { compileSeconds: 1, podStartSeconds: 3, editSeconds: 5 };
const compiles = 3;
const editMs = 60_000;
const pollMs = 10;
const statusSchema = z.object({ generation: z.number() });

export async function tenants({ options, say }: Run): Promise<boolean> {
  const [first] = options.scenarios;
  if (first === undefined || options.tenants === undefined) return false;
  const scenario = { ...first, tenants: options.tenants };
  const folder = await mkdtemp(join(tmpdir(), "mailboat-bench-"));
  const start: StartOptions = {
    scenario,
    durability: options.durability,
    keys: {},
    // Nothing is sent.
    sinkPort: 1,
    slowPort: undefined,
    pods: options.pods,
    folder,
    env: { ...process.env, NODE_OPTIONS: "" },
  };
  try {
    const count = scenario.tenants.toLocaleString("en");
    say(`\n${count} tenants with logins, limits and keys of their own, ${options.pods} pods`);
    const compiled = await timeCompiles(start);
    say(
      `CPU time: reading the files ${seconds(compiled.readSeconds)}; compiling ${seconds(compiled.firstSeconds)} the first time, ${seconds(compiled.medianSeconds)} as the median of ${compiles} more, ${seconds(compiled.editSeconds)} after an edit of one tenant`,
    );
    const running = await product.start(start);
    try {
      const starts = running.podPids.map((pid, index) => ({ pid, ready: running.readySeconds[index] ?? 0 }));
      for (const { pid, ready } of starts)
        say(
          `a pod was ready ${seconds(ready)} after its start; CPU ${seconds(usageOf(pid).cpuSeconds)}, RSS ${(usageOf(pid).residentBytes / 2 ** 20).toFixed(0)} MB`,
        );
      const edits: number[] = [];
      for (let edit = 1; edit <= 3; edit++) edits.push(await timeEdit(running, scenario.tenants, edit));
      say(`an edit of one tenant was in force in all pods after ${edits.map(seconds).join(", ")}`);
      const podStart = Math.max(...starts.map(({ ready }) => ready));
      const isOk =
        compiled.firstSeconds < limits.compileSeconds &&
        podStart < limits.podStartSeconds &&
        Math.max(...edits) < limits.editSeconds;
      const facts = { tenants: scenario.tenants, ...compiled, podStartSeconds: podStart, editSeconds: edits };
      if (options.json) console.log(JSON.stringify(facts));
      const told = `compile < ${limits.compileSeconds} s, pod start < ${limits.podStartSeconds} s, edit < ${limits.editSeconds} s`;
      say(`${isOk ? "Shown" : "NOT SHOWN"}: with ${count} tenants ${told}.`);
      return isOk;
    } finally {
      await running.stop();
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** CPU-seconds. */
interface Compiles {
  readonly readSeconds: number;
  readonly firstSeconds: number;
  readonly medianSeconds: number;
  readonly editSeconds: number;
}

/** In this process, as the operator does: reading is not part of it, since its cache of the API has the objects parsed. */
async function timeCompiles(start: StartOptions): Promise<Compiles> {
  const own = join(start.folder, "compile");
  await mkdir(own);
  const resources = await writeResources({ ...start, folder: own });
  const read = timed(() => readResources([resources]).snapshot);
  const first = timed(() => compile(read.value, { generation: 1 }));
  if (first.value.pools.length !== 1)
    throw new Error(`Cannot time this: expected one pool, got ${first.value.pools.length}`);
  const again = Array.from(
    { length: compiles },
    (_, index) =>
      // Freshly parsed, so that nothing is remembered of the objects.
      timed(compileOf(structuredClone(read.value), index + 2)).seconds,
  );
  await editTenant(resources, start.scenario.tenants, 1);
  const [edited] = readResources([join(resources, "edited.yaml")]).snapshot.tenants;
  const snapshot = read.value;
  const changed = {
    ...snapshot,
    tenants: snapshot.tenants.map((one) =>
      edited !== undefined && one.metadata.name === edited.metadata.name ? edited : one,
    ),
  };
  return {
    readSeconds: read.seconds,
    firstSeconds: first.seconds,
    medianSeconds: spreadOf(again).median,
    editSeconds: timed(compileOf(changed, compiles + 2)).seconds,
  };
}

function compileOf(snapshot: Parameters<typeof compile>[0], generation: number): () => void {
  return () => void compile(snapshot, { generation });
}

/** CPU time of all threads, the collector's included: on an idle machine a little more than what the clock says. */
function timed<T>(work: () => T): { readonly value: T; readonly seconds: number } {
  const before = process.cpuUsage();
  const value = work();
  const { user, system } = process.cpuUsage(before);
  return { value, seconds: (user + system) / 1e6 };
}

/** Gives the last tenant another rate. */
async function editTenant(resources: string, count: number, edit: number): Promise<void> {
  const documents = loginTenant(count - 1, { rate: tenantRate(count) + edit, key: ed25519Key() });
  await writeFile(join(resources, "edited.yaml"), documents.join("\n---\n"));
}

/** @returns seconds from the write to the last pod that runs it */
async function timeEdit(
  { resources, metrics }: RunningProduct,
  count: number,
  edit: number,
): Promise<number> {
  const before = await Promise.all(metrics.map(generationOf));
  const startedAt = performance.now();
  await editTenant(resources, count, edit);
  for (;;) {
    const now = await Promise.all(metrics.map(generationOf));
    const passedMs = performance.now() - startedAt;
    if (now.every((generation, index) => generation > (before[index] ?? 0))) return passedMs / 1e3;
    if (passedMs > editMs)
      throw new Error(
        `Cannot time this: expected an edit to be taken over, got generation ${now.join(", ")}`,
      );
    await delay(pollMs);
  }
}

async function generationOf(hostAndPort: string): Promise<number> {
  const response = await fetch(`http://${hostAndPort}/statusz`);
  return statusSchema.parse(await response.json()).generation;
}

function seconds(value: number): string {
  return `${value.toFixed(2)} s`;
}
