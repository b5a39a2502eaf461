/** Reads the .cpuprofile files that pods leave in a folder; those of other processes are passed over. Throws Error on what is no profile. */
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { z } from "zod";
import type { Frame, Sample } from "./attribution.ts";

const profileSchema = z.object({
  nodes: z.array(
    z.object({
      id: z.number(),
      callFrame: z.object({ functionName: z.string(), url: z.string(), lineNumber: z.number() }),
      children: z.array(z.number()).optional(),
    }),
  ),
  samples: z.array(z.number()),
  timeDeltas: z.array(z.number()),
});
type Node = z.infer<typeof profileSchema>["nodes"][number];

export async function readCpuProfiles(folder: string): Promise<Sample[]> {
  const files = (await readdir(folder)).filter((file) => file.endsWith(".cpuprofile"));
  const profiles = await Promise.all(
    files.map(async (file) => profileSchema.parse(JSON.parse(await readFile(join(folder, file), "utf8")))),
  );
  return profiles.filter(({ nodes }) => nodes.some(isPodMain)).flatMap(samplesOf);
}

function isPodMain({ callFrame }: Node): boolean {
  return callFrame.url.endsWith("/mta-pod/main.ts");
}

function samplesOf({ nodes, samples, timeDeltas }: z.infer<typeof profileSchema>): Sample[] {
  const byId = new Map(nodes.map((node) => [node.id, node]));
  const parents = new Map(
    nodes.flatMap(({ id, children = [] }) => children.map((child) => [child, id] as const)),
  );
  const framesOf = (leaf: number): Frame[] => {
    const frames: Frame[] = [];
    for (let id: number | undefined = leaf; id !== undefined; id = parents.get(id)) {
      const node = byId.get(id);
      if (node !== undefined && node.callFrame.functionName !== "(root)") frames.push(frameOf(node));
    }
    return frames;
  };
  const weights = new Map<number, number>();
  for (const [index, id] of samples.entries())
    weights.set(id, (weights.get(id) ?? 0) + (timeDeltas[index] ?? 0));
  return [...weights]
    .filter(([id]) => byId.get(id)?.callFrame.functionName !== "(idle)")
    .map(([id, weight]) => ({ isMainThread: true, weight, frames: framesOf(id) }));
}

function frameOf({ callFrame: { functionName, url, lineNumber } }: Node): Frame {
  if (url === "") return { kind: "native", name: functionName, object: "node" };
  const file = url.startsWith("file:") ? fileURLToPath(url) : url;
  return {
    kind: "script",
    name: functionName === "" ? "(anonymous)" : functionName,
    file,
    line: lineNumber + 1,
  };
}
