/** Tries targets in order until one has greeted, secured as wished; none = the fault that says most. Nothing is sent. */
import type { Rule } from "#crds/pod-config/schema.ts";
import type { Clock } from "../runtime/clock.ts";
import type { Log } from "../runtime/log.ts";
import { maxDescription } from "../smtp/reply.ts";
import type { Fault, PeerFacts, Stage, Target } from "../smtp/transaction.ts";
import { Deadline } from "./deadline.ts";
import type { Extensions } from "./extensions.ts";
import type { Hop } from "./hop.ts";
import { Handshake, type HandshakeStep, type Trouble } from "./handshake.ts";
import type { TlsPolicy } from "./tls-policy.ts";
import { Wire, type WireEvents } from "./wire.ts";

export interface OpeningOptions {
  readonly targets: readonly Target[];
  readonly localAddress?: string;
  /** Through a proxy; `localAddress` is then not used. */
  readonly hop?: Hop;
  readonly ehlo: string;
  readonly tls: "Opportunistic" | "Required" | "None";
  readonly timeouts: Rule["timeouts"];
  readonly log: Log;
  /** Asked once before each target is connected to, of which some are counted elsewhere; without it all may be. */
  admit?(target: Target, then: (isAdmitted: boolean) => void): void;
  /** Told of each target that would not. */
  missed?(fault: Fault): void;
}

export interface Opened {
  readonly wire: Wire;
  readonly facts: PeerFacts;
  readonly extensions: Extensions;
}

export interface OpeningEvents {
  /** @returns who listens to the wire from now on */
  opened(session: Opened): WireEvents;
  /** After the last socket is closed. */
  failed(fault: Fault): void;
}

const noRoom = "is given no more connections now, by what sites of other domains may have there too";

export class Opening {
  readonly #options: OpeningOptions;
  readonly #events: OpeningEvents;
  readonly #policy: TlsPolicy;
  readonly #deadline: Deadline;
  #index = 0;
  /** TLS with this target has just failed: the attempt that runs is in clear. */
  #tlsFailed = false;
  #faults: Fault[] = [];
  #aborted = false;
  #wire: Wire | undefined;
  #handshake: Handshake | undefined;
  /** What fails before is the proxy's trouble. */
  #reached = false;
  #connected = false;
  #tls = "";
  /** The target that was last asked for, and that the answer is waited for. */
  #asked = -1;
  #isWaiting = false;
  /** Homes that had no room. */
  readonly #full = new Set<string>();

