/** A simulated pool for the lease protocol: pods with drifting clocks, one key, one epoch, a network that delays and loses. */
import type { Identity, LeaseRecord } from "#mta-pod/spool/lease-record.ts";
import { isOwner, step } from "#mta-pod/spool/lease-protocol.ts";
import {
  type Context,
  type KeyContent,
  type LeaseAction,
  type LeaseInput,
  type LeaseState,
  type LeaseTimes,
  openLease,
} from "#mta-pod/spool/lease-state.ts";
import { random } from "#test/kit/random.ts";

export interface WorldOptions {
  readonly seed: number;
  readonly pods: number;
  readonly times: LeaseTimes;
  /** Clocks run between 1 − drift and 1 + drift. */
  readonly drift: number;
  /** Share of messages under way for seconds, a sixth of them for longer than any lease, while there is chaos. */
  readonly slow: number;
  /** Share of messages lost, likewise. */
  readonly loss: number;
}

export interface Pod {
  identity: Identity;
  lease: LeaseState;
  former: Identity | undefined;
  leaseSeq: number;
  wanted: boolean;
  alive: boolean;
  frozenUntil: number;
  rate: number;
  monoOffset: number;
  wallOffset: number;
  starts: number;
}

interface Event {
  readonly at: number;
  readonly run: () => void;
}

const tickMs = 250;
const requestTimeoutMs = 2_000;

export class World {
  readonly pods: Pod[] = [];
  now = 0;
  chaos = true;
  /** Times at which more than one pod could have gone on. */
  readonly overlaps: string[] = [];
  /** Times at which an owner was not the one whose writes the epoch lets through. */
  readonly strangers: string[] = [];
  owned = 0;
  key: { revision: number; record: LeaseRecord | "absent" } = { revision: 0, record: "absent" };
  epoch = 0;
  readonly #options: WorldOptions;
  readonly #chance: () => number;
  readonly #events: Event[] = [];
  #revision = 0;
  #sequence = 0;

  constructor(options: WorldOptions) {
    this.#options = options;
    this.#chance = random(options.seed);
    for (let index = 0; index < options.pods; index++) this.#addPod(index);
  }

  run(untilMs: number): void {
    for (;;) {
      const event = this.#next(untilMs);
      if (event === undefined) break;
      this.now = event.at;
      event.run();
      this.#check();
    }
    this.now = untilMs;
  }

