/** What smtp-server's hooks do: ask the rules, count, wait, reply or hang up. A client's trouble ends its connection only. */
import type { SMTPServerDataStream, SMTPServerOptions, SMTPServerSession } from "smtp-server";
import type { Audit, Clock } from "./audit.ts";
import type { Client, Clients } from "./clients.ts";
import { readIds } from "./headers.ts";
import type { MessageStore } from "./message-store.ts";
import { domainOf, ruleFor, type ProviderRule, type ProviderRules } from "./rules.ts";
import type { Verdict, Verdicts } from "./verdicts.ts";

export interface SessionContext {
  readonly audit: Audit;
  readonly clients: Clients;
  readonly store: MessageStore;
  readonly verdicts: Verdicts;
  readonly clock: Clock;
  random(): number;
  rules(): ProviderRules;
  readonly idHeader: string | undefined;
}

type Done = (error?: Error | null) => void;
type Hooks = Required<
  Pick<SMTPServerOptions, "onConnect" | "onSecure" | "onMailFrom" | "onRcptTo" | "onData" | "onClose">
>;

/** smtp-server replies with `responseCode` and the message of the error it is handed. */
class Refused extends Error {
  readonly responseCode: number;
  constructor(code: number, text: string) {
    super(text);
    this.name = "Refused";
    this.responseCode = code;
  }
}

export function sessionHooks(context: SessionContext): Hooks {
  const { audit, clients } = context;
  const clientOf = (session: SMTPServerSession): Client | undefined =>
    clients.find(session.remoteAddress, session.remotePort);
  return {
    onConnect(_session, done) {
      const { connections } = context.rules();
      if (connections !== undefined && clients.open() > connections) {
        audit.connectionRefused();
        return done(new Refused(421, "4.7.0 too many connections, try again later"));
      }
      later(context.rules().tarpit?.delayMs, done);
    },
    onSecure(socket, session, done) {
      clients.secured(socket, session.remoteAddress, session.remotePort);
      done();
    },
    onMailFrom(_address, session, done) {
      const client = clientOf(session);
      client?.admitted.clear();
      const closing = client !== undefined && closesAt(client) === "421";
      if (closing) return done(new Refused(421, "4.4.2 enough messages on this connection"));
      later(context.rules().tarpit?.delayMs, done);
    },
    onRcptTo({ address }, session, done) {
      const client = clientOf(session);
      if (client !== undefined) recipient(context, { client, session, address }, done);
    },
    onData(stream, session, done) {
      const client = clientOf(session);
      if (client !== undefined) receive(context, { client, session, stream }, done);
    },
    onClose: (session) => clients.end(session.remoteAddress, session.remotePort),
  };
}

function recipient(
  context: SessionContext,
  asked: { client: Client; session: SMTPServerSession; address: string },
  done: Done,
): void {
  const { client, address } = asked;
  const from = senderOf(asked.session);
  const rule = ruleFor(context.rules(), address);
  client.uses(address);
  if (rule === undefined) return later(context.rules().tarpit?.delayMs, done);
  const delayMs = rule.tarpit?.delayMs ?? context.rules().tarpit?.delayMs;
  const refuse = (code: number, text: string): void => {
    note(context, { source: client.source, from, to: address, code, text });
    later(delayMs, () => done(new Refused(code, text)));
  };
  if (!client.occupies(rule)) {
    context.audit.connectionRefused();
    return refuse(421, "4.7.0 too many connections, try again later");
  }
  const verdict = context.verdicts.recipient(rule, {
    source: client.source,
    from,
    to: address,
    now: context.clock.monotonic(),
    admitted: client.admitted.has(rule),
  });
  switch (verdict.kind) {
    case "accept":
      client.admitted.add(rule);
      return later(delayMs, done);
    case "refuse":
      return refuse(verdict.code, verdict.text);
    case "hang":
      return note(context, { source: client.source, from, to: address, code: 0, text: "hanging" });
    case "drop":
      return void client.socket.destroy();
    default:
      return verdict satisfies never;
  }
}

interface Receiving {
  readonly client: Client;
  readonly session: SMTPServerSession;
  readonly stream: SMTPServerDataStream;
}

function receive(
  context: SessionContext,
  receiving: Receiving,
  done: (error?: Error | null, text?: string) => void,
): void {
  const { stream } = receiving;
  const chunks: Buffer[] = [];
  stream.on("data", (chunk: Buffer) => {
    if (!stream.sizeExceeded) chunks.push(chunk);
  });
  // Ends without "end" when the client goes away in the middle: nothing was received then.
  stream.on("error", () => {});
  stream.once("end", () => {
    if (stream.sizeExceeded) return done(new Refused(552, "5.3.4 message too big"));
    settle(context, receiving, Buffer.concat(chunks), done);
  });
}

