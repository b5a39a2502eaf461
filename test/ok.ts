/** `npm run ok`: what can be checked without running the product, one after the other; ends with one line that says what was shown. */
import { spawnSync } from "node:child_process";

const checks = [
  { script: "format", what: "format" },
  { script: "lint", what: "lint" },
  { script: "types", what: "types" },
  { script: "dead", what: "dead code" },
  { script: "generated", what: "generated files" },
] as const;

/** The very npm that runs this. */
const npm = process.env["npm_execpath"];
if (npm === undefined) throw new Error("Cannot check: expected to be run as `npm run ok`");

const failed = checks.filter(
  ({ script }) =>
    spawnSync(process.execPath, [npm, "run", "--silent", script], { stdio: "inherit" }).status !== 0,
);
const named = (some: typeof failed): string => some.map(({ what }) => what).join(", ");
if (failed.length > 0) console.log(`NOT SHOWN: ${named(failed)} failed, see above.`);
else console.log(`Shown: in order are ${named([...checks])}.`);
process.exitCode = failed.length > 0 ? 1 : 0;
