import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { stringify } from "yaml";
import { operatorAlerts, poolAlerts } from "#charts/observability/alerts.ts";
import { programFor } from "#test/kit/programs.ts";

const charts = join(import.meta.dirname, "../../charts");
const rules = join(charts, "mailboat/files/alerts.yaml");

type Series = readonly (readonly [string, string])[];

/** Series in promtool's notation, a value a minute; `at` when it is asked. */
interface Case {
  readonly fires: Series;
  readonly quiet: Series;
  readonly at: string;
  /** Whether it fires in other situations, by what they are. */
  readonly besides?: Readonly<Record<string, { readonly fires: boolean; readonly series: Series }>>;
}

const of = 'namespace="mail",pool="shared"';
const pod = (index: number): string => `${of},pod="mailboat-shared-${index}"`;
const job = 'job="mailboat-operator"';

/** What the operator says of the pool. */
function ofPool(
  shards: string | undefined,
  replicas: Readonly<Record<"desired" | "ready", string>>,
): [string, string][] {
  const said = Object.entries(replicas).map(([state, values]): [string, string] => [
    `mailboat_pool_replicas{${of},state="${state}"}`,
    values,
  ]);
  return shards === undefined ? said : [[`mailboat_pool_shards{${of}}`, shards], ...said];
}

