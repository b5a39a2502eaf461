/** Panels and dashboards in Grafana's JSON (schema 39, Grafana 10 and later), from a few words each. Pure. */

export interface Query {
  readonly expr: string;
  /** Legend, with Prometheus' label templates. */
  readonly legend: string;
}

export interface Panel {
  readonly title: string;
  /** What a reader should make of it. */
  readonly about: string;
  readonly kind: "timeseries" | "stat" | "table";
  /** Grafana's unit, such as reqps, s, short, percentunit. */
  readonly unit: string;
  readonly queries: readonly Query[];
  /** Of 24 columns; default 8. */
  readonly width?: number;
  readonly stacked?: boolean;
}

interface Row {
  readonly title: string;
  readonly panels: readonly Panel[];
}

interface Variable {
  readonly name: string;
  readonly label: string;
  /** A Prometheus query as Grafana's label_values takes it. */
  readonly query: string;
}

export interface Dashboard {
  /** File name, and uid behind "mailboat-". */
  readonly name: string;
  readonly title: string;
  readonly about: string;
  readonly variables: readonly Variable[];
  readonly rows: readonly Row[];
}

const panelHeight = 8;
const statHeight = 4;
const columns = 24;
const datasource = { type: "prometheus", uid: "${datasource}" };

export function dashboardJson(dashboard: Dashboard): string {
  const { name, title, about, variables, rows } = dashboard;
  const json = {
    uid: `mailboat-${name}`,
    title,
    description: about,
    tags: ["mailboat"],
    schemaVersion: 39,
    version: 1,
    editable: true,
    graphTooltip: 1,
    refresh: "30s",
    time: { from: "now-6h", to: "now" },
    timezone: "",
    templating: {
      list: [
        {
          name: "datasource",
          label: "Data source",
          type: "datasource",
          query: "prometheus",
          current: {},
          hide: 0,
        },
        ...variables.map(variableJson),
      ],
    },
    annotations: { list: [] },
    links: [{ type: "dashboards", tags: ["mailboat"], title: "Mailboat", asDropdown: true, keepTime: true }],
    panels: layout(rows),
  };
  return `${JSON.stringify(json, null, 1)}\n`;
}

function variableJson({ name, label, query }: Variable): object {
  return {
    name,
    label,
    type: "query",
    datasource,
    query: { query, refId: name },
    definition: query,
    refresh: 2,
    sort: 1,
    multi: true,
    includeAll: true,
    allValue: ".*",
    current: { text: "All", value: "$__all" },
  };
}

/** Left to right, as many as fit. */
function layout(rows: readonly Row[]): object[] {
  const placed: object[] = [];
  let y = 0;
  for (const { title, panels } of rows) {
    placed.push({
      id: placed.length + 1,
      type: "row",
      title,
      collapsed: false,
      gridPos: { x: 0, y, w: columns, h: 1 },
      panels: [],
    });
    y += 1;
    let x = 0;
    let rowHeight = 0;
    for (const panel of panels) {
      const { width: w = 8, kind } = panel;
      const h = kind === "stat" ? statHeight : panelHeight;
      if (x + w > columns) {
        x = 0;
        y += rowHeight;
        rowHeight = 0;
      }
      placed.push({ ...panelJson(panel), id: placed.length + 1, gridPos: { x, y, w, h } });
      x += w;
      rowHeight = Math.max(rowHeight, h);
    }
    y += rowHeight;
  }
  return placed;
}

function panelJson({ title, about, kind, unit, queries, stacked = false }: Panel): object {
  const isTable = kind === "table";
  return {
    type: kind,
    title,
    description: about,
    datasource,
    targets: queries.map(({ expr, legend }, index) => ({
      refId: String.fromCodePoint(65 + index),
      datasource,
      expr,
      legendFormat: legend,
      ...(isTable ? { instant: true, format: "table" } : { range: true }),
    })),
    fieldConfig: {
      defaults: {
        unit,
        min: 0,
        ...(kind === "timeseries"
          ? { custom: { fillOpacity: stacked ? 30 : 5, stacking: { mode: stacked ? "normal" : "none" } } }
          : {}),
      },
      overrides: [],
    },
    options: optionsOf(kind),
    ...(isTable ? { transformations: [{ id: "organize", options: { excludeByName: { Time: true } } }] } : {}),
  };
}

function optionsOf(kind: Panel["kind"]): object {
  switch (kind) {
    case "timeseries":
      return {
        legend: { displayMode: "table", placement: "bottom", calcs: ["lastNotNull", "max"] },
        tooltip: { mode: "multi", sort: "desc" },
      };
    case "stat":
      return { reduceOptions: { calcs: ["lastNotNull"] }, colorMode: "value", graphMode: "area" };
    case "table":
      return { showHeader: true, sortBy: [{ displayName: "Value", desc: true }] };
    default:
      return kind satisfies never;
  }
}
