/** The alerts, each with the query, how long it must hold, and its runbook page in charts/runbooks. Pure data. */
import { stringify } from "yaml";

export interface Alert {
  /** Also the name of its page. */
  readonly name: string;
  readonly expr: string;
  /** A Prometheus duration. */
  readonly holds: string;
  readonly severity: "critical" | "warning" | "info";
  /** One sentence with Prometheus' templates. */
  readonly summary: string;
}

/** What an alert about a pool is grouped by; the scrape puts them there (charts/README.md). */
const pool = "namespace, pool";
const operator = '{job="mailboat-operator"}';
const here = "{{ $labels.namespace }}/{{ $labels.pool }}";

function replicas(state: "desired" | "ready" | "programmed" | "max"): string {
  return `max by (${pool}) (mailboat_pool_replicas{state="${state}"})`;
}

/** Pods that have tried nothing since they started have no series of attempts. */
const noAttempts = `0 * sum by (${pool}) (mailboat_sendable_backlog)`;

const deferred = `sum by (${pool}, provider) (rate(mailboat_deferrals_total[15m]))`;

export const operatorAlerts: readonly Alert[] = [
  {
    name: "MailboatOperatorDown",
    expr: `absent(up${operator} == 1)`,
    holds: "5m",
    severity: "critical",
    summary: "No operator answers. Mail flows on; edits, new tenants and scaling do not happen.",
  },
  {
    name: "MailboatNoLeader",
    expr: `sum(leader_election_master_status${operator}) == 0`,
    holds: "5m",
    severity: "critical",
    summary: "No operator leads: all of them wait for the lease.",
  },
  {
    name: "MailboatReconcileErrors",
    expr: [
      `sum by (controller) (rate(controller_runtime_reconcile_errors_total${operator}[10m]))`,
      `/ sum by (controller) (rate(controller_runtime_reconcile_total${operator}[10m])) > 0.1`,
    ].join("\n"),
    holds: "15m",
    severity: "warning",
    summary: "{{ $value | humanizePercentage }} of what {{ $labels.controller }} reconciles fails.",
  },
  {
    name: "MailboatWorkqueueStuck",
    expr: `max by (name) (workqueue_longest_running_processor_seconds${operator}) > 120`,
    holds: "5m",
    severity: "warning",
    summary: "{{ $labels.name }} has worked on one object for {{ $value | humanizeDuration }}.",
  },
  {
    name: "MailboatWatchSilent",
    expr: `max by (kind) (mailboat_operator_watch_silent_seconds${operator}) > 180`,
    holds: "5m",
    severity: "warning",
    summary:
      "Nothing has been heard of {{ $labels.kind }}s from the API server for {{ $value | humanizeDuration }}.",
  },
  {
    name: "MailboatPodsMissing",
    expr: `${replicas("desired")} - ${replicas("ready")} > 0`,
    holds: "15m",
    severity: "warning",
    summary: `{{ $value }} of the pods that ${here} should have are not ready.`,
  },
  {
    name: "MailboatConfigNotProgrammed",
    expr: `${replicas("ready")} - ${replicas("programmed")} > 0`,
    holds: "5m",
    severity: "warning",
    summary: `{{ $value }} ready pods of ${here} do not run the newest configuration.`,
  },
  {
    name: "MailboatPoolAtMaxReplicas",
    expr: `${replicas("desired")} >= ${replicas("max")}`,
    holds: "30m",
    severity: "warning",
    summary: `${here} has had all the {{ $value }} pods that its autoscaler may give it for half an hour.`,
  },
  {
    name: "MailboatDrainStuck",
    expr: `max by (${pool}) (mailboat_tenant_drain_oldest_seconds) > 72 * 3600`,
    holds: "30m",
    severity: "warning",
    summary: `A deleted tenant of ${here} has been draining for {{ $value | humanizeDuration }}; what is left at its drainTimeout (96h unless set) is dropped.`,
  },
];