const cases: Readonly<Record<string, Case>> = {
  MailboatOperatorDown: {
    fires: [[`up{${job}}`, "0x30"]],
    quiet: [
      [`up{${job},pod="a"}`, "0x30"],
      [`up{${job},pod="b"}`, "1x30"],
    ],
    at: "10m",
  },
  MailboatNoLeader: {
    fires: [[`leader_election_master_status{${job},name="mailboat-operator"}`, "0x30"]],
    quiet: [
      [`leader_election_master_status{${job},pod="a"}`, "0x30"],
      [`leader_election_master_status{${job},pod="b"}`, "1x30"],
    ],
    at: "10m",
  },
  MailboatReconcileErrors: {
    fires: [
      [`controller_runtime_reconcile_errors_total{${job},controller="tenant"}`, "0+2x60"],
      [`controller_runtime_reconcile_total{${job},controller="tenant",result="error"}`, "0+2x60"],
      [`controller_runtime_reconcile_total{${job},controller="tenant",result="success"}`, "0+10x60"],
    ],
    quiet: [
      [`controller_runtime_reconcile_errors_total{${job},controller="tenant"}`, "0+1x60"],
      [`controller_runtime_reconcile_total{${job},controller="tenant",result="success"}`, "0+100x60"],
      // Somebody else's controller of the same name.
      [`controller_runtime_reconcile_errors_total{job="other",controller="tenant"}`, "0+90x60"],
    ],
    at: "40m",
  },
  MailboatWorkqueueStuck: {
    fires: [[`workqueue_longest_running_processor_seconds{${job},name="pool"}`, "0+60x30"]],
    quiet: [[`workqueue_longest_running_processor_seconds{${job},name="pool"}`, "0 60 119 0 60 119 0x24"]],
    at: "12m",
  },
  MailboatWatchSilent: {
    fires: [[`mailboat_operator_watch_silent_seconds{${job},kind="Tenant"}`, "0+60x30"]],
    quiet: [[`mailboat_operator_watch_silent_seconds{${job},kind="Tenant"}`, "0 60 120 0 60 120 0x24"]],
    at: "12m",
  },
  MailboatPodsMissing: {
    fires: [
      [`mailboat_pool_replicas{${of},state="desired"}`, "3x30"],
      [`mailboat_pool_replicas{${of},state="ready"}`, "2x30"],
    ],
    quiet: [
      [`mailboat_pool_replicas{${of},state="desired"}`, "3x30"],
      [`mailboat_pool_replicas{${of},state="ready"}`, "2x10 3x20"],
    ],
    at: "20m",
  },
  MailboatConfigNotProgrammed: {
    fires: [
      [`mailboat_pool_replicas{${of},state="ready"}`, "2x30"],
      [`mailboat_pool_replicas{${of},state="programmed"}`, "0x30"],
    ],
    quiet: [
      [`mailboat_pool_replicas{${of},state="ready"}`, "2x30"],
      [`mailboat_pool_replicas{${of},state="programmed"}`, "2x3 1x2 2x25"],
    ],
    at: "12m",
  },
  MailboatPoolAtMaxReplicas: {
    fires: [
      [`mailboat_pool_replicas{${of},state="desired"}`, "2x5 8x55"],
      [`mailboat_pool_replicas{${of},state="max"}`, "8x60"],
    ],
    quiet: [
      [`mailboat_pool_replicas{${of},state="desired"}`, "7x60"],
      [`mailboat_pool_replicas{${of},state="max"}`, "8x60"],
    ],
    at: "45m",
  },
  MailboatDrainStuck: {
    fires: [[`mailboat_tenant_drain_oldest_seconds{${of}}`, "260000+60x60"]],
    quiet: [[`mailboat_tenant_drain_oldest_seconds{${of}}`, "250000+60x60"]],
    at: "45m",
  },
  MailboatPodDown: {
    fires: [[`up{job="mailboat-pod",${pod(0)}}`, "0x30"]],
    quiet: [[`up{job="mailboat-pod",${pod(0)}}`, "0x8 1x22"]],
    at: "15m",
  },
  MailboatConfigRefused: {
    fires: [[`mailboat_config_errors_total{${pod(0)}}`, "0x5 1x25"]],
    quiet: [[`mailboat_config_errors_total{${pod(0)}}`, "3x30"]],
    at: "10m",
  },
  MailboatConfigsDiffer: {
    fires: [
      [`mailboat_config_generation{${pod(0)}}`, "7x30"],
      [`mailboat_config_generation{${pod(1)}}`, "7x3 8x27"],
    ],
    quiet: [
      [`mailboat_config_generation{${pod(0)}}`, "7x5 8x25"],
      [`mailboat_config_generation{${pod(1)}}`, "7x3 8x27"],
      [`mailboat_config_generation{namespace="mail",pool="other",pod="x"}`, "99x30"],
    ],
    at: "12m",
  },
  MailboatShardsUnowned: {
    fires: [
      ...ofPool("8x60", { desired: "2x60", ready: "2x20 1x40" }),
      [`mailboat_shards_owned{${pod(0)}}`, "4x60"],
      [`mailboat_shards_owned{${pod(1)}}`, "4x20 stale"],
    ],
    quiet: [
      ...ofPool("8x60", { desired: "2x60", ready: "2x20 1x40" }),
      [`mailboat_shards_owned{${pod(0)}}`, "4x20 8x40"],
      [`mailboat_shards_owned{${pod(1)}}`, "4x20 stale"],
    ],
    at: "40m",
    besides: {
      "a hand-over between the scrapes of two pods, in which four shards count twice": {
        fires: false,
        series: [
          ...ofPool("8x60", { desired: "1x18 2x42", ready: "1x19 2x41" }),
          [`mailboat_shards_owned{${pod(0)}}`, "8x20 4x40"],
          [`mailboat_shards_owned{${pod(1)}}`, "_x20 4x40"],
        ],
      },
      "scaled to 0": {
        fires: false,
        series: [
          ...ofPool("8x60", { desired: "1x20 0x40", ready: "1x20 0x40" }),
          [`mailboat_shards_owned{${pod(0)}}`, "8x20 stale"],
        ],
      },
      deleted: {
        fires: false,
        series: [
          ...ofPool("8x20 stale", { desired: "1x20 stale", ready: "1x20 stale" }),
          [`mailboat_shards_owned{${pod(0)}}`, "8x20 stale"],
        ],
      },
      "no pod is ready, and none there to scrape": {
        fires: true,
        series: [
          ...ofPool("8x60", { desired: "1x60", ready: "1x20 0x40" }),
          [`mailboat_shards_owned{${pod(0)}}`, "8x20 stale"],
        ],
      },
      "pods that nobody scrapes": {
        fires: false,
        series: ofPool("8x60", { desired: "2x60", ready: "2x60" }),
      },
      "the operator is away": {
        fires: true,
        series: [
          ...ofPool("8x30 stale", { desired: "2x30 stale", ready: "1x30 stale" }),
          [`mailboat_shards_owned{${pod(0)}}`, "4x60"],
        ],
      },
      "an operator of before, which does not say how many shards there are": {
        fires: false,
        series: [
          ...ofPool(undefined, { desired: "2x60", ready: "2x20 1x40" }),
          [`mailboat_shards_owned{${pod(0)}}`, "8x20 4x40"],
        ],
      },
    },
  },
  MailboatPoolBacklogAge: {
    fires: [
      [`mailboat_sendable_backlog{${pod(0)}}`, "100000x40"],
      [
        `mailboat_attempts_total{${pod(0)},provider="Google",source="default",result="delivered"}`,
        "0+600x40",
      ],
    ],
    quiet: [
      [`mailboat_sendable_backlog{${pod(0)}}`, "5000x40"],
      [
        `mailboat_attempts_total{${pod(0)},provider="Google",source="default",result="delivered"}`,
        "0+600x40",
      ],
    ],
    at: "30m",
    besides: {
      "pods that have tried nothing since they started": {
        fires: true,
        series: [[`mailboat_sendable_backlog{${pod(0)}}`, "100000x40"]],
      },
      "nothing could leave": {
        fires: false,
        series: [[`mailboat_sendable_backlog{${pod(0)}}`, "0x40"]],
      },
    },
  },
  MailboatNothingSent: {
    fires: [
      [`mailboat_sendable_backlog{${pod(0)}}`, "1x40"],
      [`mailboat_attempts_total{${pod(0)},provider="Google",source="default",result="delivered"}`, "9x40"],
    ],
    quiet: [
      [`mailboat_sendable_backlog{${pod(0)}}`, "1x40"],
      [`mailboat_attempts_total{${pod(0)},provider="Google",source="default",result="delivered"}`, "0+1x40"],
    ],
    at: "35m",
    besides: {
      "pods that have tried nothing since they started": {
        fires: true,
        series: [[`mailboat_sendable_backlog{${pod(0)}}`, "1x40"]],
      },
      "nothing could leave": {
        fires: false,
        series: [[`mailboat_sendable_backlog{${pod(0)}}`, "0x40"]],
      },
    },
  },
  MailboatQueueOld: {
    fires: [[`mailboat_queue_oldest_seconds{${pod(0)},tenant="mail/acme"}`, "180000+60x60"]],
    quiet: [[`mailboat_queue_oldest_seconds{${pod(0)},tenant="mail/acme"}`, "100000+60x60"]],
    at: "45m",
  },
  MailboatStoreFilling: {
    fires: [[`mailboat_store_used_ratio{${pod(0)}}`, "0.65x30"]],
    quiet: [[`mailboat_store_used_ratio{${pod(0)}}`, "0.65x5 0.5x25"]],
    at: "20m",
  },
  MailboatStoreFull: {
    fires: [[`mailboat_store_used_ratio{${pod(0)}}`, "0.7x3 0.8x27"]],
    quiet: [[`mailboat_store_used_ratio{${pod(0)}}`, "0.78x30"]],
    at: "10m",
  },
  MailboatSpoolSlow: {
    fires: [
      [`mailboat_spool_seconds_bucket{${pod(0)},op="publish",le="0.5"}`, "0+10x40"],
      [`mailboat_spool_seconds_bucket{${pod(0)},op="publish",le="2"}`, "0+60x40"],
      [`mailboat_spool_seconds_bucket{${pod(0)},op="publish",le="+Inf"}`, "0+60x40"],
    ],
    quiet: [
      [`mailboat_spool_seconds_bucket{${pod(0)},op="publish",le="0.5"}`, "0+60x40"],
      [`mailboat_spool_seconds_bucket{${pod(0)},op="publish",le="2"}`, "0+60x40"],
      [`mailboat_spool_seconds_bucket{${pod(0)},op="publish",le="+Inf"}`, "0+60x40"],
    ],
    at: "30m",
  },
  MailboatPossibleDuplicates: {
    fires: [[`mailboat_possible_duplicates_total{${pod(0)}}`, "0x5 2x25"]],
    quiet: [[`mailboat_possible_duplicates_total{${pod(0)}}`, "2x30"]],
    at: "10m",
  },
  MailboatParked: {
    fires: [[`mailboat_parked_messages{${pod(0)}}`, "0x5 2x25"]],
    quiet: [[`mailboat_parked_messages{${pod(0)}}`, "0x30"]],
    at: "10m",
  },
  MailboatEventsDropped: {
    fires: [[`mailboat_events_dropped_total{${pod(0)}}`, "0x5 100x25"]],
    quiet: [[`mailboat_events_dropped_total{${pod(0)}}`, "100x30"]],
    at: "10m",
  },
  MailboatDeferralsHigh: {
    fires: [
      [
        `mailboat_deferrals_total{${pod(0)},tenant="mail/acme",provider="Yahoo",class="rate-limited"}`,
        "0+40x80",
      ],
      [`mailboat_attempts_total{${pod(0)},provider="Yahoo",source="default",result="deferred"}`, "0+60x80"],
    ],
    quiet: [
      // As bad a share, of next to nothing.
      [
        `mailboat_deferrals_total{${pod(0)},tenant="mail/acme",provider="Yahoo",class="rate-limited"}`,
        "0+1x80",
      ],
      [`mailboat_attempts_total{${pod(0)},provider="Yahoo",source="default",result="deferred"}`, "0+1x80"],
    ],
    at: "70m",
    besides: {
      "of the many recipients of each message one is put off": {
        fires: false,
        series: [
          [
            `mailboat_deferrals_total{${pod(0)},tenant="mail/acme",provider="Yahoo",class="mailbox-full"}`,
            "0+60x80",
          ],
          [
            `mailboat_recipients_total{${pod(0)},tenant="mail/acme",stream="default",provider="Yahoo",outcome="delivered"}`,
            "0+2940x80",
          ],
          [
            `mailboat_attempts_total{${pod(0)},provider="Yahoo",source="default",result="delivered"}`,
            "0+60x80",
          ],
        ],
      },
      "of the recipients two in three are put off": {
        fires: true,
        series: [
          [
            `mailboat_deferrals_total{${pod(0)},tenant="mail/acme",provider="Yahoo",class="reputation"}`,
            "0+60x80",
          ],
          [
            `mailboat_recipients_total{${pod(0)},tenant="mail/acme",stream="default",provider="Yahoo",outcome="delivered"}`,
            "0+30x80",
          ],
          [
            `mailboat_attempts_total{${pod(0)},provider="Yahoo",source="default",result="deferred"}`,
            "0+90x80",
          ],
        ],
      },
    },
  },
  MailboatBouncesHigh: {
    fires: [
      [
        `mailboat_recipients_total{${pod(0)},tenant="mail/acme",stream="default",provider="Yahoo",outcome="bounced"}`,
        "0+10x120",
      ],
      [
        `mailboat_recipients_total{${pod(0)},tenant="mail/acme",stream="default",provider="Yahoo",outcome="delivered"}`,
        "0+90x120",
      ],
    ],
    quiet: [
      [
        `mailboat_recipients_total{${pod(0)},tenant="mail/acme",stream="default",provider="Yahoo",outcome="bounced"}`,
        "0+1x120",
      ],
      [
        `mailboat_recipients_total{${pod(0)},tenant="mail/acme",stream="default",provider="Yahoo",outcome="delivered"}`,
        "0+1x120",
      ],
    ],
    at: "100m",
  },
  MailboatLoginsRefused: {
    fires: [[`mailboat_rejections_total{${pod(0)},tenant="unknown",reason="bad-credentials"}`, "0+120x60"]],
    quiet: [[`mailboat_rejections_total{${pod(0)},tenant="unknown",reason="bad-credentials"}`, "0+6x60"]],
    at: "40m",
  },
};

