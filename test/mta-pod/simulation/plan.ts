/** What befalls one simulated pool, as data drawn from a seed: how large it is, its hosts, its mail, its faults. So it can be shrunk. */
import { shardOf } from "#crds/wire/subject.ts";
import { random } from "#test/kit/random.ts";
import type { HostOptions } from "./receiving-hosts.ts";

export type Fault = { readonly at: number } & (
  | { readonly kind: "freeze"; readonly pod: number; readonly ms: number }
  | {
      readonly kind: "kill";
      readonly pod: number;
      /** Somebody saw it end; 0 = nobody did. */
      readonly witnessMs: number;
      readonly restartMs: number;
    }
  /** The next pod that moves mail dies with it, so long after the new entry is stored. */
  | {
      readonly kind: "ambush";
      readonly afterMs: number;
      readonly witnessMs: number;
      readonly restartMs: number;
    }
  | { readonly kind: "term"; readonly pod: number; readonly restartMs: number }
  /** Cut off from NATS. */
  | { readonly kind: "cut"; readonly pod: number; readonly ms: number }
  /** A stream without a leader; the last = the bucket. */
  | { readonly kind: "away"; readonly stream: number; readonly ms: number }
  /** All of NATS is killed: the duplicate window is built anew, and some deletes are forgotten. */
  | { readonly kind: "restart"; readonly ms: number; readonly forgotten: number }
  /** As `restart`, and one shard's stream loses its unsynced end. */
  | { readonly kind: "lose"; readonly ms: number; readonly stream: number; readonly count: number }
  | { readonly kind: "jump"; readonly pod: number; readonly ms: number }
  | { readonly kind: "down"; readonly host: number; readonly ms: number }
  /** A domain goes to another host, and perhaps back. */
  | { readonly kind: "move"; readonly host: number; readonly ms: number }
);

export interface PlannedMail {
  readonly at: number;
  readonly host: number;
  readonly pod: number;
  /** Hosts of further recipients: the same one again, or others; with others it is stored as a parent. */
  readonly also?: readonly number[];
}

/** A configuration that divides a host's site into so many slices; the pods get it one after the other. */
export interface Reshape {
  readonly at: number;
  readonly host: number;
  readonly slices: number;
  /** By pod: so much later. */
  readonly delays: readonly number[];
}

export interface Plan {
  readonly seed: number;
  readonly pods: readonly { readonly startMs: number; readonly rate: number }[];
  readonly shards: number;
  readonly hosts: readonly HostOptions[];
  readonly mail: readonly PlannedMail[];
  readonly faults: readonly Fault[];
  readonly reshapes: readonly Reshape[];
  /** A rule's mail goes to the hosts of another one's, with limits of its own: by index in `hosts`, whose own hosts nobody uses then. `isNamed`: the names of the sites tell. */
  readonly beside?: { readonly host: number; readonly at: number; readonly isNamed?: true };
  /** Where the first cannot be reached its mail goes to the hosts of the second, whose own mail goes there as well: by index in `hosts`. */
  readonly backup?: { readonly host: number; readonly at: number };
  readonly lost: number;
  readonly repeated: number;
  readonly slow: number;
  /** Copies of each stream. */
  readonly replicas: number;
  /** Faults are over. */
  readonly calmAt: number;
}

