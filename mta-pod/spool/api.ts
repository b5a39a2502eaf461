/**
 * JetStream's JSON API on a spool's connection: one call, its answer or the server's refusal. Never throws; what is
 * not answered is a refusal of kind "unanswered", which callers repeat.
 */
import type { Spool } from "./connection.ts";

export type ApiResult =
  | { readonly kind: "ok"; readonly value: Readonly<Record<string, unknown>> }
  /** `code` is the server's err_code (10059 = stream not found, …), 0 when it gave none. */
  | { readonly kind: "refused"; readonly code: number; readonly text: string }
  | { readonly kind: "unanswered"; readonly text: string };

/** Codes of the server's errors.json that are acted on. */
export const apiCodes = {
  insufficientResources: 10023,
  insufficientStorage: 10047,
  streamNotFound: 10059,
  streamNameInUse: 10058,
  storeFailed: 10077,
} as const;

const defaultTimeoutMs = 5_000;

interface ApiCall {
  /** Behind `$JS.API.`. */
  readonly subject: string;
  readonly body?: object;
  readonly timeoutMs?: number;
  /** Not held for others to share a write with. Default true. */
  readonly isUrgent?: boolean;
}

/** @example await callApi(spool, { subject: "STREAM.INFO.MB_x_0" }) */
export async function callApi(
  spool: Spool,
  { subject, body, timeoutMs, isUrgent = true }: ApiCall,
): Promise<ApiResult> {
  const answer = await spool.ask({
    subject: `$JS.API.${subject}`,
    payload: body === undefined ? "" : JSON.stringify(body),
    timeoutMs: timeoutMs ?? defaultTimeoutMs,
    isUrgent,
  });
  if (answer.kind === "none") return { kind: "unanswered", text: answer.reason };
  return parseApi(answer.message.data);
}

/** Reads a JSON answer of the API: `{"error":{…}}` or the value. */
export function parseApi(data: Buffer): ApiResult {
  let value: unknown;
  try {
    value = JSON.parse(data.toString("utf8"));
  } catch {
    return { kind: "unanswered", text: "not JSON" };
  }
  if (!isRecord(value)) return { kind: "unanswered", text: "not an object" };
  const error = value["error"];
  if (!isRecord(error)) return { kind: "ok", value };
  const code = error["err_code"];
  return {
    kind: "refused",
    code: typeof code === "number" ? code : 0,
    text: String(error["description"] ?? "no description"),
  };
}

export function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
