/** `mailboat queue ls|suspend|resume|bounce|retry`: looks at queued mail and acts on a selection of it, never on everything by mistake. */
import type { Command } from "commander";
import { maxListed } from "#crds/wire/peer.ts";
import {
  complainOfSilent,
  queueSchema,
  readAnswer,
  type QueueAnswer,
  type QueueEntry,
} from "./admin-answers.ts";
import { addServerOptions, connectPools } from "./admin-client.ts";
import { wholeNumber, type CommandIo } from "./command-io.ts";
import { askPools, jsonOf, partsOf } from "./pools.ts";
import { type ActOptions, act, suspendOrResume } from "./queue-acts.ts";
import { selectorOf } from "./selection.ts";
import { formatAge, formatSize, formatTable } from "./table.ts";

type ListOptions = ActOptions & { readonly limit: string };

export function addQueueCommands(program: Command, io: CommandIo): void {
  const queue = program.command("queue").description("Look at and act on queued mail");
  finding(queue.command("ls").description("List queued mail: what stands first in the queue, by age"))
    .option("--limit <n>", `entries at most, up to ${maxListed}`, "100")
    .action((options: ListOptions) => list(options, io));
  const acting = (name: string, does: string): Command =>
    finding(queue.command(name).description(does)).option("--all", "everything in the pool");
  acting("suspend", "Keep mail from being attempted, in all pods, until it is resumed; also mail that comes")
    .option("--for <duration>", "end the suspension by itself after so long, such as 30m or 12h")
    .action((options: ActOptions) => suspendOrResume("suspend", options, io));
  acting("resume", "Let suspended mail go again").action((options: ActOptions) =>
    suspendOrResume("resume", options, io),
  );
  acting("bounce", "Give the selected mail up: its senders get a delivery report").action(
    (options: ActOptions) => act("bounce", options, io),
  );
  acting(
    "retry",
    "Attempt the selected mail as soon as its limits allow; mail for later (X-Send-At) only with --id",
  ).action((options: ActOptions) => act("retry", options, io));
}

/** What picks messages out. */
function finding(command: Command): Command {
  return addServerOptions(command)
    .option("--tenant <name>", "only of this tenant (namespace/name)")
    .option("--site <id>", "only to this site")
    .option("--domain <name>", "only to recipients of this domain")
    .option("--id <id>", "only the message with this id")
    .option("--json", "print JSON");
}

async function list(options: ListOptions, io: CommandIo): Promise<void> {
  const limit = wholeNumber("--limit", options.limit, { min: 1, max: maxListed });
  const pools = await connectPools(options);
  const query = { ...selectorOf(options), limit: String(limit) };
  const { said, complaints } = await askPools(pools, (admin) => admin.get("/v1/queue", query));
  if (options.json === true) for (const one of said) io.print(jsonOf(pools, one));
  else {
    const answers = said.map(({ pool, answer }) => ({ pool, answer: readAnswer(queueSchema, answer) }));
    for (const { answer } of answers) complainOfSilent(answer.silent, io);
    const parts = answers.map(({ pool, answer }) => ({ pool, answer: listing(answer, limit) }));
    for (const line of partsOf(pools, parts)) io.print(line);
  }
  for (const line of complaints) io.complain(line);
  if (complaints.length > 0) io.setExitCode(1);
}

function listing({ entries, truncated, silent }: QueueAnswer, limit: number): string[] {
  if (entries.length === 0) return [nothing(truncated, silent)];
  const now = Date.now();
  const head = ["ID", "TENANT", "SITE", "TO", "SIZE", "AGE", "TRY", "STATE", "NEXT"];
  return [
    ...formatTable(
      head,
      entries.map((entry) => row(entry, now)),
    ),
    ...(truncated ? [`and more: ${adviceFor(entries.length, limit)}`] : []),
  ];
}

function nothing(truncated: boolean, silent: readonly string[]): string {
  if (truncated) return `nothing was found in the time there is: ${adviceFor(0, maxListed)}`;
  return silent.length === 0 ? "nothing is queued" : "nothing is queued in the pods that answered";
}

/** How to see what is not shown. Pods also end a list that takes too long or grows too large: a higher limit does not help then. */
function adviceFor(shown: number, limit: number): string {
  return shown >= limit && limit < maxListed
    ? `--limit ${Math.min(limit * 10, maxListed)} shows more of them`
    : "--tenant, --site, --domain or --id shows a part of them";
}

function row(entry: QueueEntry, now: number): string[] {
  const [first = "", ...others] = entry.to;
  const to = others.length === 0 ? first : `${first} +${others.length}`;
  const age = formatAge(now - entry.receivedAt);
  return [
    entry.id,
    entry.tenant,
    entry.site,
    to,
    formatSize(entry.size),
    age,
    String(entry.attempt),
    entry.state,
    nextOf(entry, now),
  ];
}

/** When it is attempted next; of what is kept from that, what keeps it. */
function nextOf({ state, due, stopped }: QueueEntry, now: number): string {
  if (stopped !== undefined) return stopped;
  if (state === "suspended" || state === "parked") return state;
  const wait = (due ?? 0) - now;
  return wait > 0 ? `in ${formatAge(wait)}` : "now";
}