export const poolAlerts: readonly Alert[] = [
  {
    name: "MailboatPodDown",
    expr: 'up{job="mailboat-pod"} == 0',
    holds: "10m",
    severity: "warning",
    summary: `{{ $labels.pod }} of ${here} does not answer.`,
  },
  {
    name: "MailboatConfigRefused",
    expr: `sum by (${pool}) (increase(mailboat_config_errors_total[15m])) > 0`,
    holds: "0m",
    severity: "warning",
    summary: `Pods of ${here} refuse the newest configuration; the last good one runs on.`,
  },
  {
    name: "MailboatConfigsDiffer",
    expr: `max by (${pool}) (mailboat_config_generation) - min by (${pool}) (mailboat_config_generation) > 0`,
    holds: "5m",
    severity: "warning",
    summary: `Pods of ${here} have run different configurations for 5 minutes.`,
  },
  {
    name: "MailboatShardsUnowned",
    // Pods that are ready and not scraped say nothing. A restart of the operator is bridged: how many shards there are does not change.
    expr: [
      `(sum by (${pool}) (mailboat_shards_owned) or ${replicas("ready")} == 0)`,
      `< max by (${pool}) (last_over_time(mailboat_pool_shards[15m]))`,
      `unless ${replicas("desired")} == 0`,
    ].join("\n"),
    holds: "5m",
    severity: "critical",
    summary: `Only {{ $value }} shards of ${here} have an owner: the mail in the others waits.`,
  },
  {
    name: "MailboatPoolBacklogAge",
    expr: [
      `sum by (${pool}) (mailboat_sendable_backlog)`,
      `/ clamp_min(sum by (${pool}) (rate(mailboat_attempts_total[5m])) or ${noAttempts}, 0.01) > 900`,
    ].join("\n"),
    holds: "10m",
    severity: "warning",
    summary: `What could leave ${here} now takes {{ $value | humanizeDuration }} at the present pace.`,
  },
  {
    name: "MailboatNothingSent",
    expr: [
      `sum by (${pool}) (mailboat_sendable_backlog) > 0`,
      `unless sum by (${pool}) (rate(mailboat_attempts_total[10m])) > 0`,
    ].join("\n"),
    holds: "10m",
    severity: "critical",
    summary: `{{ $value }} messages of ${here} could leave, and nothing is tried.`,
  },
  {
    name: "MailboatQueueOld",
    expr: `max by (${pool}) (mailboat_queue_oldest_seconds) > 48 * 3600`,
    holds: "30m",
    severity: "warning",
    summary: `The oldest message of ${here} has waited {{ $value | humanizeDuration }}; it is returned after 72 h unless a rule says otherwise.`,
  },
  {
    name: "MailboatStoreFilling",
    expr: `max by (${pool}) (mailboat_store_used_ratio) > 0.6`,
    holds: "10m",
    severity: "warning",
    summary: `A spool stream of ${here} is {{ $value | humanizePercentage }} full; intake stops at 80 %.`,
  },
  {
    name: "MailboatStoreFull",
    expr: `max by (${pool}) (mailboat_store_used_ratio) > 0.79`,
    holds: "1m",
    severity: "critical",
    summary: `A spool stream of ${here} is {{ $value | humanizePercentage }} full: mail for it is refused with 452.`,
  },
  {
    name: "MailboatSpoolSlow",
    expr: `histogram_quantile(0.99, sum by (${pool}, op, le) (rate(mailboat_spool_seconds_bucket[5m]))) > 1`,
    holds: "10m",
    severity: "warning",
    summary: `JetStream takes {{ $value | humanizeDuration }} for a {{ $labels.op }} of ${here} (p99).`,
  },
  {
    name: "MailboatPossibleDuplicates",
    expr: `sum by (${pool}) (increase(mailboat_possible_duplicates_total[15m])) > 0`,
    holds: "0m",
    severity: "info",
    summary: `The outcome of {{ $value | humanize }} messages of ${here} became unknown while they were sent: they may arrive twice.`,
  },
  {
    name: "MailboatParked",
    expr: `sum by (${pool}) (mailboat_parked_messages) > 0`,
    holds: "0m",
    severity: "warning",
    summary: `{{ $value | humanize }} messages of ${here} are set aside: handling them failed, or ended pods, three times.`,
  },
  {
    name: "MailboatEventsDropped",
    expr: `sum by (${pool}) (increase(mailboat_events_dropped_total[15m])) > 0`,
    holds: "0m",
    severity: "warning",
    summary: `{{ $value | humanize }} event records of ${here} were given up: \`why\` misses them, mail does not.`,
  },
  {
    name: "MailboatDeferralsHigh",
    // Deferrals are of recipients: an attempt may have a hundred of them, and defer one.
    expr: [
      deferred,
      `/ (${deferred} + (sum by (${pool}, provider) (rate(mailboat_recipients_total[15m])) or 0 * ${deferred})) > 0.5`,
      `and sum by (${pool}, provider) (rate(mailboat_attempts_total[15m])) > 0.1`,
    ].join("\n"),
    holds: "30m",
    severity: "warning",
    summary: `{{ $labels.provider }} defers {{ $value | humanizePercentage }} of the recipients that ${here} tries.`,
  },
  {
    name: "MailboatBouncesHigh",
    expr: [
      `sum by (${pool}, tenant) (increase(mailboat_recipients_total{outcome="bounced"}[1h]))`,
      `/ sum by (${pool}, tenant) (increase(mailboat_recipients_total[1h])) > 0.05`,
      `and sum by (${pool}, tenant) (increase(mailboat_recipients_total[1h])) > 200`,
    ].join("\n"),
    holds: "15m",
    severity: "warning",
    summary:
      "{{ $value | humanizePercentage }} of the recipients of {{ $labels.tenant }} bounced in the last hour.",
  },
  {
    name: "MailboatLoginsRefused",
    expr: `sum by (${pool}) (rate(mailboat_rejections_total{reason="bad-credentials"}[10m])) > 1`,
    holds: "15m",
    severity: "info",
    summary: `{{ $value | humanize }} logins a second are refused at ${here}: a wrong Secret, or somebody guesses.`,
  },
];

/** A Prometheus rules file; `runbook` is a path in this repository, which the chart turns into a URL. */
export function alertsYaml(): string {
  const groups = [
    { name: "mailboat-operator", rules: operatorAlerts.map(ruleOf) },
    { name: "mailboat-pools", rules: poolAlerts.map(ruleOf) },
  ];
  return stringify({ groups }, { lineWidth: 0 });
}

function ruleOf({ name, expr, holds, severity, summary }: Alert): object {
  return {
    alert: name,
    expr,
    for: holds,
    labels: { severity },
    annotations: { summary, runbook: `charts/runbooks/${name}.md` },
  };
}
