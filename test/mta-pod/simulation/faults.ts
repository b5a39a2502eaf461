/** What a planned fault does to the simulated pool, and what undoes it later. */
import { freeDead } from "#mta-pod/spool/witness.ts";
import type { Fault } from "./plan.ts";
import type { ReceivingHost } from "./receiving-hosts.ts";
import type { SimPod } from "./sim-pod.ts";
import type { Network } from "./sim-spool.ts";
import type { Stream } from "./stream.ts";

export interface FaultsDeps {
  readonly shards: number;
  readonly network: Network;
  readonly hosts: readonly ReceivingHost[];
  /** By domain number: its site. */
  readonly siteOf: number[];
  /** By number, the last one that was started there, dead or alive. */
  pods(): readonly (SimPod | undefined)[];
  end(pod: SimPod): void;
  start(index: number): void;
}

const testifyMs = 500;

export interface Faults {
  befall(fault: Fault): void;
  /** Mail of a shard is stored as an entry elsewhere, and perhaps still where it was. */
  moved(from: number): void;
}

export function createFaults(deps: FaultsDeps): Faults {
  const { network, hosts, siteOf } = deps;
  const { time, jetStream } = network;
  const ambushes: Extract<Fault, { readonly kind: "ambush" }>[] = [];
  const cutUntil = new Map<SimPod, number>();

  const podAt = (index: number): SimPod | undefined => {
    const pod = deps.pods()[index];
    return pod?.process.alive === true ? pod : undefined;
  };
  const streamAt = (index: number): Stream | undefined => {
    const { names, streams } = jetStream;
    return streams.get(index < deps.shards ? names.shardStream(index) : `KV_${names.bucket}`);
  };
  const isCut = (pod: SimPod): boolean => (cutUntil.get(pod) ?? 0) > time.now + 1;
  const startLater = (index: number, ms: number): void => time.after(ms, () => deps.start(index));
  /** Any pod that lives carries it out; asked again until one does. */
  const testify = (pod: string, incarnation: string): void => {
    const witness = deps.pods().find((one) => one?.process.alive === true);
    if (witness === undefined) return time.after(testifyMs, () => testify(pod, incarnation));
    return time.arrive(witness.process, 1, () => void freeDead(witness.link.spool, { pod, incarnation }));
  };
  /** All of NATS, for so long; `damage` = what it has forgotten when it is back. */
  const restart = (ms: number, damage: (stream: Stream) => void): void => {
    for (const pod of deps.pods()) pod?.link.disconnect(true);
    for (const stream of jetStream.streams.values()) {
      jetStream.loseLeader(stream, ms);
      damage(stream);
    }
    time.after(ms, () => {
      for (const pod of deps.pods()) if (pod !== undefined && !isCut(pod)) pod.link.reconnect();
    });
  };

  const kill = (pod: SimPod, { witnessMs, restartMs }: { witnessMs: number; restartMs: number }): void => {
    const index = deps.pods().indexOf(pod);
    if (index < 0 || !pod.process.alive) return;
    deps.end(pod);
    if (witnessMs > 0) time.after(witnessMs, () => testify(pod.process.name, pod.incarnation));
    startLater(index, restartMs);
  };

  const onPod = (pod: SimPod, fault: Extract<Fault, { readonly pod: number }>): void => {
    const { process } = pod;
    switch (fault.kind) {
      case "freeze":
        process.frozenUntil = Math.max(process.frozenUntil, time.now + fault.ms);
        return;
      case "kill":
        return kill(pod, fault);
      case "term":
        return time.arrive(process, 0, () =>
          pod.stop(() => {
            deps.end(pod);
            startLater(fault.pod, fault.restartMs);
          }),
        );
      case "cut": {
        pod.link.disconnect(false);
        const until = Math.max(cutUntil.get(pod) ?? 0, time.now + fault.ms);
        cutUntil.set(pod, until);
        return time.after(until - time.now, () => {
          if (!isCut(pod)) pod.link.reconnect();
        });
      }
      case "jump":
        process.wallOffset += fault.ms;
        return;
      default:
        fault satisfies never;
    }
  };

  const befall = (fault: Fault): void => {
    switch (fault.kind) {
      case "away": {
        const stream = streamAt(fault.stream);
        if (stream !== undefined) jetStream.loseLeader(stream, fault.ms);
        return;
      }
      case "restart":
        return restart(fault.ms, (stream) => jetStream.restart(stream, fault.forgotten));
      case "lose":
        return restart(fault.ms, (stream) => {
          if (stream === streamAt(fault.stream)) jetStream.loseEnd(stream, fault.count);
          else jetStream.restart(stream, 0);
        });
      case "ambush":
        ambushes.push(fault);
        return;
      case "down": {
        const host = hosts[fault.host];
        if (host === undefined) return;
        host.isDown = true;
        return time.after(fault.ms, () => void (host.isDown = false));
      }
      case "move":
        siteOf[fault.host] = (fault.host + 1) % hosts.length;
        return time.after(fault.ms, () => void (siteOf[fault.host] = fault.host));
      case "freeze":
      case "kill":
      case "term":
      case "cut":
      case "jump": {
        const pod = podAt(fault.pod);
        if (pod !== undefined) onPod(pod, fault);
        return;
      }
      default:
        fault satisfies never;
    }
  };
  return {
    befall,
    moved(from) {
      const pod = deps.pods().find((one) => one?.process.alive === true && one.ownership.mayProceed(from));
      if (pod === undefined) return;
      const ambush = ambushes.shift();
      if (ambush !== undefined) time.after(ambush.afterMs, () => kill(pod, ambush));
    },
  };
}
