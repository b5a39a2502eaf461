/** What outcome scenarios have in common: rules of a shape, mail in through submission, and what became of it. */
import { createTransport, type SendMailOptions } from "nodemailer";
import type { LocalMode } from "./local.ts";
import { testPassword } from "./local-resources.ts";
import { until } from "./until.ts";

/** A rule that sends domains to a port of this machine, retries soon, and is not patient. */
export function ruleTo(
  name: string,
  port: number,
  more: Readonly<Record<string, unknown>> = {},
): Record<string, unknown> {
  return {
    name,
    match: { domains: [`${name}.example`] },
    retry: { first: "2s", max: "4s" },
    routes: [{ host: "127.0.0.1", port }],
    ...more,
  };
}

/** Hands one message in by submission with STARTTLS; resolves with its id. */
export async function submit(local: LocalMode, mail: SendMailOptions, user = "acme"): Promise<string> {
  const [host = "", port = ""] = local.endpoints.submission.split(":");
  const transport = createTransport({
    host,
    port: Number(port),
    requireTLS: true,
    auth: { user, pass: testPassword },
    tls: { ca: local.ca },
  });
  try {
    const { response } = await transport.sendMail({
      from: `a@${user}.example`,
      subject: "a test",
      text: "text",
      ...mail,
    });
    return /queued as (\S+)/.exec(response)?.[1] ?? "";
  } finally {
    transport.close();
  }
}

export interface Told {
  readonly type: string;
  readonly attempt?: number;
  readonly to?: readonly string[];
  readonly code?: number;
  readonly enhanced?: string;
  readonly text?: string;
  readonly class?: string;
  readonly nextAttempt?: number;
}

export interface Explained {
  readonly events: readonly Told[];
  readonly entries: readonly { readonly state: string; readonly attempt: number; readonly due: number }[];
  readonly binding: string | null;
  readonly nextAttempt: number | null;
}

export async function explain(local: LocalMode, id: string): Promise<Explained> {
  return (await local.admin(`/v1/messages/${id}`)) as Explained;
}

/** Waits until the message has these events (types in their order, any others in between) and nothing of it is queued. */
export async function settled(
  local: LocalMode,
  id: string,
  { types, boundMs = 30_000 }: { types: readonly string[]; boundMs?: number },
): Promise<Explained> {
  let last: Explained | undefined;
  try {
    return await until(
      types.join(", "),
      async () => {
        last = await explain(local, id);
        return last.entries.length === 0 && hasInOrder(last.events, types) && last;
      },
      boundMs,
    );
  } catch (error) {
    throw new Error(`${String(error)}; ${id} is ${JSON.stringify(last)}`, { cause: error });
  }
}

function hasInOrder(events: readonly Told[], types: readonly string[]): boolean {
  let at = 0;
  for (const { type } of events) if (type === types[at]) at++;
  return at === types.length;
}
