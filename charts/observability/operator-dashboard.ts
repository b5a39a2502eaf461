/** The dashboard of the operator, under controller-runtime's names, so that boards made for those work as well. Pure data. */
import type { Dashboard, Panel } from "./panels.ts";

const rate = "[$__rate_interval]";
const ours = 'job="mailboat-operator"';

const line = (
  [title, about]: readonly [string, string],
  unit: string,
  expr: string,
  legend: string,
): Panel => ({
  kind: "timeseries",
  title,
  about,
  unit,
  queries: [{ expr, legend }],
});

const figure = (title: string, about: string, unit: string, expr: string): Panel => ({
  kind: "stat",
  title,
  about,
  unit,
  width: 6,
  queries: [{ expr, legend: title }],
});

export const operatorDashboard: Dashboard = {
  name: "operator",
  title: "Mailboat / Operator",
  about: "Whether the controller keeps up with the resources.",
  variables: [],
  rows: [
    {
      title: "Now",
      panels: [
        figure("Operators", "Pods that answer.", "short", `sum(up{${ours}})`),
        figure(
          "Leaders",
          "One, or nothing is reconciled.",
          "short",
          `sum(leader_election_master_status{${ours}})`,
        ),
        figure("Waiting", "Objects that wait to be reconciled.", "short", `sum(workqueue_depth{${ours}})`),
        figure(
          "Failing",
          "Reconciliations that fail, per second.",
          "reqps",
          `sum(rate(controller_runtime_reconcile_errors_total{${ours}}${rate}))`,
        ),
      ],
    },
    {
      title: "Reconciling",
      panels: [
        line(
          ["Reconciliations", "By controller and result."],
          "reqps",
          `sum by (controller, result) (rate(controller_runtime_reconcile_total{${ours}}${rate}))`,
          "{{controller}}: {{result}}",
        ),
        line(
          ["Time of one, p95", "By controller."],
          "s",
          `histogram_quantile(0.95, sum by (controller, le) (rate(controller_runtime_reconcile_time_seconds_bucket{${ours}}${rate})))`,
          "{{controller}}",
        ),
        line(
          ["Workers", "Busy, by controller."],
          "short",
          `sum by (controller) (controller_runtime_active_workers{${ours}})`,
          "{{controller}}",
        ),
        line(
          ["Depth", "Objects that wait, by queue."],
          "short",
          `sum by (name) (workqueue_depth{${ours}})`,
          "{{name}}",
        ),
        line(
          ["Wait, p95", "From added to taken."],
          "s",
          `histogram_quantile(0.95, sum by (name, le) (rate(workqueue_queue_duration_seconds_bucket{${ours}}${rate})))`,
          "{{name}}",
        ),
        line(
          ["Retries", "Objects put back after an error."],
          "reqps",
          `sum by (name) (rate(workqueue_retries_total{${ours}}${rate}))`,
          "{{name}}",
        ),
        line(
          ["Longest running", "Of what is being worked on."],
          "s",
          `max by (name) (workqueue_longest_running_processor_seconds{${ours}})`,
          "{{name}}",
        ),
        line(
          ["Requests to the API server", "By method and status."],
          "reqps",
          `sum by (method, code) (rate(rest_client_requests_total{${ours}}${rate}))`,
          "{{method}} {{code}}",
        ),
        line(
          ["Watches", "Since the API server was last heard of, by kind; bookmarks come each minute."],
          "s",
          `max by (kind) (mailboat_operator_watch_silent_seconds{${ours}})`,
          "{{kind}}",
        ),
        line(
          ["Objects", "Kept in memory, by kind."],
          "short",
          `max by (kind) (mailboat_operator_watched_objects{${ours}})`,
          "{{kind}}",
        ),
        line(
          ["Compile, p95", "Of all resources to the pools' configurations."],
          "s",
          `histogram_quantile(0.95, sum by (le) (rate(mailboat_operator_compile_seconds_bucket{${ours}}${rate})))`,
          "compile",
        ),
        line(
          ["Edit to pods, p95", "From a pool's new configuration until all of its ready pods run it."],
          "s",
          `histogram_quantile(0.95, sum by (le) (rate(mailboat_operator_programmed_seconds_bucket{${ours}}${rate})))`,
          "programmed",
        ),
        line(
          ["Memory", "Resident; 1,000 tenants were seen to take 180 MiB, 10,000 280 MiB."],
          "bytes",
          `sum by (pod) (process_resident_memory_bytes{${ours}})`,
          "{{pod}}",
        ),
      ],
    },
    {
      title: "Pools",
      panels: [
        line(
          [
            "Pods",
            "Desired, ready, programmed (they run the newest configuration), and the autoscaler's bound.",
          ],
          "short",
          `max by (namespace, pool, state) (mailboat_pool_replicas{${ours}})`,
          "{{namespace}}/{{pool}} {{state}}",
        ),
        line(
          ["Longest drain", "Of the deleted tenants that still have mail."],
          "s",
          `max by (namespace, pool) (mailboat_tenant_drain_oldest_seconds{${ours}})`,
          "{{namespace}}/{{pool}}",
        ),
      ],
    },
  ],
};
