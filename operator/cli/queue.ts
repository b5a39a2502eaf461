/** `mailboat queue ls|suspend|resume|bounce|retry`: looks at queued mail and acts on a selection of it, never on everything by mistake. */
import type { Command } from "commander";
import { affectedSchema, queueSchema, readAnswer, type QueueEntry } from "./admin-answers.ts";
import { addServerOptions, connectAdmin, type ServerOptions } from "./admin-client.ts";
import { CommandError, wholeNumber, type CommandIo } from "./command-io.ts";
import { formatAge, formatSize, formatTable } from "./table.ts";

interface Selection {
  readonly tenant?: string;
  readonly site?: string;
  readonly domain?: string;
  readonly id?: string;
  readonly all?: boolean;
}

type QueueOptions = ServerOptions & Selection & { readonly limit: string; readonly json?: boolean };

const actions = [
  { name: "suspend", does: "Keep the selected mail from being attempted until it is resumed" },
  { name: "resume", does: "Let suspended mail go again" },
  { name: "bounce", does: "Give the selected mail up: its senders get a delivery report" },
  { name: "retry", does: "Attempt the selected mail as soon as its limits allow" },
] as const;

export function addQueueCommands(program: Command, io: CommandIo): void {
  const queue = program.command("queue").description("Look at and act on queued mail");
  withSelection(queue.command("ls").description("List queued mail, oldest first"))
    .option("--limit <n>", "entries at most", "100")
    .action((options: QueueOptions) => list(options, io));
  for (const { name, does } of actions)
    withSelection(queue.command(name).description(does))
      .option("--all", "everything that is queued in the pool")
      .action((options: QueueOptions) => act(name, options, io));
}

function withSelection(command: Command): Command {
  return addServerOptions(command)
    .option("--tenant <name>", "only of this tenant (namespace/name)")
    .option("--site <id>", "only to this site")
    .option("--domain <name>", "only to recipients of this domain")
    .option("--id <id>", "only the message with this id")
    .option("--json", "print JSON");
}

async function list(options: QueueOptions, io: CommandIo): Promise<void> {
  const limit = wholeNumber("--limit", options.limit, { min: 1, max: 100_000 });
  const admin = await connectAdmin(options);
  const answer = await admin.get("/v1/queue", { ...selectorOf(options), limit: String(limit) });
  if (options.json === true) return io.print(JSON.stringify(answer));
  const { entries, truncated } = readAnswer(queueSchema, answer);
  if (entries.length === 0) return io.print("nothing is queued");
  const now = Date.now();
  const head = ["ID", "TENANT", "SITE", "TO", "SIZE", "AGE", "TRY", "STATE", "NEXT"];
  for (const line of formatTable(
    head,
    entries.map((entry) => row(entry, now)),
  ))
    io.print(line);
  if (truncated) io.print(`and more: --limit ${limit * 10} shows more of them`);
}

function row(entry: QueueEntry, now: number): string[] {
  const [first = "", ...others] = entry.to;
  const to = others.length === 0 ? first : `${first} +${others.length}`;
  const wait = (entry.due ?? 0) - now;
  const next = wait > 0 ? `in ${formatAge(wait)}` : "now";
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
    next,
  ];
}

async function act(
  action: (typeof actions)[number]["name"],
  options: QueueOptions,
  io: CommandIo,
): Promise<void> {
  const selector = selectorOf(options);
  const empty = Object.keys(selector).length === 0;
  if (empty && options.all !== true)
    throw new CommandError(
      `Cannot ${action}: expected --tenant, --site, --domain or --id (or --all for everything that is queued), got no selection`,
      2,
    );
  if (!empty && options.all === true)
    throw new CommandError(`Cannot ${action}: expected either a selection or --all, got both`, 2);
  const admin = await connectAdmin(options);
  const answer = await admin.post(`/v1/queue/${action}`, empty ? { all: true } : selector);
  if (options.json === true) return io.print(JSON.stringify(answer));
  const { affected } = readAnswer(affectedSchema, answer);
  io.print(`${action}: ${affected} ${affected === 1 ? "entry" : "entries"}`);
  if (affected === 0) io.setExitCode(1);
}

function selectorOf({ tenant, site, domain, id }: Selection): Record<string, string> {
  const given = Object.entries({ tenant, site, domain, id }).filter(([, value]) => value !== undefined);
  return Object.fromEntries(given.map(([name, value]) => [name, String(value)]));
}
