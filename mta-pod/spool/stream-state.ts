/** Small questions to a stream: its state, deleting one message. Never throws; undefined or false = no answer. */
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