  constructor(options: OpeningOptions, events: OpeningEvents, deps: { clock: Clock; tlsPolicy: TlsPolicy }) {
    this.#options = options;
    this.#events = events;
    this.#policy = deps.tlsPolicy;
    this.#deadline = new Deadline(deps.clock, () =>
      this.#trouble({
        kind: this.#reached ? "timeout" : "proxy",
        text: this.#reached ? "no answer in time" : "the proxy does not let us in in time",
      }),
    );
    // Not before the caller has what this constructor returns.
    queueMicrotask(() => this.#next());
  }

  /** Ends in `failed`, unless it has ended already. */
  abort(): void {
    if (this.#aborted) return;
    this.#aborted = true;
    this.#deadline.disarm();
    this.#wire?.destroy();
    if (!this.#isWaiting) return;
    this.#isWaiting = false;
    queueMicrotask(() => this.#fail());
  }

  #next(): void {
    const target = this.#options.targets[this.#index];
    if (target === undefined || this.#aborted) return this.#fail();
    const { admit } = this.#options;
    if (admit === undefined || this.#asked === this.#index) return this.#connect(target);
    if (target.home !== undefined && this.#full.has(target.home)) return this.#skip(target);
    this.#asked = this.#index;
    this.#isWaiting = true;
    admit(target, (isAdmitted) => {
      if (!this.#isWaiting) return;
      this.#isWaiting = false;
      if (isAdmitted) return this.#connect(target);
      if (target.home !== undefined) this.#full.add(target.home);
      return this.#skip(target);
    });
    return undefined;
  }

  #skip(target: Target): void {
    this.#faults.push({ stage: "connect", kind: "full", text: `${target.host} ${noRoom}`, target });
    this.#index++;
    this.#next();
  }

  #connect(target: Target): void {
    const { hop, localAddress, timeouts } = this.#options;
    this.#reached = hop === undefined;
    this.#connected = false;
    this.#tls = "";
    this.#handshake = new Handshake({ ehlo: this.#options.ehlo, tls: this.#mode(target) });
    this.#deadline.arm(hop === undefined ? timeouts.connectMs : hop.connectMs);
    this.#wire = new Wire(target, { localAddress, hop }, this.#wireEvents());
  }

  #mode(target: Target): "Opportunistic" | "Required" | "None" {
    const { tls } = this.#options;
    const avoid = tls === "Opportunistic" && (this.#tlsFailed || this.#policy.isBroken(target.host));
    return avoid ? "None" : tls;
  }

  #wireEvents(): WireEvents {
    return {
      reached: () => {
        this.#reached = true;
        this.#deadline.arm(this.#options.timeouts.connectMs);
      },
      connected: () => {
        this.#connected = true;
        this.#deadline.arm(this.#options.timeouts.bannerMs);
      },
      secured: (tls) => {
        this.#tls = tls;
        if (this.#handshake !== undefined) this.#take(this.#handshake.secured());
      },
      reply: (code, text) => {
        if (this.#handshake !== undefined) this.#take(this.#handshake.reply(code, text));
      },
      read: () => {},
      progress: () => {},
      lost: (kind, text) => this.#trouble({ kind, text }),
      closed: () => this.#next(),
    };
  }

  #take(step: HandshakeStep): void {
    switch (step.kind) {
      case "command":
        this.#deadline.arm(this.#options.timeouts.commandMs);
        return this.#wire?.write(step.text);
      case "upgrade":
        this.#deadline.arm(this.#options.timeouts.commandMs);
        return this.#wire?.startTls(this.#policy);
      case "ready":
        return this.#ready(step.extensions);
      case "refused":
        return this.#trouble(step.trouble);
      default:
        return step satisfies never;
    }
  }

  #ready(extensions: Extensions): void {
    const wire = this.#wire;
    const target = this.#options.targets[this.#index];
    if (wire === undefined || target === undefined) return;
    // Only now: had the peer been away altogether, TLS would not be to blame.
    if (this.#tlsFailed) this.#policy.rememberBroken(target.host);
    this.#deadline[Symbol.dispose]();
    this.#aborted = true;
    const facts = { target, tls: this.#tls, localAddress: wire.localAddress };
    wire.handTo(this.#events.opened({ wire, facts, extensions }));
  }

  #stage(): Stage {
    return this.#connected ? (this.#handshake?.stage ?? "greeting") : "connect";
  }

  /** Closes the socket; `closed` then goes on with the next target, or with the same one in clear. */
  #trouble(trouble: Trouble): void {
    const target = this.#options.targets[this.#index];
    this.#deadline.disarm();
    this.#wire?.destroy();
    if (this.#aborted || target === undefined) return;
    const stage = this.#stage();
    const fault: Fault = {
      stage,
      kind: stage === "tls" && trouble.reply === undefined ? "tls" : trouble.kind,
      text: trouble.text.slice(0, maxDescription),
      ...(trouble.reply === undefined ? {} : { reply: trouble.reply }),
      target,
    };
    const { host, address, port } = target;
    const reply = trouble.reply === undefined ? {} : { code: trouble.reply.code, reply: trouble.reply.text };
    this.#options.log.debug("target failed", {
      host,
      address,
      port,
      stage,
      kind: fault.kind,
      text: fault.text,
      ...reply,
    });
    if (fault.kind === "tls" && this.#options.tls === "Opportunistic" && !this.#tlsFailed) {
      this.#tlsFailed = true;
      return;
    }
    this.#tlsFailed = false;
    this.#faults.push(fault);
    this.#options.missed?.(fault);
    // The other targets lie behind the same proxy.
    this.#index = this.#reached ? this.#index + 1 : this.#options.targets.length;
  }

  #fail(): void {
    this.#deadline[Symbol.dispose]();
    if (this.#aborted) {
      return this.#events.failed({
        stage: this.#stage(),
        kind: "closed",
        text: "closed here before it was ready",
      });
    }
    this.#events.failed(tellingFault(this.#faults));
  }
}

/** A refusal for good only when every target said so; among the rest a reply says more than silence, and late beats early. */
export function tellingFault(faults: readonly Fault[]): Fault {
  // The host may be alive and well.
  const full = faults.find(({ kind }) => kind === "full");
  if (full !== undefined) return full;
  const passing = faults.filter((fault) => (fault.reply?.code ?? 0) < 500);
  const replied = passing.filter((fault) => fault.reply !== undefined);
  const found = replied.at(-1) ?? passing.at(-1) ?? faults.at(-1);
  return found ?? { stage: "connect", kind: "network", text: "there is no target to connect to" };
}