export function planOf(seed: number): Plan {
  const chance = random(Math.imul(seed + 1, 0x9e3779b1));
  const between = (least: number, most: number): number => least + chance() * (most - least);
  const count = (least: number, most: number): number => Math.floor(between(least, most + 1));
  const oneIn = (n: number): boolean => chance() < 1 / n;
  const chaosMs = between(6_000, 20_000);
  const moments = Array.from({ length: count(1, 3) }, () => between(2_500, chaosMs - 1_000));
  /** Troubles seldom come alone, and matter where mail is under way. */
  const sometime = (): number =>
    chance() < 0.7
      ? (moments[count(0, moments.length - 1)] ?? 0) + between(-400, 800)
      : between(1_500, chaosMs);
  const pods = Array.from({ length: count(2, 3) }, (_, index) => ({
    startMs: index > 0 && oneIn(3) ? between(1_000, chaosMs) : between(0, 300),
    rate: 1 + between(-0.003, 0.003),
  }));
  const shards = count(1, 3);
  const hosts = Array.from({ length: count(1, 3) }, (_, index) => ({
    site: `site-${index}`,
    connections: count(1, 3),
    messagesPerSecond: oneIn(2) ? count(1, 8) : undefined,
    wayMs: between(1, 12),
    deferred: oneIn(3) ? 0.2 : 0,
    refused: oneIn(5) ? 0.1 : 0,
    broken: oneIn(4) ? 0.05 : 0,
    slow: oneIn(3) ? 0.15 : 0,
    isChunking: oneIn(2),
    isPatient: oneIn(2),
  }));
  const alsoTo = furtherHosts(seed, hosts.length);
  const mail: PlannedMail[] = [];
  for (let burst = count(2, 5); burst > 0; burst--) {
    const at = sometime();
    const host = count(0, hosts.length - 1);
    for (let size = count(1, 8); size > 0; size--)
      mail.push({ at: at + between(0, 50), host, pod: count(0, pods.length - 1), ...alsoTo() });
  }
  const isLossy = oneIn(6);
  const fault = (): Fault => {
    const at = sometime();
    const pod = count(0, pods.length - 1);
    switch (count(0, isLossy ? 9 : 8)) {
      case 0:
        return { at, kind: "freeze", pod, ms: oneIn(3) ? between(200, 11_000) : between(11_000, 40_000) };
      case 1:
        return {
          at,
          kind: "kill",
          pod,
          witnessMs: oneIn(2) ? between(100, 2_000) : 0,
          restartMs: between(300, 25_000),
        };
      case 2:
        return { at, kind: "term", pod, restartMs: between(300, 25_000) };
      case 3:
        return { at, kind: "cut", pod, ms: oneIn(3) ? between(100, 5_000) : between(5_000, 35_000) };
      case 4:
        return { at, kind: "away", stream: count(0, shards), ms: between(200, oneIn(4) ? 20_000 : 5_000) };
      case 5:
        return { at, kind: "restart", ms: between(200, 4_000), forgotten: count(0, 3) };
      case 6:
        return { at, kind: "jump", pod, ms: oneIn(2) ? between(-90_000, 90_000) : between(-3_000, 14_000) };
      case 7:
        return { at, kind: "down", host: count(0, hosts.length - 1), ms: between(500, 10_000) };
      case 8:
        return { at, kind: "move", host: count(0, hosts.length - 1), ms: between(500, 15_000) };
      default:
        return {
          at,
          kind: "lose",
          ms: between(200, 3_000),
          stream: count(0, shards - 1),
          count: count(1, 8),
        };
    }
  };
  const faults = Array.from({ length: count(1, 6) }, fault).sort((a, b) => a.at - b.at);
  return {
    seed,
    pods,
    shards,
    hosts,
    mail: mail.sort((a, b) => a.at - b.at),
    faults,
    lost: oneIn(3) ? 0.03 : 0,
    repeated: oneIn(3) ? 0.03 : 0,
    slow: oneIn(3) ? 0.05 : 0.003,
    reshapes: reshapesOf(seed, { hosts, pods: pods.length, chaosMs }),
    replicas: random(~seed)() < 1 / 3 ? 3 : 1,
    calmAt: chaosMs,
  };
}

/** The same with two rules for the first host. */
export function sharing(plan: Plan): Plan {
  const host = plan.hosts.length - 1;
  if (host === 0) return plan;
  // Slices share with nobody.
  return { ...plan, reshapes: plan.reshapes.filter((one) => one.host % host > 0), beside: { host, at: 0 } };
}

/** The same where the first host is in two lists of MX hosts that have some in common. */
export function overlapping(plan: Plan): Plan {
  const shared = sharing(plan);
  if (shared.beside === undefined) return plan;
  const { host, at } = shared.beside;
  const names = new Map([
    [at, "mx:hosts.example/a,b"],
    [host, "mx:hosts.example/b,c"],
  ]);
  const hosts = plan.hosts.map((one, index) => ({ ...one, site: names.get(index) ?? one.site }));
  return { ...shared, hosts, beside: { host, at, isNamed: true } };
}

