/**
 * node:test's own report (`spec`), and behind it one line that says what was shown, as every command for developers ends. A test
 * whose name begins with "cluster tier" is named there: a green run is not to be taken for more than it was. Why a test failed is
 * said at once, not only at the end: a run that hangs has no end.
 */
import { Readable } from "node:stream";
import { spec as SpecReporter, type TestEvent } from "node:test/reporters";

interface Counts {
  readonly tests: number;
  readonly passed: number;
  readonly skipped: number;
  readonly todo: number;
}

interface Run {
  counts: Counts | undefined;
  /** "" = no test says which. */
  tier: string;
}

type TestFail = Extract<TestEvent, { type: "test:fail" }>["data"];

const reasonLines = 30;
const tierName = "cluster tier";

async function* watched(events: AsyncIterable<TestEvent>, run: Run): AsyncGenerator<TestEvent> {
  for await (const event of events) {
    if (event.type === "test:summary" && event.data.file === undefined) run.counts = event.data.counts;
    if (event.type === "test:pass" && event.data.name.startsWith(tierName)) run.tier = event.data.name;
    yield event;
    if (event.type === "test:fail") yield reasonOf(event.data);
  }
}

/** As a diagnostic of the test, for its own report. */
export function reasonOf({
  name,
  nesting,
  details: { error },
}: Pick<TestFail, "name" | "nesting" | "details">): TestEvent {
  const { cause } = error;
  const reason = cause instanceof Error ? (cause.stack ?? cause.message) : String(cause ?? error);
  const message = `${name}: ${reason}`.split("\n").slice(0, reasonLines).join("\n");
  return { type: "test:diagnostic", data: { nesting, message, level: "error" } };
}

// node:test takes a reporter by its module's default export.
// oxlint-disable-next-line no-default-export
export default async function* closingReporter(events: AsyncIterable<TestEvent>): AsyncGenerator<string> {
  const run: Run = { counts: undefined, tier: "" };
  const startedAt = performance.now();
  for await (const text of Readable.from(watched(events, run)).pipe(new SpecReporter())) yield String(text);
  yield `\n${closingLine(run, (performance.now() - startedAt) / 1000)}\n`;
}

/** @example closingLine({ counts: { tests: 2, passed: 2, skipped: 0, todo: 0 }, tier: "" }, 3) // "Shown: 2 tests passed, none failed, in 3 s." */
export function closingLine({ counts, tier }: Readonly<Run>, seconds: number): string {
  if (counts === undefined) return "NOT SHOWN: the run ended early.";
  const { tests, passed, skipped, todo } = counts;
  const failed = tests - passed - skipped - todo;
  if (failed > 0) return `NOT SHOWN: ${failed} of ${tests} tests failed, see above.`;
  if (passed === 0) return "NOT SHOWN: no test ran.";
  const left = skipped + todo > 0 ? `, ${skipped + todo} skipped` : "";
  const where = tier === "" ? "" : `; ${tier}`;
  return `Shown: ${passed} tests passed, none failed${left}, in ${Math.round(seconds)} s${where}.`;
}
