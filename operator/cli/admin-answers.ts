/** The admin port's answers as the commands read them: unknown fields are kept out, missing ones are an error that names them. */
import { z } from "zod";
import { eventTypes } from "#crds/wire/event.ts";
import { CommandError, type CommandIo } from "./command-io.ts";

const time = z.number();

/** Live pods that did not answer: what they have is not in the answer. Absent from servers of a release before. */
const silent = z.array(z.string()).default([]);

const queueEntrySchema = z.object({
  id: z.string(),
  tenant: z.string(),
  stream: z.string(),
  class: z.string(),
  site: z.string(),
  from: z.string(),
  to: z.array(z.string()),
  size: z.number(),
  receivedAt: time,
  expiresAt: time,
  attempt: z.number(),
  state: z.string(),
  /** Next attempt, ms since 1970; 0 or absent = as soon as its lane allows. */
  due: time.nullish(),
  /** What keeps it whatever is due, such as `suspended`. Absent from pods of a release before. */
  stopped: z.string().optional(),
  shard: z.number(),
  pod: z.string(),
});

export const queueSchema = z.object({
  entries: z.array(queueEntrySchema),
  /** There are more than were asked for. */
  truncated: z.boolean(),
  silent,
});

const eventSchema = z.object({
  time,
  type: z.enum(eventTypes),
  to: z.array(z.string()).optional(),
  site: z.string().optional(),
  mx: z.string().optional(),
  attempt: z.number().optional(),
  code: z.number().optional(),
  enhanced: z.string().optional(),
  text: z.string().optional(),
  class: z.string().optional(),
  rule: z.string().optional(),
  nextAttempt: time.optional(),
  seconds: z.number().optional(),
  tls: z.string().optional(),
  pod: z.string(),
});

export const messageSchema = z.object({
  id: z.string(),
  events: z.array(eventSchema),
  entries: z.array(queueEntrySchema),
  /** The limit or rule that holds it back now. */
  binding: z.string().nullish(),
  nextAttempt: time.nullish(),
  /** The search stopped at its time bound. */
  truncated: z.boolean().optional(),
  silent,
});

export const topSchema = z.object({
  tenants: z.array(
    z.object({
      tenant: z.string(),
      ready: z.number(),
      waiting: z.number(),
      suspended: z.number(),
      oldestSeconds: z.number().nullish(),
      receivedPerSecond: z.number(),
      deliveredPerSecond: z.number(),
    }),
  ),
  sites: z.array(
    z.object({
      site: z.string(),
      queued: z.number(),
      open: z.number(),
      window: z.number().nullish(),
      binding: z.string().nullish(),
      backoffUntil: time.nullish(),
      /** Absent from pods of a release before. */
      sentPerSecond: z.number().default(0),
    }),
  ),
  /** Absent from pods of a release before. */
  sources: z
    .array(
      z.object({
        source: z.string(),
        open: z.number(),
        sites: z.number(),
        attemptsPerSecond: z.number(),
        deliveredPerSecond: z.number(),
      }),
    )
    .default([]),
  suspensions: z
    .array(
      z.object({
        tenant: z.string().optional(),
        site: z.string().optional(),
        domain: z.string().optional(),
        id: z.string().optional(),
        until: time.optional(),
        by: z.string(),
        at: time,
      }),
    )
    .optional(),
  silent,
});

export const actSchema = z.object({
  affected: z.number(),
  looked: z.number(),
  total: z.number(),
  isDone: z.boolean(),
  /** To ask on with, at /v1/acts/JOB. */
  job: z.string(),
  pods: z.array(z.string()),
  /** Pods that said nothing, or went before they were through. */
  silent: z.array(z.string()),
  /** Pods that gave shards away, read them again, or split messages meanwhile. Absent from servers of a release before. */
  interrupted: z.array(z.string()).default([]),
});

export const suspensionSchema = z.object({
  affected: z.number(),
  suspensions: z.number(),
  pods: z.array(z.string()),
  /** Pods that had not yet said that it holds there. */
  pending: z.array(z.string()),
});

export type QueueAnswer = z.infer<typeof queueSchema>;
export type QueueEntry = z.infer<typeof queueEntrySchema>;
export type MessageAnswer = z.infer<typeof messageSchema>;
export type ActAnswer = z.infer<typeof actSchema>;
export type EventAnswer = z.infer<typeof eventSchema>;
export type TopAnswer = z.infer<typeof topSchema>;

/** @throws CommandError when the server speaks another language than this program */
export function readAnswer<Answer>(schema: z.ZodType<Answer>, value: unknown): Answer {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  const where = issue?.path.join(".") ?? "";
  throw new CommandError(
    `Cannot read the server's answer at "${where}": ${issue?.message ?? "unknown trouble"} (another version?)`,
  );
}

/** Says which pods are not in what is shown. */
export function complainOfSilent(pods: readonly string[], io: Pick<CommandIo, "complain">): void {
  if (pods.length > 0) io.complain(`no answer from ${pods.join(", ")}: what is queued there is not shown`);
}
