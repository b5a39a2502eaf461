/** `mailboat why ID`: one message's time line, what holds it back now, its next attempt. Exit code 1 when nobody knows the id. */
import type { Command } from "commander";
import {
  complainOfSilent,
  messageSchema,
  readAnswer,
  type EventAnswer,
  type MessageAnswer,
} from "./admin-answers.ts";
import { addServerOptions, connectAdmin, type ServerOptions } from "./admin-client.ts";
import { CommandError, type CommandIo } from "./command-io.ts";
import { formatAge, formatTime, printable } from "./table.ts";

export function addWhyCommand(program: Command, io: CommandIo): void {
  addServerOptions(program.command("why"))
    .description("Tell what happened to one message, what binds it now and what comes next")
    .argument("<id>", "the id of `250 2.0.0 queued as ID`")
    .option("--json", "print JSON")
    .action((id: string, options: ServerOptions & { json?: boolean }) => why(id, options, io));
}

async function why(id: string, options: ServerOptions & { json?: boolean }, io: CommandIo): Promise<void> {
  if (!/^[0-9A-Za-z_-]{1,64}$/.test(id))
    throw new CommandError(
      `Cannot look up a message: expected the id of "queued as ID", got "${printable(id)}"`,
      2,
    );
  const admin = await connectAdmin(options);
  const unknown = { id, events: [], entries: [] };
  const answer = (await admin.find(`/v1/messages/${encodeURIComponent(id)}`)) ?? unknown;
  const message = readAnswer(messageSchema, answer);
  complainOfSilent(message.silent, io);
  if (options.json === true) io.print(JSON.stringify(answer));
  else for (const line of story(message, Date.now())) io.print(line);
  if (message.events.length + message.entries.length === 0) io.setExitCode(1);
}

/** The lines for a person; `now` in ms since 1970. */
function story(message: MessageAnswer, now: number): string[] {
  const { id, events, entries, binding, nextAttempt, silent } = message;
  if (events.length + entries.length === 0)
    return [`${id}: not known here: no event and no queued entry has this id (events are kept for 72 hours)`];
  const lines = [`message ${id}`, ...events.map(eventLine)];
  for (const entry of entries) {
    const left = formatAge(entry.expiresAt - now);
    lines.push(
      printable(
        `queued for ${entry.to.join(", ")} at site ${entry.site}: ${entry.state}, expires in ${left}`,
      ),
    );
  }
  if (entries.length === 0)
    lines.push(
      silent.length === 0
        ? "nothing of it is queued any more"
        : "nothing of it is queued in the pods that answered",
    );
  if (binding) lines.push(printable(`held back by ${binding}`));
  const wait = (nextAttempt ?? 0) - now;
  if (wait > 0) lines.push(`next attempt in ${formatAge(wait)}, at ${formatTime(now + wait)}`);
  else if (entries.length > 0 && !binding) lines.push("next attempt as soon as its turn comes");
  if (message.truncated === true)
    lines.push("the search of the events stopped at its time bound; there may be more");
  return lines;
}

/** The peer's words; with the code in front unless they begin with it themselves. */
function replyOf({ code, enhanced, text = "" }: EventAnswer): string {
  if (code === undefined || text.startsWith(String(code))) return text;
  const known = enhanced === undefined || text.startsWith(enhanced) ? [] : [enhanced];
  return [code, ...known, text].filter((part) => part !== "").join(" ");
}

function eventLine(event: EventAnswer): string {
  const to = event.to === undefined ? [] : [`for ${event.to.join(", ")}`];
  const mx = event.mx === undefined ? [] : [`by ${event.mx}`];
  const reply = replyOf(event);
  const rule = event.rule === undefined ? [] : [`(rule ${event.rule})`];
  const again = event.nextAttempt === undefined ? [] : [`next at ${formatTime(event.nextAttempt)}`];
  const parts = [
    formatTime(event.time),
    event.type.padEnd(10),
    ...to,
    ...mx,
    ...(reply ? [`"${reply}"`] : []),
  ];
  return printable(["", ...parts, ...rule, ...again].join(" ").trimEnd());
}
