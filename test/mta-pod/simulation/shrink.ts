/** Makes a failing plan small: fewer faults, less mail, less noise, as long as it still fails; then tells its story. */
import type { Plan } from "./plan.ts";
import { type RunOptions, simulate } from "./pool.ts";

const maxRuns = 300;

/** What is left of `plan`; each step leaves something out. */
export async function shrink(plan: Plan, options: RunOptions = {}): Promise<Plan> {
  let runs = 0;
  const fails = async (candidate: Plan): Promise<boolean> => {
    if (++runs > maxRuns) return false;
    return (await simulate(candidate, options)).violations.length > 0;
  };
  let best = plan;
  const quiet = { ...best, lost: 0, repeated: 0, slow: 0 };
  if (await fails(quiet)) best = quiet;
  const alone = { ...best, replicas: 1 };
  if (await fails(alone)) best = alone;
  for (const what of ["faults", "mail", "reshapes"] as const)
    for (let at = best[what].length - 1; at >= 0; at--) {
      const fewer = { ...best, [what]: best[what].filter((_, index) => index !== at) } as Plan;
      if (await fails(fewer)) best = fewer;
    }
  for (const [at, { also }] of best.mail.entries()) {
    if (also === undefined) continue;
    const mail = best.mail.map((one, index) => (index === at ? { ...one, also: also.slice(1) } : one));
    if (await fails({ ...best, mail })) best = { ...best, mail };
  }
  return best;
}

/** The failing run of the smallest plan that was found, line by line. */
export async function storyOf(plan: Plan, options: RunOptions = {}): Promise<string> {
  const small = await shrink(plan, options);
  const lines: string[] = [];
  await simulate(small, { ...options, trace: (line) => void lines.push(line) });
  return [`seed ${plan.seed}, made small: ${JSON.stringify(small)}`, ...lines].join("\n");
}
