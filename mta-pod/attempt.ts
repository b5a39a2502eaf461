/**
 * CORRIDOR: one attempt at one entry: what is open → where it goes → signatures → connection → transaction → decision.
 * Callbacks, not promises, where nothing has to be waited for: a burst through open connections costs no microtasks.
 */
import type { Envelope } from "#crds/wire/envelope.ts";
import { hostsKey } from "./intake.ts";
import { routeOpen } from "./attempt-route.ts";
import {
  answered,
  countAttempt,
  decisionOf,
  type Ended,
  newRun,
  type Run,
  unanswered,
  unresolved,
  wasStale,
} from "./attempt-outcome.ts";
import { createFullHosts } from "./full-hosts.ts";
import { createHostTrouble, hasOtherHosts, leaveAlone } from "./host-trouble.ts";
import type { Loaded } from "./load.ts";
import { type Outbound, siteKey } from "./outbound.ts";
import type { Pod } from "./pod.ts";
import { type Routed, sliceFor, type SiteRoute } from "./route/router.ts";
import type { Targets } from "./route/targets.ts";
import type { Dispatch, FinishResult } from "./schedule/types.ts";
import { attemptedOf, type Settlement } from "./settlement.ts";
import type { Signers } from "./signers.ts";
import { defaultMessagesPerConnection } from "./site-limits.ts";
import { type Sites, unused } from "./sites.ts";
import type { Fault, Transaction, TransactionResult } from "./smtp/transaction.ts";
import type { Connection } from "./smtp-out/connection.ts";
import { totalLength } from "./smtp-out/body.ts";
import { sign } from "./smtp-out/dkim.ts";
import { sinkHost } from "./smtp-out/sink.ts";

export interface AttemptDeps {
  readonly pod: Pod;
  readonly outbound: Outbound;
  readonly sites: Sites;
  readonly settlement: Settlement;
  signers(): Signers;
  /** Nothing left in mode Sink: the message is kept for a look. */
  sunk(envelope: Envelope, source: string, pieces: readonly Buffer[]): void;
  mayProceed(shard: number): boolean;
  /** A site's slot is free: what waits for it need not wait until this entry is at rest. */
  freed(): void;
  /** Handling threw. `isAnswered`: its peer had answered, so another attempt could send it twice. */
  failed(dispatch: Dispatch, loaded: Loaded, trouble: Trouble): void;
}

export interface Trouble {
  readonly error: unknown;
  readonly isAnswered: boolean;
  readonly ended: () => void;
}

export type Attempts = ReturnType<typeof createAttempts>;

const giveUpMs = 20;

