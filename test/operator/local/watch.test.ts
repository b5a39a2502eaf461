import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, renameSync, rmSync, watch, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { signatureOf, watchPaths } from "#operator/local/watch.ts";
import { until } from "#test/kit/until.ts";

const [quietMs, pollMs, longestMs] = [250, 2000, 1500];

interface Scene extends Disposable {
  /** The folder that is watched. */
  readonly folder: string;
  write(name: string, text: string): void;
  watch(paths?: readonly string[], seen?: string): void;
  /** Lets a timer of so many ms run out. @returns whether there was one */
  elapse(ms: number): boolean;
  /** Waits for a notice of the file system and lets things settle. */
  noticed(): Promise<void>;
  changes(): number;
}

function scene(): Scene {
  const root = mkdtempSync(join(tmpdir(), "mailboat-watch-"));
  const folder = join(root, "resources");
  mkdirSync(folder);
  const pending = new Map<number, () => void>();
  let changes = 0;
  let end = (): void => {};
  const elapse = (ms: number): boolean => {
    const run = pending.get(ms);
    pending.delete(ms);
    run?.();
    return run !== undefined;
  };
  return {
    folder,
    write: (name, text) => writeFileSync(join(folder, name), text),
    watch(paths = [folder], seen = signatureOf(paths)) {
      end = watchPaths({
        paths,
        quietMs,
        seen,
        onChange: () => changes++,
        onError: (error) => assert.fail(error),
        after(ms, run) {
          pending.set(ms, run);
          return () => void (pending.get(ms) === run && pending.delete(ms));
        },
      });
    },
    elapse,
    noticed: async () => void (await until("a notice", () => elapse(quietMs))),
    changes: () => changes,
    [Symbol.dispose]() {
      end();
      rmSync(root, { recursive: true, force: true });
    },
  };
}

test("watchPaths() tells of an edit once, after a while of quiet", async () => {
  using files = scene();
  files.write("a.yaml", "a");
  files.watch();
  files.write("a.yaml", "bc");
  await files.noticed();
  assert.equal(files.changes(), 1);
});

test("watchPaths() says nothing while nothing changes, nor of files that are not read", () => {
  using files = scene();
  files.write("a.yaml", "a");
  files.watch();
  writeFileSync(join(files.folder, ".a.yaml.swp"), "a");
  assert.ok(files.elapse(pollMs) && files.elapse(pollMs));
  assert.equal(files.changes(), 0);
});

test("watchPaths() says nothing of a log that is written into the folder", async () => {
  using files = scene();
  files.write("a.yaml", "a");
  files.watch();
  const seen = new Set<string | null>();
  const other = watch(files.folder, (_event, file) => seen.add(file));
  for (const name of ["run.log", ".a.yaml"]) {
    files.write(name, "a line");
    await until("the file system to tell", () => seen.has(name));
  }
  other.close();
  assert.deepEqual([files.elapse(quietMs), files.changes()], [false, 0]);
});

test("watchPaths() finds a folder that is new by its poll, and then edits in it, and that it goes", async () => {
  using files = scene();
  files.write("a.yaml", "a");
  files.watch();
  const below = join(files.folder, "below");
  mkdirSync(below);
  writeFileSync(join(below, "b.yaml"), "b");
  files.elapse(pollMs);
  assert.ok(files.elapse(quietMs));
  const before = files.changes();
  writeFileSync(join(below, "b.yaml"), "bc");
  await files.noticed();
  assert.equal(files.changes(), before + 1);
  rmSync(below, { recursive: true });
  await files.noticed();
  assert.equal(files.changes(), before + 2);
});

test("watchPaths() tells of a file that is written again and again without a pause", async () => {
  using files = scene();
  files.write("a.yaml", "a");
  files.watch();
  files.write("a.yaml", "bc");
  await until("the longest wait", () => files.elapse(longestMs));
  assert.deepEqual([files.elapse(quietMs), files.changes()], [false, 1]);
});

test("watchPaths() tells of what was written between the reading and the watching", () => {
  using files = scene();
  files.write("a.yaml", "a");
  const seen = signatureOf([files.folder]);
  files.write("a.yaml", "bc");
  files.watch([files.folder], seen);
  assert.ok(files.elapse(quietMs));
  assert.equal(files.changes(), 1);
});

test("watchPaths() follows a folder that is replaced, and edits of the new one", async () => {
  using files = scene();
  files.write("a.yaml", "a");
  files.watch();
  renameSync(files.folder, `${files.folder}.old`);
  mkdirSync(files.folder);
  files.write("a.yaml", "a");
  await files.noticed();
  const before = files.changes();
  files.write("a.yaml", "bc");
  await files.noticed();
  assert.equal(files.changes(), before + 1);
});

test("watchPaths() watches each of several files of one folder, and a folder below that goes", async () => {
  using files = scene();
  const paths = ["a.yaml", "b.yaml"].map((name) => join(files.folder, name));
  const below = join(files.folder, "below");
  mkdirSync(below);
  for (const path of paths) writeFileSync(path, "a");
  files.watch([...paths, below]);
  for (const [at, path] of paths.entries()) {
    writeFileSync(path, "bc");
    await files.noticed();
    assert.equal(files.changes(), at + 1);
  }
  rmSync(below, { recursive: true });
  await files.noticed();
  assert.equal(files.changes(), 3);
});

test("watchPaths() finds by its poll what the file system did not tell yet", () => {
  using files = scene();
  files.write("a.yaml", "a");
  files.watch();
  files.write("a.yaml", "bc");
  assert.ok(files.elapse(pollMs) && files.elapse(quietMs));
  files.elapse(pollMs);
  assert.deepEqual([files.elapse(quietMs), files.changes()], [false, 1]);
});
