/** `mailboat sink ls|show ID`: what a pool in mode Sink took in place of sending it. Exit code 1 when the id is not kept. */
import type { Command } from "commander";
import { z } from "zod";
import { readAnswer } from "./admin-answers.ts";
import { addServerOptions, connectPools, type ServerOptions } from "./admin-client.ts";
import { CommandError, type CommandIo, wholeNumber } from "./command-io.ts";
import { askPools, jsonOf, partsOf } from "./pools.ts";
import { formatSize, formatTable, formatTime, printable } from "./table.ts";

const sunkSchema = z.object({
  id: z.string(),
  at: z.number(),
  tenant: z.string(),
  from: z.string(),
  to: z.array(z.string()),
  site: z.string(),
  source: z.string(),
  ehlo: z.string(),
  size: z.number(),
});
const listSchema = z.object({ messages: z.array(sunkSchema) });
/** `message`: its first bytes, in base64. */
const messageSchema = sunkSchema.extend({ message: z.string() });

type ListOptions = ServerOptions & { readonly json?: boolean; readonly limit: string };

export function addSinkCommands(program: Command, io: CommandIo): void {
  const sink = program.command("sink").description("Look at what a pool in mode Sink took and did not send");
  addServerOptions(sink.command("ls").description("List the last messages, newest first"))
    .option("--limit <n>", "messages at most", "20")
    .option("--json", "print JSON")
    .action((options: ListOptions) => list(options, io));
  addServerOptions(sink.command("show").description("Print one message as it would have been sent"))
    .argument("<id>", "the id of `250 2.0.0 queued as ID`")
    .option("--json", "print JSON")
    .action((id: string, options: ListOptions) => show(id, options, io));
}

async function list(options: ListOptions, io: CommandIo): Promise<void> {
  const limit = wholeNumber("--limit", options.limit, { min: 1, max: 1000 });
  const pools = await connectPools(options);
  const { said, complaints } = await askPools(pools, (admin) =>
    admin.get("/v1/sink", { limit: String(limit) }),
  );
  for (const line of complaints) io.complain(line);
  if (complaints.length > 0) io.setExitCode(1);
  if (options.json === true) {
    for (const one of said) io.print(jsonOf(pools, one));
    return;
  }
  const taken = said
    .map(({ pool, answer }) => ({ pool, messages: readAnswer(listSchema, answer).messages }))
    .filter(({ messages }) => messages.length > 0);
  if (taken.length === 0)
    return io.print(
      pools.length === 1
        ? "nothing was taken: is the pool's egress in mode Sink?"
        : `nothing was taken in any of ${pools.length} pools: is the egress of one of them in mode Sink?`,
    );
  const parts = taken.map(({ pool, messages }) => ({ pool, answer: listing(messages) }));
  for (const line of partsOf(pools, parts)) io.print(line);
}

function listing(messages: z.infer<typeof listSchema>["messages"]): string[] {
  const rows = messages.map(({ id, at, tenant, from, to, site, source, ehlo, size }) => {
    const [first = "", ...others] = to;
    const all = others.length === 0 ? first : `${first} +${others.length}`;
    return [id, formatTime(at), tenant, from, all, site, `${source} (${ehlo})`, formatSize(size)];
  });
  return formatTable(["ID", "TIME", "TENANT", "FROM", "TO", "SITE", "SOURCE", "SIZE"], rows);
}

async function show(id: string, options: ListOptions, io: CommandIo): Promise<void> {
  const pools = await connectPools(options);
  const { said, complaints } = await askPools(pools, (admin) =>
    admin.find(`/v1/sink/${encodeURIComponent(id)}`),
  );
  for (const line of complaints) io.complain(line);
  const found = said.find(({ answer }) => answer !== undefined);
  if (found === undefined)
    throw new CommandError(
      `Cannot show ${printable(id)}: expected a message that is kept, got none of this id${pools.length === 1 ? "" : ` in ${pools.length} pools`}`,
    );
  if (options.json === true) return io.print(jsonOf(pools, found));
  const { message, size } = readAnswer(messageSchema, found.answer);
  const bytes = Buffer.from(message, "base64");
  for (const line of bytes.toString("utf8").split(/\r?\n/)) io.print(printable(line));
  if (bytes.length < size) io.print(`(${size - bytes.length} more bytes were not kept)`);
}