function settle(
  context: SessionContext,
  { client, session }: Receiving,
  raw: Buffer,
  done: (error?: Error | null, text?: string) => void,
): void {
  const from = senderOf(session);
  const to = session.envelope.rcptTo.map(({ address }) => address);
  const ids = readIds(raw, context.idHeader);
  const id = ids.chosen || ids.mailboatId || ids.messageId;
  const rules = to.map((address) => ruleFor(context.rules(), address)).filter((rule) => rule !== undefined);
  const verdict = messageVerdict(context, rules, { id, from, to });
  const delayMs = rules.find((rule) => rule.tarpit)?.tarpit?.delayMs ?? context.rules().tarpit?.delayMs;
  const take = (): number =>
    record(context, { client, session, raw, from, to, id, messageId: ids.messageId });
  switch (verdict.kind) {
    case "accept": {
      const number = take();
      return later(delayMs, () => {
        done(null, `2.0.0 taken as ${number}`);
        if (closesAt(client) === "close") client.socket.end();
      });
    }
    case "refuse":
      note(context, {
        source: client.source,
        from,
        to: to.join(" "),
        code: verdict.code,
        text: verdict.text,
      });
      return later(delayMs, () => done(new Refused(verdict.code, verdict.text)));
    case "hang":
      return note(context, { source: client.source, from, to: to.join(" "), code: 0, text: "hanging" });
    case "drop":
      if (verdict.record) take();
      else note(context, { source: client.source, from, to: to.join(" "), code: 0, text: "hung up" });
      context.audit.dropped();
      return void client.socket.destroy();
    default:
      return verdict satisfies never;
  }
}

/** A message has one reply: the first recipient whose rule has something to say decides for all. */
function messageVerdict(
  context: SessionContext,
  rules: readonly ProviderRule[],
  message: { id: string; from: string; to: readonly string[] },
): Verdict {
  for (const rule of new Set(rules)) {
    const verdict = context.verdicts.message(rule, { ...message, chance: context.random() });
    if (verdict.kind !== "accept") return verdict;
  }
  return { kind: "accept" };
}

interface Taken {
  readonly client: Client;
  readonly session: SMTPServerSession;
  readonly raw: Buffer;
  readonly from: string;
  readonly to: readonly string[];
  readonly id: string;
  readonly messageId: string;
}

/** Counts and keeps a message; returns its number. */
function record({ audit, clock, store }: SessionContext, taken: Taken): number {
  const { client, session, raw, from, to, id } = taken;
  client.taken++;
  const now = clock.monotonic();
  const at = clock.now();
  for (const meter of [audit.total, audit.source(client.source), audit.port(client.port)])
    meter.message(now, to.length, raw.length);
  const perDomain = Map.groupBy(to, domainOf);
  for (const [domain, addresses] of perDomain)
    audit.domain(domain).message(now, addresses.length, raw.length);
  if (id !== "") for (const address of to) audit.ids.add(id, address, at);
  const number = audit.total.read().messages;
  const facts = { helo: session.hostNameAppearsAs, tls: session.secure, source: client.source };
  store.add({ number, at, id, messageId: taken.messageId, ...facts, from, to, size: raw.length }, raw);
  return number;
}

function note(
  { audit, clock }: SessionContext,
  refusal: { source: string; from: string; to: string; code: number; text: string },
): void {
  const addresses = refusal.to.split(" ");
  for (const meter of [audit.total, audit.source(refusal.source)]) for (const _ of addresses) meter.refused();
  for (const address of addresses) audit.domain(domainOf(address)).refused();
  audit.refusal({ at: clock.now(), ...refusal });
}

/** How the connection ends once one of the rules it used has had enough of it; undefined = it goes on. */
function closesAt({ rules, taken }: Client): "421" | "close" | undefined {
  for (const { closeAfter } of rules)
    if (closeAfter !== undefined && taken >= closeAfter.messages) return closeAfter.how;
  return undefined;
}

function senderOf(session: SMTPServerSession): string {
  return session.envelope.mailFrom === false ? "" : session.envelope.mailFrom.address;
}

function later(delayMs: number | undefined, done: () => void): void {
  if (delayMs === undefined || delayMs === 0) done();
  else setTimeout(done, delayMs);
}
