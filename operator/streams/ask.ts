/** Questions to the pods of a pool (scatter and gather) and to JetStream's API. Never throws; who is silent is left out. */
import { createInbox, type NatsConnection } from "@nats-io/transport-node";
import { decodePeerAnswer, encodePeerQuestion } from "#crds/wire/peer.ts";

export interface Asked {
  readonly subject: string;
  readonly kind: string;
  readonly query: unknown;
  readonly timeoutMs: number;
  /** Ends the wait when all of these have answered; with none of them it goes on to its end. */
  readonly expected: ReadonlySet<string>;
  after(ms: number, run: () => void): () => void;
}

const maxAnswers = 1000;

/** Answers by pod. */
export function askPods(nc: NatsConnection, asked: Asked): Promise<Map<string, unknown>> {
  return new Promise((resolve) => {
    const answers = new Map<string, unknown>();
    const missing = new Set(asked.expected);
    const reply = createInbox();
    const end = (): void => {
      cancel();
      if (!nc.isClosed()) subscription.unsubscribe();
      resolve(answers);
    };
    const subscription = nc.subscribe(reply, {
      callback: (error, message) => {
        if (error !== null) return;
        // Nobody listens on the subject at all.
        if (message.data.length === 0 && message.headers?.code === 503) return end();
        const said = decodePeerAnswer(message.data);
        if (said === undefined || answers.has(said.pod)) return;
        answers.set(said.pod, said.answer);
        missing.delete(said.pod);
        if ((missing.size === 0 && asked.expected.size > 0) || answers.size >= maxAnswers) end();
      },
    });
    const cancel = asked.after(asked.timeoutMs, end);
    try {
      nc.publish(asked.subject, encodePeerQuestion(asked), { reply });
    } catch {
      end();
    }
  });
}

export type ApiAnswer =
  | { readonly kind: "ok"; readonly value: Readonly<Record<string, unknown>> }
  | { readonly kind: "refused"; readonly code: number; readonly text: string }
  | { readonly kind: "unanswered"; readonly text: string };

/** @example await callJetStream(nc, "STREAM.INFO.MB_x_0", { subjects_filter: ">" }) */
export async function callJetStream(nc: NatsConnection, call: string, body: object): Promise<ApiAnswer> {
  try {
    const message = await nc.request(`$JS.API.${call}`, JSON.stringify(body), { timeout: 5000 });
    const value: unknown = JSON.parse(message.string());
    if (!isRecord(value)) return { kind: "unanswered", text: "not an object" };
    const error = value["error"];
    if (!isRecord(error)) return { kind: "ok", value };
    return {
      kind: "refused",
      code: typeof error["err_code"] === "number" ? error["err_code"] : 0,
      text: String(error["description"] ?? "no description"),
    };
  } catch (error) {
    return { kind: "unanswered", text: error instanceof Error ? error.message : String(error) };
  }
}

export function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
