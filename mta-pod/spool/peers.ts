/**
 * Questions between the pods of a pool over core NATS: to all that live (scatter and gather) or to one. Nothing here is
 * durable; who does not answer in time is left out. `ask` never throws and never returns more than it was bounded to.
 */
import { createInbox, type Msg } from "@nats-io/transport-node";
import {
  decodePeerAnswer,
  decodePeerQuestion,
  encodePeerAnswer,
  encodePeerQuestion,
  maxPeerQueryBytes,
  type PeerAnswer,
  type PeerQuestion,
} from "#crds/wire/peer.ts";
import type { Spool } from "./connection.ts";

/** Rejecting or throwing counts as no answer. */
type PeerHandler = (kind: string, query: unknown) => Promise<unknown>;

export interface Peers {
  /** Answers what the others (and this pod itself) ask. Once. `isLook`: who asks it is a person or a tenant's program; default none. */
  serve(handler: PeerHandler, isLook?: (kind: string) => boolean): void;
  /** Asks every live pod, this one included; resolves when all have answered or `timeoutMs` is over. */
  ask(kind: string, query: unknown, timeoutMs: number): Promise<PeerAnswer[]>;
  /** Asks one pod; undefined when it did not answer. */
  askPod(pod: string, kind: string, { query, timeoutMs }: Question): Promise<unknown>;
  close(): void;
}

interface Question {
  readonly query: unknown;
  readonly timeoutMs: number;
}

export interface PeersOptions {
  readonly spool: Spool;
  /** The pods whose answers are waited for. */
  readonly members: () => readonly { readonly pod: string }[];
}

/** All answers to one question together. */
const maxGatheredBytes = 16 * 1024 * 1024;
const maxAnswers = 256;
/** Questions being answered at a time; more are left unanswered, so that no flood of them stops the mail. */
const maxServing = 128;
/** Of those, looks: tenants may look as often as they like, and an answer may wait for JetStream, but shards change hands by such questions. */
const maxLooks = 32;

export function createPeers({ spool, members }: PeersOptions): Peers {
  const { nc, names, options } = spool;
  const subjects = [names.peerSubject(), names.peerSubject(options.pod)];
  const stops: (() => void)[] = [];
  const serving = { all: 0, looks: 0 };

  const answer = async (handler: PeerHandler, { kind, query }: PeerQuestion, message: Msg): Promise<void> => {
    const said = await handler(kind, query);
    message.respond(encodePeerAnswer({ pod: options.pod, answer: said }));
  };

  return {
    serve(handler, isLook = () => false) {
      const callback = (error: Error | null, message: Msg): void => {
        if (error !== null || serving.all >= maxServing) return;
        const question = decodePeerQuestion(message.data);
        if (question === undefined || message.reply === undefined || message.reply === "") return;
        const looks = Number(isLook(question.kind));
        if (serving.looks + looks > maxLooks) return;
        serving.all++;
        serving.looks += looks;
        // A question whose answer fails is one that is not answered; the asker has its time-out.
        void answer(handler, question, message)
          .catch((failure: unknown) => options.log.warn("peer question failed", { error: String(failure) }))
          .finally(() => {
            serving.all--;
            serving.looks -= looks;
          });
      };
      for (const subject of subjects) {
        const subscription = nc.subscribe(subject, { callback });
        stops.push(() => subscription.unsubscribe());
      }
    },
    ask: (kind, query, timeoutMs) =>
      gather(spool, { subject: names.peerSubject(), kind, query, timeoutMs, expected: podsOf(members()) }),
    async askPod(pod, kind, { query, timeoutMs }) {
      const subject = names.peerSubject(pod);
      const answers = await gather(spool, { subject, kind, query, timeoutMs, expected: new Set([pod]) });
      return answers[0]?.answer;
    },
    close() {
      for (const stop of stops.splice(0)) stop();
    },
  };
}

function podsOf(members: readonly { readonly pod: string }[]): Set<string> {
  return new Set(members.map(({ pod }) => pod));
}

interface Gathering extends Question {
  readonly subject: string;
  readonly kind: string;
  readonly expected: ReadonlySet<string>;
}

function gather(spool: Spool, asked: Gathering): Promise<PeerAnswer[]> {
  const payload = encodePeerQuestion(asked);
  if (Buffer.byteLength(payload) > maxPeerQueryBytes || asked.expected.size === 0 || spool.nc.isClosed())
    return Promise.resolve([]);
  return new Promise((resolve) => {
    const answers = new Map<string, PeerAnswer>();
    const missing = new Set(asked.expected);
    let bytes = 0;
    const reply = createInbox();
    const end = (): void => {
      cancel();
      stopListening();
      subscription.unsubscribe();
      resolve([...answers.values()]);
    };
    const subscription = spool.nc.subscribe(reply, {
      callback: (error, message) => {
        if (error !== null) return;
        // Nobody listens on the subject at all.
        if (message.data.length === 0 && message.headers?.code === 503) return end();
        bytes += message.data.length;
        if (bytes > maxGatheredBytes || answers.size >= maxAnswers) return end();
        const said = decodePeerAnswer(message.data);
        if (said === undefined) return;
        if (!answers.has(said.pod)) answers.set(said.pod, said);
        missing.delete(said.pod);
        if (missing.size === 0) end();
      },
    });
    const cancel = spool.timers.after(asked.timeoutMs, end);
    // The question may be lost with the connection: what has come is all that will.
    const stopListening = spool.onDisconnect(end);
    try {
      spool.nc.publish(asked.subject, payload, { reply });
    } catch (error) {
      spool.options.log.warn("peer question not sent", { kind: asked.kind, error: String(error) });
      end();
    }
  });
}
