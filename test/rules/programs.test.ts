import assert from "node:assert/strict";
import { test } from "node:test";
import { textOf, trackedFiles, walked } from "./repository.ts";

/** A call that is given a program's name and its arguments, under whatever name. */
const byName = /\w+\(\s*(["'`])[^"'`]+\1,\s*\[/g;
/** Of those, what starts one; `run` is what tests call a promisified execFile. */
const starts = /^(spawn|spawnSync|execFile|execFileSync|run)\(/;
/** POSIX: where this runs, it is. */
const everywhere = /\(\s*"sh",/;

test("a test starts a program by its name through programFor alone: Node and Go may be all that there is", () => {
  const found: string[] = [];
  for (const path of trackedFiles().filter((one) => /^test\/.*\.ts$/.test(one)))
    for (const [call] of textOf(path).matchAll(byName))
      if (starts.test(call) && !everywhere.test(call)) found.push(`${path}: ${call}`);
  assert.deepEqual(found, []);
});

test("without git the laws see no fewer files", () => {
  const seen = new Set(walked());
  assert.deepEqual(
    trackedFiles().filter((path) => !seen.has(path)),
    [],
  );
});
