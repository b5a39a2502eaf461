/** The words of the demo. Pure. */
import { type Endpoint, firstPool } from "./endpoint.ts";

/** Of demo/pool.yaml. */
export const demoPool = "mail/demo";

export interface Progress {
  readonly accepted: number;
  readonly delivered: number;
  /** Refusals for now, each of which the queue tries again. */
  readonly deferred: number;
  readonly bounced: number;
}

export function introduction(facts: {
  readonly endpoint: Endpoint;
  readonly state: string;
  readonly folder: string;
  readonly providerHttp: number;
  readonly providerPort: number;
}): string[] {
  const { endpoint, state, folder, providerHttp, providerPort } = facts;
  const pods = Object.entries(endpoint.pids.pods).map(([name, pid]) => `${name} (process ${pid})`);
  return [
    "",
    `Running: ${pods.length} pods that share the ports: ${pods.join(", ")};`,
    `  one nats-server with the queue (${endpoint.nats}); a pretend mailbox provider (127.0.0.1:${providerPort},`,
    `  counts on http://127.0.0.1:${providerHttp}/v1/stats).`,
    `State:   ${state} (queue, logs, tokens; trust ${endpoint.ca}).`,
    "  Stored mail survives a kill -9 of anything; local mode does not sync the disk, so a loss of power may cost mail.",
    `Rules:   ${folder}: edit one, save, and the pods take it over.`,
    "",
    "Two tenants, acme and globex, now send 60 messages to five domains: fast and steady.example accept, slow.example",
    "takes 5/s on 2 connections, later.example greylists, bounce.example knows nobody.",
  ];
}

/** @example "  after  4 s: 60 accepted, 38 delivered, 12 deferred and tried again, 12 bounced, 10 on their way" */
export function progressLine(progress: Progress, elapsedMs: number): string {
  const { accepted, delivered, deferred, bounced } = progress;
  const open = Math.max(0, accepted - delivered - bounced);
  const seconds = String(Math.round(elapsedMs / 1000)).padStart(2);
  const way = open === 0 ? "nothing left in the queue" : `${open} on their way`;
  return `  after ${seconds} s: ${accepted} accepted, ${delivered} delivered, ${deferred} deferred and tried again, ${bounced} bounced, ${way}`;
}

export function nextSteps(facts: {
  readonly endpoint: Endpoint;
  readonly state: string;
  readonly bouncing: string | undefined;
  readonly providerHttp: number;
}): string[] {
  const { endpoint, bouncing, providerHttp } = facts;
  const state = facts.state === ".mailboat" ? "" : ` --state ${facts.state}`;
  // Beside others the demo's pool has to be named: its rules alone lead to the pretend provider.
  const pool = endpoint.pools.length > 1 ? ` --pool ${demoPool}` : "";
  const [pod] = Object.values(endpoint.pids.pods);
  const [metrics = ""] = firstPool(endpoint).metrics;
  const rows: (readonly [command: string, says: string])[] = [
    [
      `npx mailboat send --to you@slow.example --count 100${pool}${state}`,
      "more than slow.example takes at once",
    ],
    [`npx mailboat queue ls${state}`, "what waits, and for what"],
    [`npx mailboat top${state}`, "tenants and sites, live"],
    [`kill -9 ${pod ?? ""}`, "a pod: it comes back, nothing is lost"],
    [`curl -s http://${metrics}/metrics | grep ^mailboat_`, "metrics of one pod"],
    [`curl -s http://127.0.0.1:${providerHttp}/v1/stats`, "what the provider saw"],
  ];
  if (bouncing !== undefined)
    rows.unshift([`npx mailboat why ${bouncing}${state}`, "what became of one that bounced"]);
  const width = Math.max(...rows.map(([command]) => command.length));
  return [
    "",
    "To type next, in another terminal:",
    ...rows.map(([command, says]) => `  ${command.padEnd(width)}  ${says}`),
    "Ctrl-C ends it; the next start goes on with the same queue.",
  ];
}
