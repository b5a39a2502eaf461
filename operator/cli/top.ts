/** `mailboat top`: tenants and sites by what is queued, sources by what they send, with rates and binding limits; renewed in a terminal. */
import { setTimeout as delay } from "node:timers/promises";
import type { Command } from "commander";
import { complainOfSilent, readAnswer, topSchema, type TopAnswer } from "./admin-answers.ts";
import { addServerOptions, connectPools, type ServerOptions } from "./admin-client.ts";
import { wholeNumber, type CommandIo } from "./command-io.ts";
import { askPools, jsonOf, partsOf } from "./pools.ts";
import { formatAge, formatTable } from "./table.ts";

interface TopOptions extends ServerOptions {
  readonly once?: boolean;
  readonly interval: string;
  readonly json?: boolean;
}

/** Rows of each table; a screen is not endless. */
const maxRows = 20;
const clearScreen = "\u001b[2J\u001b[H";

export function addTopCommand(program: Command, io: CommandIo): void {
  addServerOptions(program.command("top"))
    .description("Show tenants, sites and sources: rates, queued, oldest, binding limits; live in a terminal")
    .option("--interval <seconds>", "time between two looks", "2")
    .option("--once", "look once (as when the output is no terminal)")
    .option("--json", "print one look as JSON")
    .action((options: TopOptions) => top(options, io));
}

async function top(options: TopOptions, io: CommandIo): Promise<void> {
  const seconds = wholeNumber("--interval", options.interval, { min: 1, max: 3600 });
  const pools = await connectPools(options);
  const live = io.isTerminal && options.once !== true && options.json !== true;
  for (;;) {
    const { said, complaints } = await askPools(pools, (admin) => admin.get("/v1/top"));
    if (options.json === true) for (const one of said) io.print(jsonOf(pools, one));
    else {
      const shown = said.map(({ pool, answer }) => ({ pool, answer: readAnswer(topSchema, answer) }));
      const now = Date.now();
      const parts = shown.map(({ pool, answer }) => ({ pool, answer: screen(answer, now) }));
      const lines = partsOf(pools, parts);
      if (lines.length > 0) io.print(`${live ? clearScreen : ""}${lines.join("\n")}`);
      for (const { answer } of shown) complainOfSilent(answer.silent, io);
    }
    for (const line of complaints) io.complain(line);
    if (!live) return complaints.length === 0 ? undefined : io.setExitCode(1);
    await delay(seconds * 1000);
  }
}

/** The lines for a person; `now` in ms since 1970. */
function screen({ tenants, sites, sources, suspensions = [] }: TopAnswer, now: number): string[] {
  const busiestTenants = [...tenants]
    .sort((a, b) => b.ready + b.waiting + b.suspended - (a.ready + a.waiting + a.suspended))
    .slice(0, maxRows);
  const busiestSites = [...sites].sort((a, b) => b.queued - a.queued).slice(0, maxRows);
  const tenantRows = busiestTenants.map((row) => [
    row.tenant,
    String(row.ready),
    String(row.waiting),
    String(row.suspended),
    row.oldestSeconds ? formatAge(row.oldestSeconds * 1000) : "-",
    row.receivedPerSecond.toFixed(1),
    row.deliveredPerSecond.toFixed(1),
  ]);
  const siteRows = busiestSites.map((row) => {
    const backoff = (row.backoffUntil ?? 0) - now;
    const binding =
      backoff > 0 ? `${row.binding ?? "backoff"} (${formatAge(backoff)})` : (row.binding ?? "-");
    return [
      row.site,
      String(row.queued),
      String(row.open),
      String(row.window ?? "-"),
      row.sentPerSecond.toFixed(1),
      binding,
    ];
  });
  const sourceRows = sources
    .toSorted((a, b) => b.attemptsPerSecond - a.attemptsPerSecond || b.open - a.open)
    .slice(0, maxRows)
    .map((row) => [
      row.source,
      String(row.open),
      String(row.sites),
      row.attemptsPerSecond.toFixed(1),
      row.deliveredPerSecond.toFixed(1),
    ]);
  return [
    ...formatTable(["TENANT", "READY", "WAITING", "SUSPENDED", "OLDEST", "IN/S", "OUT/S"], tenantRows),
    "",
    ...formatTable(["SITE", "QUEUED", "OPEN", "WINDOW", "SENT/S", "BINDING"], siteRows),
    "",
    ...formatTable(["SOURCE", "OPEN", "SITES", "TRIES/S", "OUT/S"], sourceRows),
    ...suspensionLines(suspensions, now),
  ];
}

function suspensionLines(suspensions: NonNullable<TopAnswer["suspensions"]>, now: number): string[] {
  const rows = suspensions
    .filter(({ until }) => until === undefined || until > now)
    .slice(0, maxRows)
    .map(({ tenant = "all", site = "all", domain = "all", id = "all", until, at }) => [
      tenant,
      site,
      domain,
      id,
      formatAge(now - at),
      until === undefined ? "when resumed" : `in ${formatAge(until - now)}`,
    ]);
  const head = ["SUSPENDED TENANT", "SITE", "DOMAIN", "ID", "SINCE", "ENDS"];
  return rows.length === 0 ? [] : ["", ...formatTable(head, rows)];
}
