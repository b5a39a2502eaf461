/** What the pods of a local mode have logged. */
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";

/** Lines of JSON of each pod's log, of those that began one; `folder` is local mode's (`startLocal`'s `state`). */
export async function podLogs(folder: string): Promise<string[][]> {
  const logs = join(folder, "state", "logs");
  const files = await readdir(logs).catch(() => []);
  const texts = await Promise.all(files.map((file) => readFile(join(logs, file), "utf8")));
  return texts.map((text) => text.split("\n"));
}