export function createAttempts(deps: AttemptDeps) {
  const { pod, outbound, sites, settlement } = deps;
  const { scheduler, router, clock } = pod;
  const hostTrouble = createHostTrouble(pod);
  const fullHosts = createFullHosts(pod);

  /** Every step that something else calls: what one entry makes go wrong must not end the pod. */
  const guarded = (run: Run, step: () => void): void => {
    try {
      step();
    } catch (error) {
      const { dispatch, loaded, isAnswered, ended } = run;
      deps.failed(dispatch, loaded, { error, isAnswered, ended });
    }
  };

  /** Its shard is ours, and what its host's home said holds. */
  const mayGoOn = ({ dispatch, connection }: Run): boolean =>
    deps.mayProceed(dispatch.entry.shard) &&
    (connection === undefined || outbound.permitOf(connection)?.holds() !== false);

  /** Ends the attempt by a decision: frees the site's slot, then settles; `ended` when the entry is at rest. */
  const conclude = (run: Run, result: TransactionResult, connection: FinishResult["connection"]) => {
    const { dispatch, loaded } = run;
    // Cut off here, since the shard goes to another pod: says nothing of the mail nor of the site.
    if (result.kind === "fault" && result.fault.stage !== "final" && !mayGoOn(run))
      return giveUp(run, connection);
    const made = decisionOf(pod, run, result);
    const isConnected = run.connection !== undefined;
    const decision = run.at === undefined ? made : hostTrouble.apart(run.at, made, { result, isConnected });
    scheduler.finish(dispatch.handle, { feedback: decision.feedback, connection }, clock.now());
    countAttempt(pod, run, result, decision);
    const { next, feedback } = decision;
    const isUntried = next.kind === "requeue";
    const trouble = isUntried ? next.text : "";
    const isSites = isUntried && feedback !== "neutral";
    if (isSites || feedback === "good") sites.tried(dispatch.lane.site, trouble);
    if (run.at !== undefined) sites.tried(run.at.domain, trouble);
    const attempted = attemptedOf(dispatch, loaded, {
      attempt: dispatch.entry.attempt + 1,
      provider: run.route?.provider ?? sites.providerOf(dispatch.lane.site),
      rule: run.route?.rule?.name,
      peer: run.connection?.facts,
    });
    if (decision.possibleDuplicate) pod.metrics.possibleDuplicates.inc({});
    settlement.carryOut(attempted, decision, isUntried ? () => run.ended(true) : run.ended);
    deps.freed();
  };

  const fault = (run: Run, trouble: Fault, connection: FinishResult["connection"]) =>
    conclude(run, unanswered(run, trouble), connection);

  /** Nothing was tried: the entry waits a moment, so that what is on its way (a close, a new owner) can arrive. */
  const giveUp = (run: Run, connection: FinishResult["connection"]) => {
    const { handle, entry } = run.dispatch;
    const now = clock.now();
    if (run.at !== undefined) hostTrouble.untried(run.at);
    scheduler.defer(handle, now + giveUpMs, entry.attempt, now);
    scheduler.finish(handle, { feedback: "neutral", connection }, now);
    run.ended();
  };

  const notOpened = (run: Run, trouble: Fault) => {
    if (trouble.kind !== "full") return fault(run, trouble, "closed");
    sites.tried(run.dispatch.lane.site, trouble.text);
    fullHosts.comeBack(run.dispatch, run.key, run.at !== undefined);
    return run.ended(true);
  };

  /** For the next transaction, where one more is wanted and allowed. */
  const keep = (run: Run, connection: Connection): FinishResult["connection"] => {
    const { lane, source, entry } = run.dispatch;
    const isOpen = run.route === undefined || sites.isOpen(run.route);
    const isWanted = isOpen && scheduler.surplus(lane.site, source) === 0 && deps.mayProceed(entry.shard);
    const limit = run.route?.rule?.limits.messagesPerConnection ?? defaultMessagesPerConnection;
    return outbound.keep(run.key, connection, isWanted ? limit : 0);
  };

  const transact = (run: Run, connection: Connection, pieces: readonly Buffer[]) => {
    const { dispatch, loaded } = run;
    const { envelope } = loaded;
    const permit = outbound.permitOf((run.connection = connection));
    fullHosts.reached(run.key);
    const transaction: Transaction = {
      from: envelope.from,
      to: run.open.map((index) => envelope.to[index] ?? ""),
      message: pieces,
      size: totalLength(pieces),
      eightBit: envelope.eightBit,
      smtpUtf8: envelope.smtpUtf8,
      mayProceed: () => mayGoOn(run),
      finalDotMs: () => permit?.finalDotMs() || scheduler.finalDotMs(dispatch.handle, clock.now()),
    };
    const free = outbound.use(dispatch.entry.shard, connection);
    /** Its tenant's or sender domain's turn is much later: others use the connection, and the entry is the first of its lane again. */
    const giveBack = (): void => {
      free();
      if (run.at !== undefined) hostTrouble.untried(run.at);
      const connectionIs = connection.idle ? keep(run, connection) : outbound.ending(connection);
      scheduler.requeue(dispatch.handle, clock.now());
      scheduler.finish(dispatch.handle, { feedback: "neutral", connection: connectionIs }, clock.now());
      run.ended(true);
    };
    const send = () => {
      if (!connection.idle) {
        free();
        return giveUp(run, outbound.ending(connection));
      }
      return connection.send(transaction, (result) =>
        guarded(run, () => {
          free();
          run.isAnswered = result.kind === "answered" || result.fault.stage === "final";
          const kept = keep(run, connection);
          if (wasStale(connection, result)) return giveUp(run, kept);
          if (connection.facts?.target.host === sinkHost && result.kind === "answered")
            deps.sunk({ ...envelope, to: transaction.to }, dispatch.source, pieces);
          conclude(run, result, kept);
        }),
      );
    };
    // Connecting took its time: the rate is held at the peer, so the pause comes right before MAIL.
    const takeTurn = (): void => {
      const { then, ms } = scheduler.holdBeforeMail(dispatch.handle, clock.now());
      if (then === "requeue") return giveBack();
      const next = then === "ask" ? takeTurn : permit === undefined ? send : askTurn;
      return after(ms, next);
    };
    /** Its host's home gives the moment; without one it is not sent. */
    const askTurn = (): void =>
      permit?.turn((ms) => guarded(run, () => (ms === undefined ? giveBack() : after(ms, send))));
    const after = (ms: number, next: () => void): void =>
      void (ms <= 0 ? next() : setTimeout(() => guarded(run, next), ms));
    return takeTurn();
  };

  const connect = (run: Run, route: SiteRoute, pieces: readonly Buffer[]) => {
    const { dispatch } = run;
    if (dispatch.connection === "reuse") {
      const idle = outbound.take(run.key);
      if (idle !== undefined) return transact(run, idle, pieces);
      // What is idle leads to another customer's hosts at the same site: one is given up, then a new one is due.
      outbound.makeRoom({ site: route.id, source: dispatch.source });
      return giveUp(run, "kept");
    }
    const found: Promise<Targets> = outbound.isSink(dispatch.source)
      ? Promise.resolve({ kind: "targets", targets: [] })
      : router.targets(route);
    void found.then((resolved) =>
      guarded(run, () => {
        switch (resolved.kind) {
          case "targets":
            return outbound.open({
              dispatch,
              key: run.key,
              route,
              targets: resolved.targets,
              ready: (connection) => guarded(run, () => transact(run, connection, pieces)),
              failed: (trouble) => guarded(run, () => notOpened(run, trouble)),
            });
          case "refused":
            return conclude(run, answered(run, resolved.reply), "closed");
          case "unknown":
            return fault(run, { stage: "connect", kind: "network", text: resolved.text }, "closed");
          default:
            return resolved satisfies never;
        }
      }),
    );
    return undefined;
  };

  const signed = (run: Run, route: SiteRoute) => {
    const { envelope, body } = run.loaded;
    const keys = deps.signers().keysFor(envelope.tenant, body);
    if (keys.length === 0 || envelope.from === "") return connect(run, route, [body]);
    void sign(body, keys, Math.floor(clock.now() / 1000)).then(
      (signatures) => guarded(run, () => connect(run, route, [signatures, body])),
      (error: unknown) =>
        guarded(run, () => {
          pod.log.error("signing failed", { id: envelope.id, error: String(error) });
          fault(run, { stage: "data", kind: "protocol", text: "signing failed" }, unused(run.dispatch));
        }),
    );
    return undefined;
  };

  const routed = (run: Run, domain: string, found: Routed) => {
    const { dispatch, loaded } = run;
    switch (found.kind) {
      case "site": {
        const site = sliceFor(found.site, loaded.envelope.id);
        if (!sites.isOpen(site)) {
          sites.wait(dispatch, site);
          return run.ended(true);
        }
        if (site.id !== dispatch.lane.site) {
          return sites.rehome(dispatch, loaded, { route: site, ended: run.ended });
        }
        sites.found(dispatch.lane.site, site, domain);
        run.route = site;
        const hosts = hostsKey(site);
        if (hasOtherHosts(site)) {
          const { source } = dispatch;
          run.at = { site, source, hosts, domain, startedAt: clock.monotonic(), probeUntil: 0 };
          const waitMs = hostTrouble.waitMs(run.at);
          if (waitMs > 0) {
            leaveAlone(pod, dispatch, waitMs);
            return run.ended(true);
          }
        }
        // What was opened in clear is not for a rule that asks for TLS now.
        const how = site.rule?.tls.mode ?? "";
        run.key = `${siteKey({ site: site.id, source: dispatch.source })}|${hosts}|${how}`;
        return signed(run, site);
      }
      case "refused":
        return conclude(run, answered(run, found.reply), unused(dispatch));
      case "unknown":
        return conclude(run, unresolved(run, found.text), unused(dispatch));
      default:
        return found satisfies never;
    }
  };

  return {
    /** Another site that shares the hosts has no connection: an idle one of this site is closed. */
    yieldIdle: outbound.makeRoom,
    /** Runs one attempt. */
    start(dispatch: Dispatch, loaded: Loaded, ended: Ended): void {
      const run = newRun(dispatch, loaded, ended);
      if (!deps.mayProceed(dispatch.entry.shard)) return giveUp(run, unused(dispatch));
      routeOpen({ router, loaded, site: dispatch.lane.site }, (domain, found, parts) =>
        guarded(run, () =>
          parts.length > 0 ? sites.divide(dispatch, loaded, { parts, ended }) : routed(run, domain, found),
        ),
      );
    },
  };
}
