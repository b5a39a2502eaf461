/** A pod that waits for its streams tells why to who asks for its report, and is silent to all else. Never throws. */
import { decodePeerQuestion, encodePeerAnswer } from "#crds/wire/peer.ts";
import { maxWaitsFor, type PodWaiting, reportQuestion } from "#crds/wire/pod-report.ts";
import type { Spool } from "./connection.ts";

/** `why` is asked at each question; empty = not known, and nothing is said. @returns ends it */
export function tellWaiting({ nc, names, options }: Spool, why: () => string): () => void {
  const subscription = nc.subscribe(names.peerSubject(), {
    callback: (error, message) => {
      if (error !== null || decodePeerQuestion(message.data)?.kind !== reportQuestion) return;
      const waitsFor = why().slice(0, maxWaitsFor);
      if (waitsFor === "" || !message.reply) return;
      const answer: PodWaiting = { waitsFor };
      message.respond(encodePeerAnswer({ pod: options.pod, answer }));
    },
  });
  return () => {
    if (!nc.isClosed()) subscription.unsubscribe();
  };
}
