/** `mailboat sink ls|show ID`: what a pool in mode Sink took in place of sending it. Exit code 1 when the id is not kept. */
import type { Command } from "commander";
import { z } from "zod";
import { readAnswer } from "./admin-answers.ts";
import { addServerOptions, connectAdmin, type ServerOptions } from "./admin-client.ts";
import { CommandError, type CommandIo, wholeNumber } from "./command-io.ts";
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
  const admin = await connectAdmin(options);
  const answer = await admin.get("/v1/sink", { limit: String(limit) });
  if (options.json === true) return io.print(JSON.stringify(answer));
  const { messages } = readAnswer(listSchema, answer);
  if (messages.length === 0) return io.print("nothing was taken: is the pool's egress in mode Sink?");
  const rows = messages.map(({ id, at, tenant, from, to, site, source, ehlo, size }) => {
    const [first = "", ...others] = to;
    const all = others.length === 0 ? first : `${first} +${others.length}`;
    return [id, formatTime(at), tenant, from, all, site, `${source} (${ehlo})`, formatSize(size)];
  });
  for (const line of formatTable(["ID", "TIME", "TENANT", "FROM", "TO", "SITE", "SOURCE", "SIZE"], rows))
    io.print(line);
}

async function show(id: string, options: ListOptions, io: CommandIo): Promise<void> {
  const admin = await connectAdmin(options);
  const answer = await admin.find(`/v1/sink/${encodeURIComponent(id)}`);
  if (answer === undefined)
    throw new CommandError(
      `Cannot show ${printable(id)}: expected a message that is kept, got none of this id`,
    );
  if (options.json === true) return io.print(JSON.stringify(answer));
  const { message, size } = readAnswer(messageSchema, answer);
  const bytes = Buffer.from(message, "base64");
  for (const line of bytes.toString("utf8").split(/\r?\n/)) io.print(printable(line));
  if (bytes.length < size) io.print(`(${size - bytes.length} more bytes were not kept)`);
}
