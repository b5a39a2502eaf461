/** `npm run bench`: builds the tools, runs scenarios, soak or profile, prints. Exit 1 when an id was lost or doubled, or a run failed. */
import { readFile } from "node:fs/promises";
import { buildTools } from "./build.ts";
import { stopChildren } from "./child.ts";
import { compare } from "./compare.ts";
import { compareRatios, notJudged, ratiosOf, readRatios } from "./guard.ts";
import { describeMachine, loadAverage } from "./machine.ts";
import { readOptions, usage } from "./options.ts";
import { profile } from "./profile.ts";
import { soak } from "./soak.ts";
import type { Run } from "./task.ts";
import { tenants } from "./tenants.ts";

async function main(args: readonly string[]): Promise<boolean> {
  const options = readOptions(args);
  if (options.task === "help") {
    console.log(usage);
    return true;
  }
  // With --json, standard output is for the object alone.
  const say = options.json ? console.error : console.log;
  const needsTls = options.scenarios.some(({ tls }) => tls);
  const tools = await buildTools(needsTls ? "tls" : "plain");
  say(`${await describeMachine()}; load average ${await loadAverage()}; ${new Date().toISOString()}`);
  say(
    options.durability === "os"
      ? "mail is kept in the page cache (no sync), the same for all; the generator and the sink share the machine"
      : "each message is on the disk before its 250, the same for all; the generator and the sink share the machine",
  );
  const run = { options, tools, say };
  switch (options.task) {
    case "soak":
      return soak(run);
    case "tenants":
      return tenants(run);
    case "profile":
      return profile(run);
    case "compare":
      return (await compare(run, args)).clean;
    case "check":
      return check(run, args);
    default:
      return options.task satisfies never;
  }
}

/** Whether nothing is dearer than it was, and no id was lost or doubled. */
async function check(run: Run, args: readonly string[]): Promise<boolean> {
  const { options, say } = run;
  const committed = readRatios(await readFile(new URL("ratios.json", import.meta.url), "utf8"));
  const { measurements, clean } = await compare(run, args);
  let isOk = clean;
  const unknown: string[] = [];
  for (const { name } of options.scenarios) {
    const runs = measurements.filter(({ scenario }) => scenario === name);
    const { lines, ok } = compareRatios(name, ratiosOf(runs), committed[name]);
    for (const line of lines) say(line);
    const held = committed[name];
    const why = held === undefined ? undefined : notJudged(runs, held);
    if (why === undefined) isOk &&= ok;
    else unknown.push(`${name}: ${why}`);
  }
  if (!isOk) say("NOT SHOWN: dearer than committed, or not clean, see above.");
  else if (unknown.length > 0) say(`NOT JUDGED: ${unknown.join("; ")}.`);
  else say("Shown: nothing is dearer than committed.");
  return isOk && unknown.length === 0;
}

let isInterrupted = false;
process.on("exit", stopChildren);
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.once(signal, () => {
    isInterrupted = true;
    stopChildren();
    process.once(signal, () => process.exit(130));
  });
}
try {
  process.exitCode = (await main(process.argv.slice(2))) ? 0 : 1;
} catch (error) {
  console.error(isInterrupted ? "interrupted" : error instanceof Error ? error.message : String(error));
  process.exitCode = isInterrupted ? 130 : 1;
}