/** The same where the last host is away again and again, and the first one is its backup. */
export function backedUp(plan: Plan): Plan {
  const host = plan.hosts.length - 1;
  if (host === 0) return plan;
  const chance = random(Math.imul(plan.seed + 1, 0x27d4eb2f));
  const away = (): Fault => {
    const at = 1_000 + chance() * (plan.calmAt - 2_000);
    return { at, kind: "down", host, ms: chance() < 1 / 3 ? plan.calmAt : 500 + chance() * 10_000 };
  };
  const faults = [...plan.faults, away(), away(), away()].sort((a, b) => a.at - b.at);
  const mail = plan.mail.map((one) => (chance() < 1 / 2 ? { ...one, host } : one));
  const shards = Math.max(2, plan.shards);
  // Slices share with nobody.
  return {
    ...plan,
    shards,
    hosts: inShardsOf(plan.hosts, shards),
    faults,
    mail,
    reshapes: [],
    backup: { host, at: 0 },
  };
}

/** The same where domains go to other shards and back again and again, and pods die at it: much of the mail waits in between. */
export function wandering(plan: Plan): Plan {
  const last = plan.hosts.length - 1;
  if (last === 0) return plan;
  const chance = random(Math.imul(plan.seed + 1, 0x165667b1));
  const shards = Math.max(2, plan.shards);
  const some = (count: number): number => Math.floor(chance() * count);
  const more = Array.from({ length: 4 }, (): Fault[] => {
    const at = 3_000 + chance() * (plan.calmAt - 3_000);
    const ms = 200 + chance() * 4_000;
    const move = { at, kind: "move", host: some(last + 1), ms } as const;
    const witnessMs = chance() < 2 / 3 ? 100 + chance() * 3_000 : 0;
    const restartMs = 300 + chance() * 10_000;
    const ambush = { at, kind: "ambush", afterMs: chance() * 4, witnessMs, restartMs } as const;
    return chance() < 1 / 3 ? [move, ambush] : [move];
  });
  return {
    ...plan,
    shards,
    hosts: inShardsOf(plan.hosts, shards).map((host) => ({ ...host, deferred: 0.7 })),
    faults: [...plan.faults, ...more.flat()].sort((a, b) => a.at - b.at),
    reshapes: [],
  };
}

/** The same where the backup is divided into slices, one number of them after the other. */
export function backedUpBySlices(plan: Plan): Plan {
  const chance = random(Math.imul(plan.seed + 1, 0x632be5ab));
  const { reshapes: _none, hosts, ...backed } = backedUp(plan);
  if (backed.backup === undefined) return plan;
  const [first, ...others] = hosts;
  if (first === undefined) return plan;
  // Enough for two or three slices of it; in half of the plans it is never whole.
  const least = chance() < 1 / 2 ? 1 : 2;
  const connections = 2 + Math.floor(chance() * 3);
  const messagesPerSecond = chance() < 1 / 2 ? 2 + Math.floor(chance() * 6) : undefined;
  const most = Math.min(connections, messagesPerSecond ?? connections);
  // A change takes some eight seconds, and so does the start.
  const calmAt = plan.calmAt + 25_000;
  const times = [
    0,
    ...Array.from({ length: Math.floor(chance() * 3) }, () => 10_000 + chance() * (calmAt - 10_000)),
  ];
  const reshapes = times
    .sort((a, b) => a - b)
    .map((at) => ({
      at,
      host: backed.backup?.at ?? 0,
      slices: least + Math.floor(chance() * (most + 1 - least)),
      delays: plan.pods.map(() => (at === 0 ? 0 : chance() ** 3 * 8_000)),
    }));
  // Guests, and mail of its own, around each change.
  const around = reshapes.flatMap(({ at }) =>
    Array.from({ length: 16 }, () => ({
      at: Math.max(3_000, at - 4_000) + chance() * 14_000,
      host: chance() < 2 / 3 ? others.length : 0,
      pod: Math.floor(chance() * plan.pods.length),
    })),
  );
  const away = { at: 1_500, kind: "down", host: others.length, ms: calmAt + 10_000 } as const;
  return {
    ...backed,
    hosts: [{ ...first, connections, messagesPerSecond }, ...others],
    mail: [...backed.mail, ...around].sort((a, b) => a.at - b.at),
    faults: chance() < 2 / 3 ? [away, ...backed.faults].sort((a, b) => a.at - b.at) : backed.faults,
    reshapes,
    calmAt,
  };
}

