/** Reads what `perf record -g` wrote, by way of `perf script`. Throws Error when perf cannot read it. */
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import type { Frame, Sample } from "./attribution.ts";

export const perfProgram = "perf";

export async function readPerfSamples(file: string): Promise<Sample[]> {
  const child = spawn(perfProgram, ["script", "-i", file, "-F", "pid,tid,ip,sym,dso"], {
    stdio: ["ignore", "pipe", "ignore"],
  });
  const ended = new Promise<number | null>((resolve) => child.once("close", resolve));
  const samples: Sample[] = [];
  let frames: Frame[] = [];
  for await (const line of createInterface({ input: child.stdout })) {
    const header = /^\s*(\d+)\/(\d+)\s*$/.exec(line);
    if (header !== null) {
      frames = [];
      samples.push({ isMainThread: header[1] === header[2], weight: 1, frames });
      continue;
    }
    const frame = frameOf(line);
    if (frame !== undefined) frames.push(frame);
  }
  const code = await ended;
  if (code !== 0) throw new Error(`Cannot read ${file}: expected perf script to end with 0, got ${code}`);
  return samples.filter((sample) => sample.frames.length > 0);
}

/** @example frameOf("  7f01 JS:*parse file:///x/mta-pod/smtp/a.ts:3:7 (/tmp/perf-1.map)") */
function frameOf(line: string): Frame | undefined {
  const match = /^\s+[0-9a-f]+ (.*) \((.*)\)$/.exec(line);
  if (match === null) return undefined;
  const [, symbol = "", object = ""] = match;
  if (object.includes("kernel")) return { kind: "kernel", name: symbol };
  // JS:<tier>name place:line:column; the tier is one of ~ ^ + *, with marks around it.
  const script = /^JS:(?:o(?=\W))?\W*(\S*) (?:file:\/\/)?(.*?):(\d+):\d+$/.exec(symbol);
  if (script === null) return { kind: "native", name: symbol, object };
  const [, name = "", file = "", fromLine = ""] = script;
  return { kind: "script", name: name === "" ? "(anonymous)" : name, file, line: Number(fromLine) };
}