  ownersNow(): Pod[] {
    return this.pods.filter((pod) => pod.alive && isOwner(pod.lease, this.#context(pod)));
  }

  /** The network is well again, and only `wanted` should own. */
  calm(wanted: number): void {
    this.chaos = false;
    for (const [index, pod] of this.pods.entries()) {
      pod.wanted = index === wanted;
      pod.frozenUntil = 0;
      if (!pod.alive) this.#restart(pod);
    }
  }

  #addPod(index: number): void {
    const { drift } = this.#options;
    const identity = { pod: `pod-${index}`, incarnation: "1" };
    const pod: Pod = {
      identity,
      lease: openLease(identity),
      former: undefined,
      leaseSeq: 0,
      wanted: this.#chance() < 0.7,
      alive: true,
      frozenUntil: 0,
      rate: 1 - drift + 2 * drift * this.#chance(),
      monoOffset: this.#chance() * 1e6,
      wallOffset: this.#chance() * 1e12,
      starts: 1,
    };
    this.pods.push(pod);
    this.#at(this.#chance() * 3_000, () => this.#look(pod));
    this.#at(this.#chance() * tickMs, () => this.#tick(pod));
    this.#at(1_000 + this.#chance() * 10_000, () => this.#trouble(pod));
  }

  #at(delay: number, run: () => void): void {
    const event = { at: this.now + delay, run };
    let low = 0;
    let high = this.#events.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#events[middle]?.at ?? 0) > event.at) low = middle + 1;
      else high = middle;
    }
    this.#events.splice(low, 0, event);
  }

  #next(untilMs: number): Event | undefined {
    const last = this.#events.at(-1);
    return last !== undefined && last.at <= untilMs ? this.#events.pop() : undefined;
  }

  #context(pod: Pod): Context {
    const mono = this.now * pod.rate + pod.monoOffset;
    return { at: { mono, wall: this.now * pod.rate + pod.wallOffset }, times: this.#options.times };
  }

  #check(): void {
    const owners = this.ownersNow();
    if (owners.length > 1) this.overlaps.push(`${this.now}: ${owners.map(({ identity }) => identity.pod)}`);
    for (const pod of owners)
      if (pod.leaseSeq !== this.epoch) this.strangers.push(`${this.now}: ${pod.identity.pod}`);
  }

  /** A one-way trip: mostly short, sometimes longer than any lease. */
  #delay(): number {
    if (!this.chaos) return 1 + this.#chance() * 5;
    const kind = this.#chance();
    const { slow } = this.#options;
    if (kind >= slow) return this.#chance() * 20;
    return kind >= slow / 6 ? this.#chance() * 3_000 : this.#chance() * 25_000;
  }

  #isLost(): boolean {
    return this.chaos && this.#chance() < this.#options.loss;
  }

  /** Runs when the pod runs: a frozen one does what it has to when it wakes. */
  #inPod(pod: Pod, run: () => void): void {
    if (this.now < pod.frozenUntil)
      this.#at(pod.frozenUntil - this.now + this.#chance(), () => this.#inPod(pod, run));
    else run();
  }

  #input(pod: Pod, identity: Identity, input: LeaseInput): void {
    if (!pod.alive || pod.identity !== identity) return;
    const next = step(pod.lease, input, this.#context(pod));
    pod.lease = next.state;
    for (const action of next.actions) this.#perform(pod, action);
  }

  #perform(pod: Pod, action: LeaseAction): void {
    switch (action.kind) {
      case "owned":
        pod.leaseSeq = action.leaseSeq;
        this.owned++;
        return;
      case "lost":
        pod.leaseSeq = 0;
        return;
      case "read":
      case "write":
      case "read-epoch":
      case "publish-epoch":
        this.#request(pod, action);
        return;
      default:
        return action satisfies never;
    }
  }

  #request(pod: Pod, action: Exclude<LeaseAction, { kind: "owned" } | { kind: "lost" }>): void {
    const { identity } = pod;
    let answered = false;
    const answer = (input: LeaseInput): void =>
      this.#inPod(pod, () => {
        if (answered) return;
        answered = true;
        this.#input(pod, identity, input);
      });
    this.#at(requestTimeoutMs / pod.rate, () => answer({ kind: "failed", op: action.op }));
    if (this.#isLost()) return;
    this.#at(this.#delay(), () => {
      const result = this.#serve(action);
      if (!this.#isLost()) this.#at(this.#delay(), () => answer(result));
    });
  }

  #serve(action: Exclude<LeaseAction, { kind: "owned" } | { kind: "lost" }>): LeaseInput {
    const { op } = action;
    switch (action.kind) {
      case "read":
        return { kind: "read", op, ...this.key };
      case "read-epoch":
        return { kind: "epoch-read", op, seq: this.epoch };
      case "publish-epoch":
        if (action.expected !== this.epoch) return { kind: "refused", op };
        this.epoch = ++this.#sequence;
        return { kind: "epoch-published", op, seq: this.epoch };
      case "write":
        if (action.expected !== this.key.revision) return { kind: "refused", op };
        return { kind: "written", op, revision: this.#store(action.record) };
      default:
        return action satisfies never;
    }
  }

  #store(record: LeaseRecord): number {
    this.key = { revision: ++this.#revision, record };
    const { revision } = this.key;
    for (const pod of this.pods) if (!this.#isLost()) this.#show(pod, { revision, record });
    return revision;
  }

  #show(pod: Pod, key: { revision: number; record: KeyContent }): void {
    const { identity } = pod;
    this.#at(this.#delay(), () =>
      this.#inPod(pod, () => this.#input(pod, identity, { kind: "seen", ...key })),
    );
  }

  /** The watch is set up (again): it shows what there is. */
  #look(pod: Pod): void {
    this.#show(pod, this.key);
    this.#at(5_000 * this.#chance() + 500, () => this.#look(pod));
  }

  #tick(pod: Pod): void {
    this.#at(tickMs, () => this.#tick(pod));
    if (this.now < pod.frozenUntil || !pod.alive) return;
    this.#input(pod, pod.identity, { kind: "tick", wanted: pod.wanted, former: pod.former });
    if (!pod.wanted && pod.leaseSeq !== 0)
      this.#input(pod, pod.identity, { kind: "release", handOver: { from: pod.identity.pod } });
  }

  #trouble(pod: Pod): void {
    this.#at(500 + this.#chance() * 20_000, () => this.#trouble(pod));
    if (!this.chaos) return;
    const kind = this.#chance();
    if (kind < 0.25) pod.wanted = !pod.wanted;
    else if (kind < 0.5) pod.frozenUntil = this.now + this.#chance() * 30_000;
    else if (kind < 0.6) pod.wallOffset += (this.#chance() - 0.7) * 60_000;
    else if (kind < 0.75) this.#input(pod, pod.identity, { kind: "epoch-lost" });
    else if (kind < 0.9 && pod.alive) this.#crash(pod);
  }

  /** Sometimes somebody saw it die, sometimes the container starts again, sometimes neither for a long time. */
  #crash(pod: Pod): void {
    const dead = pod.identity;
    pod.alive = false;
    if (this.#chance() < 0.5) this.#at(this.#chance() * 3_000, () => this.#witness(dead));
    this.#at(this.#chance() * 20_000, () => {
      if (!pod.alive) this.#restart(pod);
    });
  }

  #witness(dead: Identity): void {
    const { record } = this.key;
    if (record === "absent" || record.pod !== dead.pod || record.incarnation !== dead.incarnation) return;
    if (record.state === "held") this.#store({ ...record, state: "freed" });
  }

  #restart(pod: Pod): void {
    const { record } = this.key;
    pod.identity = { pod: pod.identity.pod, incarnation: String(++pod.starts) };
    pod.lease = openLease(pod.identity);
    pod.former = record !== "absent" && record.pod === pod.identity.pod ? record : undefined;
    pod.leaseSeq = 0;
    pod.alive = true;
    this.#show(pod, this.key);
  }
}
