/** What the modelled JetStream answers, in the words and codes of nats-server. */
import type { Stored } from "./stream.ts";

/** As nats-core's messages, as far as the spool looks at them. */
export interface Reply {
  readonly data: Buffer;
  readonly headers?: { readonly code: number; readonly description: string; get(name: string): string };
}

const empty = Buffer.alloc(0);
export const deleted: Reply = { data: Buffer.from('{"success":true}') };
export const noSuchMessage = refusal(10_037, "no message found");
export const noSuchStream = refusal(10_059, "stream not found");
export const wrongSequence = refusal(10_071, "wrong last sequence: 1");
/** Another message with that id is in process. */
export const idInProcess = refusal(10_158, "duplicate message id is in process");
/** Something else is in process on that subject: nothing was compared. */
export const contended = refusal(10_164, "wrong last sequence");

function refusal(code: number, description: string): Reply {
  return { data: Buffer.from(JSON.stringify({ error: { code: 400, err_code: code, description } })) };
}

export function ok(value: object): Reply {
  return { data: Buffer.from(JSON.stringify(value)) };
}

/** To a direct get. */
export function direct(message: Stored | undefined): Reply {
  if (message === undefined)
    return { data: empty, headers: { code: 404, description: "Message Not Found", get: () => "" } };
  const { seq, subject, headers, data } = message;
  const get = (name: string): string =>
    name === "Nats-Sequence" ? String(seq) : name === "Nats-Subject" ? subject : (headers.get(name) ?? "");
  return { data, headers: { code: 0, description: "", get } };
}

/** To a get that the leader answers. */
export function plain(message: Stored | undefined): Reply {
  if (message === undefined) return noSuchMessage;
  const { seq, subject, block, data, at } = message;
  const hdrs = block === undefined ? {} : { hdrs: Buffer.from(block).toString("base64") };
  const time = new Date(1_700_000_000_000 + at).toISOString();
  return ok({ message: { seq, subject, time, data: data.toString("base64"), ...hdrs } });
}
