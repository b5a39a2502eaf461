/** `mailboat why ID`: one message's time line, what holds it back now, its next attempt. Exit code 1 when nobody knows the id. */
import type { Command } from "commander";
import {
  complainOfSilent,
  messageSchema,
  readAnswer,
  type EventAnswer,
  type MessageAnswer,
} from "./admin-answers.ts";
import { addServerOptions, connectPools, type PoolAdmin, type ServerOptions } from "./admin-client.ts";
import { CommandError, type CommandIo } from "./command-io.ts";
import { askPools, jsonOf, placeOf, type Said } from "./pools.ts";
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
  const pools = await connectPools(options);
  const { said, complaints } = await askPools(pools, async (admin) => {
    const raw = (await admin.find(`/v1/messages/${encodeURIComponent(id)}`)) ?? nothingOf(id);
    return { raw, message: readAnswer(messageSchema, raw) };
  });
  const known = said.find(({ answer }) => isKnown(answer.message));
  for (const line of complaints) io.complain(line);
  if (known === undefined) return tellUnknown(id, { pools, said, json: options.json === true }, io);
  const { pool, answer } = known;
  complainOfSilent(answer.message.silent, io);
  if (options.json === true) return io.print(jsonOf(pools, { pool, answer: answer.raw }));
  for (const line of story(answer.message, placeOf(pools, pool), Date.now())) io.print(line);
}

interface Unknown {
  readonly pools: readonly PoolAdmin[];
  readonly said: readonly Said<{ readonly raw: unknown; readonly message: MessageAnswer }>[];
  readonly json: boolean;
}

function tellUnknown(id: string, { pools, said, json }: Unknown, io: CommandIo): void {
  const silent = said.flatMap(({ answer }) => answer.message.silent);
  complainOfSilent(silent, io);
  const [only] = pools.length === 1 ? said : [];
  if (json) io.print(JSON.stringify(only?.answer.raw ?? { ...nothingOf(id), silent }));
  else if (said.length > 0)
    io.print(
      `${id}: not known here: no event and no queued entry has this id (events are kept for 72 hours)${askedOf(pools.length, said.length)}`,
    );
  io.setExitCode(1);
}

/** How far "here" goes. */
function askedOf(pools: number, answered: number): string {
  if (pools === 1) return "";
  return answered === pools
    ? `; ${pools} pools were asked`
    : `; ${answered} of ${pools} pools could be asked`;
}

function nothingOf(id: string): { id: string; events: []; entries: [] } {
  return { id, events: [], entries: [] };
}

function isKnown({ events, entries }: MessageAnswer): boolean {
  return events.length + entries.length > 0;
}

/** The lines for a person; `now` in ms since 1970. */
function story(message: MessageAnswer, place: string, now: number): string[] {
  const { id, events, entries, binding, nextAttempt, silent } = message;
  const lines = [`message ${id}${place}`, ...events.map(eventLine)];
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

/** The peer's words; with the code in front unless they begin with it themselves, of an attempt after its stage. */
function replyOf({ code, enhanced, text = "" }: EventAnswer): string {
  const words = text.replace(/^[a-z]+: /, "");
  if (code === undefined || words.startsWith(String(code))) return text;
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