/** With names by which the first is in another shard than the last: in most plans another pod is its home. */
function inShardsOf(hosts: readonly HostOptions[], shards: number): readonly HostOptions[] {
  const [first, ...others] = hosts;
  const last = others.at(-1);
  if (first === undefined || last === undefined) return hosts;
  const taken = shardOf(last.site, shards);
  for (let number = 0; ; number++) {
    const site = `backup-${number}`;
    if (shardOf(site, shards) !== taken) return [{ ...first, site }, ...others];
  }
}

/** A third of the mail goes to two or three, by chances of its own: the rest of a plan is as it was without. */
function furtherHosts(seed: number, hosts: number): () => Pick<PlannedMail, "also"> {
  const chance = random(Math.imul(seed + 1, 0x85ebca6b));
  const any = (): number => Math.floor(chance() * hosts);
  return () => {
    const kind = chance();
    if (kind > 1 / 3) return {};
    return { also: kind < 1 / 9 ? [any(), any()] : [any()] };
  };
}

/** In a quarter of the plans, by chances of their own; a slice has one connection and one message a second at least. */
function reshapesOf(
  seed: number,
  { hosts, pods, chaosMs }: { hosts: readonly HostOptions[]; pods: number; chaosMs: number },
): Reshape[] {
  const chance = random(Math.imul(seed + 1, 0xc2b2ae35));
  if (chance() > 1 / 4) return [];
  return hosts.flatMap(({ connections, messagesPerSecond = connections }, host) => {
    const most = Math.min(connections, messagesPerSecond);
    if (most < 2 || chance() < 1 / 4) return [];
    const times = [0, ...Array.from({ length: Math.floor(chance() * 3) }, () => chance() * chaosMs)];
    return times
      .sort((a, b) => a - b)
      .map((at) => {
        const slices = 1 + Math.floor(chance() * most);
        const delays = Array.from({ length: pods }, () => (at === 0 ? 0 : chance() ** 3 * 8_000));
        return { at, host, slices, delays };
      });
  });
}

/** The same where hosts take few messages a second, and pods stand still for a moment again and again: what was to be sent then is late. */
export function stalling(plan: Plan): Plan {
  const chance = random(Math.imul(plan.seed + 1, 0x165667b1));
  const hosts = plan.hosts.map((host) => ({
    ...host,
    connections: 2 + Math.floor(chance() * 2),
    messagesPerSecond: 1 + Math.floor(chance() ** 2 * 3),
  }));
  const any = (of: readonly unknown[]): number => Math.floor(chance() * of.length);
  // Two go at once only where there is always another one.
  const busyFor = plan.calmAt * 1.5;
  const mail = Array.from({ length: 60 }, () => ({
    at: 1_000 + chance() * plan.calmAt,
    host: any(hosts),
    pod: any(plan.pods),
  }));
  const stalls = Array.from({ length: 20 }, () => ({
    at: 2_000 + chance() * busyFor,
    kind: "freeze" as const,
    pod: any(plan.pods),
    ms: 50 + chance() * 2_500,
  }));
  const byTime = (a: { at: number }, b: { at: number }): number => a.at - b.at;
  return {
    ...plan,
    hosts,
    mail: [...plan.mail, ...mail].sort(byTime),
    faults: [...plan.faults, ...stalls].sort(byTime),
    calmAt: plan.calmAt + busyFor,
    // A slice of so little would have none.
    reshapes: [],
  };
}
