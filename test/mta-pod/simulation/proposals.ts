/**
 * What a stream does with a change. Alone it carries it out at once. With copies its leader proposes it, and it is carried out some ms later,
 * in order; meanwhile its subjects and its id are in process, and the leader refuses what would have to be compared with
 * them (nats-server 2.15, jetstream_batching.go and jetstream_cluster.go: `expectedPerSubjectInProcess`, `inflight`).
 */
import type { VirtualTime } from "./virtual-time.ts";

export interface Proposal<Answer> {
  /** Those that it writes to, and those whose last sequence it asked for. */
  readonly subjects: readonly string[];
  readonly id: string | undefined;
  apply(): Answer;
}

interface UnderWay<Answer> extends Proposal<Answer> {
  readonly answer: (answer: Answer) => void;
}

/** Until most of the copies have it, and the leader has come to it. */
const leastMs = 0.5;
const spreadMs = 4;

export class Proposals<Answer> {
  readonly #replicas: number;
  readonly #time: VirtualTime;
  readonly #chance: () => number;
  #underWay: UnderWay<Answer>[] = [];
  #appliedAt = 0;

  constructor(replicas: number, time: VirtualTime, chance: () => number) {
    this.#replicas = replicas;
    this.#time = time;
    this.#chance = chance;
  }

  make(proposal: Proposal<Answer>, answer: (answer: Answer) => void): void {
    if (this.#replicas === 1) return answer(proposal.apply());
    const one = { ...proposal, answer };
    this.#underWay.push(one);
    const { now } = this.#time;
    this.#appliedAt = Math.max(this.#appliedAt, now + leastMs + this.#chance() * spreadMs);
    this.#time.after(this.#appliedAt - now, () => {
      if (this.#underWay[0] !== one) return;
      const said = one.apply();
      this.#underWay.shift();
      one.answer(said);
    });
    return undefined;
  }

  isSubjectInProcess(subject: string): boolean {
    return this.#underWay.some(({ subjects }) => subjects.includes(subject));
  }

  isIdInProcess(id: string): boolean {
    return this.#underWay.some((one) => one.id === id);
  }

  /** Its leader is gone: the next one carries out what has come to it, the older before the newer, and answers nothing. */
  leaderLost(): void {
    const all = this.#underWay;
    this.#underWay = [];
    if (all.length === 0) return;
    const kept = Math.floor(this.#chance() * (all.length + 1));
    for (const proposal of all.slice(0, kept)) proposal.apply();
  }
}