const alerts = [...operatorAlerts, ...poolAlerts];

test("every alert has a case here and a runbook page, and there are no other pages", () => {
  const names = alerts.map(({ name }) => name).toSorted();
  assert.deepEqual(Object.keys(cases).toSorted(), names);
  const pages = readdirSync(join(charts, "runbooks")).map((file) => file.replace(/\.md$/, ""));
  assert.deepEqual(pages.toSorted(), names);
  assert.ok(existsSync(rules));
});

test("alerts.yaml: each alert fires in its case and is quiet in the case beside it, by promtool", (context) => {
  const promtool = programFor(context, "promtool");
  if (promtool === undefined) return;
  const folder = mkdtempSync(join(tmpdir(), "mailboat-alerts-"));
  try {
    const tests = Object.entries(cases).flatMap(([name, { fires, quiet, at, besides = {} }]) => [
      groupOf({ name, series: fires, at, firing: [{ value: 1 }] }),
      groupOf({ name, series: quiet, at, firing: [] }),
      ...Object.entries(besides).map(([what, one]) =>
        groupOf({ name, what, series: one.series, at, firing: one.fires ? [{ value: 1 }] : [] }),
      ),
    ]);
    const file = join(folder, "tests.yaml");
    writeFileSync(file, stringify({ rule_files: [rules], evaluation_interval: "1m", tests }));
    const { status, stdout, stderr } = spawnSync(promtool, ["test", "rules", file], { encoding: "utf8" });
    assert.equal(status, 0, `${stdout}${stderr}`);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

function groupOf({
  name,
  what = "",
  series,
  at,
  firing,
}: {
  name: string;
  what?: string;
  series: Series;
  at: string;
  firing: readonly { value: number }[];
}): object {
  return {
    name: `${name} ${firing.length === 0 ? "is quiet" : "fires"}${what === "" ? "" : `: ${what}`}`,
    interval: "1m",
    input_series: series.map(([labels, values]) => ({ series: labels, values })),
    promql_expr_test: [
      {
        expr: `count(ALERTS{alertname="${name}", alertstate="firing"})`,
        eval_time: at,
        exp_samples: firing.map(({ value }) => ({ labels: "{}", value })),
      },
    ],
  };
}
