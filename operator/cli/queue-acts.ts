/** What `mailboat queue` does to mail: suspend, resume, bounce, retry; long acts are followed to their end. Ctrl-C stops only the watching. */
import { setTimeout as delay } from "node:timers/promises";
import { parseDuration } from "#crds/values/duration.ts";
import { type ActAnswer, actSchema, readAnswer, suspensionSchema } from "./admin-answers.ts";
import { type AdminClient, connectPools, type ServerOptions } from "./admin-client.ts";
import { CommandError, type CommandIo } from "./command-io.ts";
import { jsonOf, placeOf, poolFor } from "./pools.ts";
import { chosen, type Selection } from "./selection.ts";

export type ActOptions = ServerOptions & Selection & { readonly json?: boolean; readonly for?: string };

const pollMs = 1000;

export async function act(action: "bounce" | "retry", options: ActOptions, io: CommandIo): Promise<void> {
  const body = chosen(action, options);
  const pools = await connectPools(options);
  const pool = await poolFor(action, pools, options);
  const begun = readAnswer(actSchema, await pool.admin.post(`/v1/queue/${action}`, body));
  const answer = await followed(pool.admin, begun, io);
  const { affected, isDone, silent, interrupted } = answer;
  if (options.json === true) io.print(jsonOf(pools, { pool, answer }));
  else io.print(`${action}: ${entries(affected)}${placeOf(pools, pool)}`);
  if (silent.length > 0)
    io.complain(
      `no answer from ${silent.join(", ")}: what is queued there may be left as it was, ${action} again`,
    );
  if (interrupted.length > 0)
    io.complain(
      `${interrupted.join(", ")} gave shards away or split messages meanwhile: some of them may be left as they were, ${action} again`,
    );
  if (affected === 0 || !isDone || silent.length + interrupted.length > 0) io.setExitCode(1);
}

/** Asks on until it is done; what the pods have begun they end, whoever watches. */
async function followed(admin: AdminClient, first: ActAnswer, io: CommandIo): Promise<ActAnswer> {
  let answer = first;
  while (!answer.isDone) {
    io.complain(`${answer.looked} of ${answer.total} looked at, ${answer.affected} done`);
    await delay(pollMs);
    const now = await admin.find(`/v1/acts/${answer.job}`);
    if (now === undefined) return answer;
    const next = readAnswer(actSchema, now);
    // A pod that ended takes its part of the work with it.
    const lost = answer.pods.filter((pod) => !next.pods.includes(pod));
    answer = {
      ...next,
      silent: [...new Set([...next.silent, ...answer.silent, ...lost])],
      interrupted: [...new Set([...next.interrupted, ...answer.interrupted])],
    };
    if (next.pods.length === 0) return answer;
  }
  return answer;
}

export async function suspendOrResume(
  action: "suspend" | "resume",
  options: ActOptions,
  io: CommandIo,
): Promise<void> {
  const body = chosen(action, options);
  const forMs = durationOf(action, options.for);
  const pools = await connectPools(options);
  const pool = await poolFor(action, pools, options);
  const seconds = forMs === undefined ? {} : { forSeconds: Math.max(1, Math.ceil(forMs / 1000)) };
  const answer = await pool.admin.post(`/v1/queue/${action}`, { ...body, ...seconds });
  const { affected, suspensions, pending } = readAnswer(suspensionSchema, answer);
  const place = placeOf(pools, pool);
  if (options.json === true) io.print(jsonOf(pools, { pool, answer }));
  else if (action === "suspend")
    io.print(`suspend: ${entries(affected)}${place} now, and what comes, ${endOf(options)}`);
  else io.print(`resume: ${suspensions} ${suspensions === 1 ? "suspension" : "suspensions"} lifted${place}`);
  if (pending.length > 0) io.complain(`stored, but not yet confirmed by ${pending.join(", ")}`);
  if (action === "resume" && suspensions === 0) io.setExitCode(1);
}

function durationOf(action: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const ms = parseDuration(text);
  if (ms !== undefined && ms > 0) return ms;
  throw new CommandError(`Cannot ${action}: expected --for with a duration such as 30m, got "${text}"`, 2);
}

function endOf({ for: duration, id }: Pick<ActOptions, "for" | "id">): string {
  if (duration !== undefined) return `for ${duration}`;
  return id === undefined ? "until resumed" : "until resumed, or 168 h after it was accepted";
}

function entries(count: number): string {
  return `${count} ${count === 1 ? "entry" : "entries"}`;
}
