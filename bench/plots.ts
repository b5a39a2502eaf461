/** Plots as SVG: bars with the single runs on them, and percentiles on a logarithmic axis. Pure. */
import { spreadOf } from "./statistics.ts";

export interface Bar {
  readonly label: string;
  /** Of each run; the bar is their median. */
  readonly values: readonly number[];
}

export interface Range {
  readonly label: string;
  /** Ascending, as p50, p95, p99; > 0. */
  readonly marks: readonly number[];
}

const width = 720;
const labelWidth = 170;
const valueWidth = 90;
const rowHeight = 24;
const barHeight = 14;
const plotWidth = width - labelWidth - valueWidth;
const colors = ["#1f6f8b", "#8a8d91", "#c98b2b", "#8c5a9e", "#b0524a", "#5b8c5a"];

/** @example barPlot([{ label: "a", values: [1, 2, 3] }], 1) */
export function barPlot(bars: readonly Bar[], digits: number): string {
  const most = Math.max(...bars.flatMap(({ values }) => values)) || 1;
  const x = (value: number): number => labelWidth + (value / most) * plotWidth;
  const rows = bars.map(({ label, values }, index) => {
    const y = index * rowHeight;
    const { median } = spreadOf(values);
    const center = y + rowHeight / 2;
    const dots = values.map(
      (value) => `<circle cx="${x(value).toFixed(1)}" cy="${center}" r="2.5" fill="#222"/>`,
    );
    return [
      text(labelWidth - 8, center, label, "end"),
      `<rect x="${labelWidth}" y="${center - barHeight / 2}" width="${(x(median) - labelWidth).toFixed(1)}" height="${barHeight}" fill="${colorOf(index)}"/>`,
      ...dots,
      text(width - valueWidth + 12, center, number(median, digits), "start"),
    ].join("");
  });
  return svg(bars.length * rowHeight, rows);
}

/** From the first mark to the last of each row, on one logarithmic axis. */
export function rangePlot(ranges: readonly Range[]): string {
  const all = ranges.flatMap(({ marks }) => marks);
  const from = Math.floor(Math.log10(Math.min(...all)));
  const to = Math.max(from + 1, Math.ceil(Math.log10(Math.max(...all))));
  const x = (value: number): number => labelWidth + ((Math.log10(value) - from) / (to - from)) * plotWidth;
  const bottom = ranges.length * rowHeight;
  const ticks = Array.from({ length: to - from + 1 }, (_, index) => 10 ** (from + index));
  const grid = ticks.map(
    (tick) =>
      `<line x1="${x(tick)}" x2="${x(tick)}" y1="0" y2="${bottom}" stroke="#ddd"/>${text(x(tick), bottom + 10, String(Number(tick.toPrecision(1))), "middle")}`,
  );
  const rows = ranges.map(({ label, marks }, index) => {
    const center = index * rowHeight + rowHeight / 2;
    const first = x(marks[0] ?? 1);
    const last = x(marks.at(-1) ?? 1);
    const dots = marks.map(
      (mark) => `<circle cx="${x(mark).toFixed(1)}" cy="${center}" r="4" fill="${colorOf(index)}"/>`,
    );
    return [
      text(labelWidth - 8, center, label, "end"),
      `<line x1="${first.toFixed(1)}" x2="${last.toFixed(1)}" y1="${center}" y2="${center}" stroke="${colorOf(index)}" stroke-width="3"/>`,
      ...dots,
    ].join("");
  });
  return svg(bottom + 20, [...grid, ...rows]);
}

export function escapeXml(value: string): string {
  return value
    .replaceAll("&", "&amp;")
    .replaceAll("<", "&lt;")
    .replaceAll(">", "&gt;")
    .replaceAll('"', "&quot;");
}

function svg(height: number, content: readonly string[]): string {
  return `<svg viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img">${content.join("")}</svg>`;
}

function text(x: number, y: number, value: string, anchor: "start" | "middle" | "end"): string {
  return `<text x="${x}" y="${y}" text-anchor="${anchor}" dominant-baseline="central">${escapeXml(value)}</text>`;
}

function number(value: number, digits: number): string {
  return value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

function colorOf(index: number): string {
  return colors[index % colors.length] ?? "#888";
}
