/** Small questions to a stream: its state, deleting one message. Never throws; undefined or false = no answer. */
import { createInbox } from "@nats-io/transport-node";
import { callApi, isRecord } from "./api.ts";
import type { Spool } from "./connection.ts";

export interface StreamState {
  /** When the stream was made: another time means another stream. */
  readonly created: string;
  readonly messages: number;
  readonly firstSeq: number;
  readonly lastSeq: number;
}

export async function readStreamState(spool: Spool, stream: string): Promise<StreamState | undefined> {
  const result = await callApi(spool, { subject: `STREAM.INFO.${stream}`, timeoutMs: 3_000 });
  if (result.kind !== "ok") return undefined;
  const { created, state } = result.value;
  if (typeof created !== "string" || !isRecord(state)) return undefined;
  const { messages, first_seq: firstSeq, last_seq: lastSeq } = state;
  if (typeof messages !== "number" || typeof firstSeq !== "number" || typeof lastSeq !== "number")
    return undefined;
  return { created, messages, firstSeq, lastSeq };
}

/**
 * The last sequence stored under `filter`, 0 = none, as the stream's leader says. A consumer may live on a replica that lags and call
 * itself caught up before it has come this far. undefined = no answer.
 */
export async function lastSequence(
  spool: Spool,
  stream: string,
  filter: string,
): Promise<number | undefined> {
  return (await storedOf(spool, stream, { last_by_subj: filter }))?.seq;
}

/** When the last message under `filter` was stored, by the server's clock, ms since 1970; as `lastSequence`. */
export async function lastTime(spool: Spool, stream: string, filter: string): Promise<number | undefined> {
  return (await storedOf(spool, stream, { last_by_subj: filter }))?.at;
}

/** The first sequence stored under `filter`, not before `since` if that is given; as `lastSequence`. */
export async function firstSequence(
  spool: Spool,
  stream: string,
  filter: string,
  since?: Date,
): Promise<number | undefined> {
  const start = since === undefined ? { seq: 1 } : { start_time: since.toISOString() };
  return (await storedOf(spool, stream, { next_by_subj: filter, ...start }))?.seq;
}

async function storedOf(
  spool: Spool,
  stream: string,
  body: object,
): Promise<{ readonly seq: number; readonly at: number } | undefined> {
  const result = await callApi(spool, { subject: `STREAM.MSG.GET.${stream}`, body, timeoutMs: 3_000 });
  if (result.kind === "refused" && result.code === noMessage) return { seq: 0, at: 0 };
  if (result.kind !== "ok" || !isRecord(result.value["message"])) return undefined;
  const { seq, time } = result.value["message"];
  const at = typeof time === "string" ? Date.parse(time) : Number.NaN;
  return typeof seq === "number" && !Number.isNaN(at) ? { seq, at } : undefined;
}

/** How many messages match `filter`: what a consumer made for the question would have to deliver. */
export async function countMessages(
  spool: Spool,
  stream: string,
  filter: string,
): Promise<number | undefined> {
  const name = `mb-count-${createInbox().split(".").at(-1) ?? ""}`;
  const config = {
    name,
    filter_subject: filter,
    deliver_policy: "all",
    ack_policy: "none",
    mem_storage: true,
    num_replicas: 1,
    inactive_threshold: 5_000_000_000,
  };
  const result = await callApi(spool, {
    subject: `CONSUMER.CREATE.${stream}.${name}`,
    body: { stream_name: stream, config },
  });
  if (result.kind !== "ok") return undefined;
  await callApi(spool, { subject: `CONSUMER.DELETE.${stream}.${name}` });
  const count = result.value["num_pending"];
  return typeof count === "number" ? count : undefined;
}

/** Not erased, only removed: overwriting would cost the server a write per message. True also when it was gone. */
export async function deleteMessage(spool: Spool, stream: string, seq: number): Promise<boolean> {
  const result = await callApi(spool, {
    subject: `STREAM.MSG.DELETE.${stream}`,
    body: { seq, no_erase: true },
  });
  return result.kind === "ok" || (result.kind === "refused" && result.code === noMessage);
}

/** "no message found" and "unable to delete: sequence not found" of the server's errors.json. */
const noMessage = 10037;
