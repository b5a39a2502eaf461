/** A simulated pool: pods on virtual time around one modelled JetStream, with clients, hosts and faults as its plan says. */
import type { Rule } from "#crds/pod-config/schema.ts";
import { isSiteWithin, placeOf, siteBeside, sliceName } from "#crds/wire/subject.ts";
import type { ParkedEntry } from "#mta-pod/poison.ts";
import type { Hop, SiteRoute } from "#mta-pod/route/site.ts";
import { random } from "#test/kit/random.ts";
import { envelope } from "#test/kit/spool.ts";
import { createFaults } from "./faults.ts";
import { JetStream } from "./jetstream.ts";
import { type Counts, Ledger } from "./ledger.ts";
import { parcelName } from "./parcels.ts";
import type { Plan, PlannedMail, Reshape } from "./plan.ts";
import { type HostOptions, ReceivingHost } from "./receiving-hosts.ts";
import type { Mutant } from "./mutants.ts";
import { createSimPod, type SimPod } from "./sim-pod.ts";
import type { Network } from "./sim-spool.ts";
import { type Process, VirtualTime, withTimersOf } from "./virtual-time.ts";

export interface Outcome {
  readonly violations: readonly string[];
  readonly counts: Counts;
  /** Writes that streams with copies refused since another one was in process. */
  readonly contended: number;
  readonly steps: number;
  /** When all was settled. */
  readonly endedAt: number;
}

export interface RunOptions {
  readonly mutant?: Mutant;
  readonly trace?: (line: string) => void;
}

/** Everything is settled by then: a former owner is waited for 11 minutes at most. */
const patienceMs = 900_000;

export async function simulate(plan: Plan, { mutant = "none", trace }: RunOptions = {}): Promise<Outcome> {
  const time = new VirtualTime();
  return withTimersOf(time, async () => {
    const pool = new Pool(plan, { time, mutant, trace });
    await time.run(plan.calmAt + patienceMs, () => pool.isOver());
    return pool.outcome();
  });
}

interface Slot {
  readonly index: number;
  /** By host: its slices in the configuration that is mounted. */
  readonly slices: number[];
  readonly shapedAt: number[];
  starts: number;
  pod: SimPod | undefined;
}

class Pool {
  readonly #plan: Plan;
  readonly #time: VirtualTime;
  readonly #ledger: Ledger;
  readonly #network: Network;
  readonly #hosts: readonly ReceivingHost[];
  readonly #slots: readonly Slot[];
  readonly #mutant: Mutant;
  readonly #trace: ((line: string) => void) | undefined;
  readonly #chance: () => number;
  /** By domain number: its site. */
  readonly #siteOf: number[];
  #publishing = 0;
  #isCalm = false;

  constructor(
    plan: Plan,
    {
      time,
      mutant,
      trace,
    }: { time: VirtualTime; mutant: Mutant; trace: ((line: string) => void) | undefined },
  ) {
    this.#plan = plan;
    this.#time = time;
    this.#mutant = mutant;
    this.#chance = random(plan.seed);
    this.#trace =
      trace === undefined ? undefined : (what) => trace(`${time.now.toFixed(1).padStart(9)} ${what}`);
    this.#ledger = new Ledger(time, plan.shards);
    this.#ledger.trace = this.#trace;
    const jetStream = new JetStream(
      { pool: "mail/simulated", shards: plan.shards, replicas: plan.replicas },
      { time, chance: this.#chance, watcher: this.#ledger },
    );
    this.#ledger.jetStream = jetStream;
    this.#ledger.cannotAnswer = (process) => {
      const pod = this.#slots.find((slot) => slot.pod?.process === process)?.pod;
      return process.frozenUntil > time.now || pod === undefined || !pod.link.isConnected();
    };
    this.#ledger.othersThatMayProceed = (than, shard) =>
      this.#slots.flatMap(({ pod }) => {
        if (pod === undefined || pod.process === than || !pod.process.alive) return [];
        return pod.ownership.mayProceed(shard) ? [pod.process.name] : [];
      });
    const { lost, repeated, slow } = plan;
    this.#network = { time, chance: this.#chance, jetStream, lost, repeated, slow };
    this.#hosts = plan.hosts.map(
      (_, index) => new ReceivingHost(takenBy(plan, index), time, this.#chance, this.#ledger),
    );
    this.#siteOf = plan.hosts.map((_, index) => index);
    this.#slots = plan.pods.map((_, index) => ({
      index,
      slices: plan.hosts.map(() => 1),
      shapedAt: [],
      starts: 0,
      pod: undefined,
    }));
    for (const reshape of plan.reshapes)
      for (const slot of this.#slots)
        time.after(reshape.at + (reshape.delays[slot.index] ?? 0), () => this.#reshape(slot, reshape));
    for (const slot of this.#slots) time.after(plan.pods[slot.index]?.startMs ?? 0, () => this.#start(slot));
    for (const [index, mail] of plan.mail.entries()) time.after(mail.at, () => this.#send(index, mail));
    const faults = createFaults({
      shards: plan.shards,
      network: this.#network,
      hosts: this.#hosts,
      siteOf: this.#siteOf,
      pods: () => this.#slots.map(({ pod }) => pod),
      end: (pod) => this.#end(pod),
      start: (index) => this.#start(this.#slots[index] as Slot),
    });
    this.#ledger.moved = faults.moved;
    for (const fault of plan.faults)
      time.after(fault.at, () => {
        this.#trace?.(`FAULT ${JSON.stringify(fault)}`);
        faults.befall(fault);
      });
    time.after(plan.calmAt, () => this.#calm());
  }

  isOver(): boolean {
    if (this.#ledger.violations.length > 0) return true;
    if (!this.#isCalm || this.#publishing > 0) return false;
    return this.#ledger.queued === 0 || this.#ledger.queued === this.#parked().length;
  }

  outcome(): Outcome {
    const { violations, counts } = this.#ledger;
    const parked = this.#parked().flatMap(({ id, envelope: of }) =>
      (of?.to ?? []).map((address) => parcelName(id, address)),
    );
    const left = violations.length > 0 ? [] : this.#ledger.unsettled(new Set(parked));
    const late =
      this.isOver() || violations.length > 0 ? [] : [`${this.#ledger.queued} entries are still queued`];
    const lost = left.map((parcel) => `${parcel} was accepted and is not settled`);
    return {
      violations: [...violations, ...late, ...lost],
      counts,
      contended: this.#network.jetStream.contended,
      steps: this.#time.steps,
      endedAt: this.#time.now,
    };
  }

  /** Set aside since their pods died with them again and again. */
  #parked(): readonly ParkedEntry[] {
    return this.#slots.flatMap(({ pod }) => (pod?.process.alive === true ? pod.parked() : []));
  }

  #start(slot: Slot): void {
    if (slot.pod?.process.alive === true) return;
    const plan = this.#plan.pods[slot.index];
    const process: Process = {
      name: `pod-${slot.index}`,
      alive: true,
      frozenUntil: 0,
      rate: plan?.rate ?? 1,
      monoOffset: this.#chance() * 1e6,
      wallOffset: (this.#chance() - 0.5) * 2_000,
    };
    const incarnation = `${process.name}.${++slot.starts}`;
    this.#trace?.(`${process.name}: starts as ${incarnation}`);
    this.#ledger.began(process, incarnation);
    this.#time.arrive(process, 0, () => {
      slot.pod = createSimPod({
        network: this.#network,
        process,
        incarnation,
        shards: this.#plan.shards,
        mutant: this.#mutant,
        trace: this.#trace === undefined ? undefined : (what) => this.#trace?.(`${process.name}: ${what}`),
        rules: () => this.#hosts.map((_, host) => this.#ruleOf(slot, host)),
        routeOf: (domain) => this.#routeOf(slot, domain),
        hostOf: (site) => this.#hostOf(site),
        ask: (pod, kind, { query, timeoutMs }) => this.#ask(process, pod, { kind, query, timeoutMs }),
        onOwned: (shard, how, from) => this.#ledger.taken(shard, how, from),
      });
      slot.pod.start();
    });
  }

  /** Core NATS between two pods. */
  #ask(
    asker: Process,
    pod: string,
    asked: { kind: string; query: unknown; timeoutMs: number },
  ): Promise<unknown> {
    const other = this.#slots.find(({ pod: one }) => one?.process.name === pod)?.pod;
    const self = this.#slots.find(({ pod: one }) => one?.process === asker)?.pod;
    return new Promise((resolve) => {
      this.#time.timer(asker, asked.timeoutMs, () => resolve(undefined));
      if (other === undefined || !other.link.isConnected() || self?.link.isConnected() !== true) return;
      const way = (): number => 1 + this.#chance() * 4;
      this.#time.arrive(other.process, way(), () => {
        void other.answer(asked.kind, asked.query).then((answer) => {
          // As it crosses the wire.
          const said: unknown = JSON.parse(JSON.stringify(answer));
          this.#time.arrive(asker, way(), () => resolve(said));
        });
      });
    });
  }

  #reshape(slot: Slot, reshape: Reshape): void {
    const { host, slices } = reshape;
    // A newer configuration is there already.
    if (reshape.at < (slot.shapedAt[host] ?? 0)) return;
    slot.shapedAt[host] = reshape.at;
    slot.slices[host] = slices;
    const { pod } = slot;
    if (pod === undefined) return;
    this.#trace?.(`${pod.process.name}: is told of ${slices} slices of host ${host}`);
    this.#time.arrive(pod.process, 0, () => pod.adopt());
  }

  #ruleOf(slot: Slot, host: number): Rule {
    const { site, connections, messagesPerSecond } = optionsOf(this.#plan, host);
    const count = slot.slices[host] ?? 1;
    const partOf = (whole: number, slice: number, of: number): number =>
      Math.floor(whole / of) + Number(slice < whole % of);
    const limitsOf = (slice: number, of: number): Rule["limits"] => ({
      connections: partOf(connections, slice, of),
      ...(messagesPerSecond === undefined ? {} : { messagesPerSecond: partOf(messagesPerSecond, slice, of) }),
    });
    return {
      name: site,
      provider: site,
      match: { domains: ["*"], mxSuffixes: [] },
      limits: limitsOf(0, 1),
      ...(count === 1 ? {} : { slices: Array.from({ length: count }, (_, slice) => limitsOf(slice, count)) }),
      timeouts: {},
      tls: { mode: "None" },
      retry: {},
      routes: [{ host: site, port: 25 }],
    } as unknown as Rule;
  }

  #hostOf(site: string): ReceivingHost {
    const own = this.#hosts.findIndex(({ options }) => isSiteWithin(placeOf(site), options.site));
    const { beside } = this.#plan;
    return this.#hosts[beside?.host === own ? beside.at : own] as ReceivingHost;
  }

  #routeOf(slot: Slot, domain: string): SiteRoute {
    const host = this.#siteOf[Number(domain.slice(1))] ?? 0;
    const rule = this.#ruleOf(slot, host);
    const { beside, backup } = this.#plan;
    const hops: Hop[] = [{ host: rule.name, port: 25, preference: 0 }];
    if (backup?.host === host) {
      const to = optionsOf(this.#plan, backup.at).site;
      const home = (slot.slices[backup.at] ?? 1) > 1 ? sliceName(to, 0) : to;
      hops.push({ host: to, port: 25, preference: 10, home });
    }
    const isBeside =
      beside?.host === host && beside.isNamed !== true && this.#mutant !== "knows nothing of shared hosts";
    const id = isBeside ? siteBeside(optionsOf(this.#plan, beside.at).site, rule.name) : rule.name;
    return { id, provider: rule.name, label: rule.name, rule, hops };
  }

  #send(index: number, { host, pod, also = [] }: PlannedMail): void {
    const from = [...this.#slots.slice(pod), ...this.#slots].find(
      ({ pod: one }) => one?.process.alive === true,
    )?.pod;
    if (from === undefined) return;
    const id = `m${String(index).padStart(3, "0")}`;
    const to = [host, ...also].map((domain, place) => `user${place}@d${domain}`);
    const receivedAt = this.#time.wall(from.process);
    const { site: _site, size: _size, ...facts } = envelope({ id, from: "", to, receivedAt });
    const message = { ...facts, expiresAt: receivedAt + 1e9, body: Buffer.from(id) };
    this.#publishing++;
    let isOver = false;
    const over = (): void => {
      if (!isOver) this.#publishing--;
      isOver = true;
    };
    // A client that is not answered gives up.
    this.#time.after(70_000, over);
    this.#time.arrive(from.process, 1, () => {
      this.#trace?.(`${from.process.name}: receives ${id} for ${to.join(" ")}`);
      from.accept(message, (stored) => {
        over();
        this.#trace?.(`${from.process.name}: ${id} ${JSON.stringify(stored)}`);
        if (stored.kind === "stored") this.#ledger.accepted(id, to);
      });
    });
  }

  #end(pod: SimPod): void {
    this.#trace?.(`${pod.process.name}: ends`);
    pod.process.alive = false;
    pod.link.disconnect(false);
    this.#ledger.died(pod.process, pod.splitting());
    for (const host of this.#hosts) host.died(pod.process);
  }

  /** Nothing new befalls it; what is frozen, cut off or dead comes back in its time. */
  #calm(): void {
    this.#isCalm = true;
    this.#trace?.("FAULTS are over");
    this.#network.lost = 0;
    this.#network.repeated = 0;
    this.#network.slow = 0;
  }
}

function optionsOf({ hosts }: Plan, index: number): HostOptions {
  const host = hosts[index];
  if (host === undefined) throw new RangeError(`Cannot find host ${index} of ${hosts.length}`);
  return host;
}

/** What a host takes: of two rules' limits the larger. */
function takenBy(plan: Plan, index: number): HostOptions {
  const host = optionsOf(plan, index);
  const shared = plan.beside ?? plan.backup;
  if (shared?.at !== index) return host;
  // Guests of slices have a part of what the host takes, and do not raise it.
  const isSliced = plan.backup !== undefined && plan.reshapes.length > 0;
  if (isSliced && plan.reshapes.every(({ slices }) => slices > 1)) return host;
  const other = optionsOf(plan, shared.host);
  const rates = [host.messagesPerSecond ?? Infinity, other.messagesPerSecond ?? Infinity];
  const messagesPerSecond = Math.max(...rates);
  return {
    ...host,
    connections: Math.max(host.connections, other.connections),
    messagesPerSecond: messagesPerSecond === Infinity ? undefined : messagesPerSecond,
  };
}
