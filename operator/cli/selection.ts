/** Which queued mail a command is about. Pure; refuses an empty selection, so that nothing happens to everything by mistake. */
import { CommandError } from "./command-io.ts";

export interface Selection {
  readonly tenant?: string;
  readonly site?: string;
  readonly domain?: string;
  readonly id?: string;
  readonly all?: boolean;
}

export function selectorOf({ tenant, site, domain, id }: Selection): Record<string, string> {
  const given = Object.entries({ tenant, site, domain, id }).filter(([, value]) => value !== undefined);
  return Object.fromEntries(given.map(([name, value]) => [name, String(value)]));
}

/**
 * What to post; `{all: true}` for everything.
 * @throws CommandError (wrong usage) for no selection, or for one beside --all
 */
export function chosen(action: string, selection: Selection): Record<string, unknown> {
  const selector = selectorOf(selection);
  const empty = Object.keys(selector).length === 0;
  if (empty && selection.all !== true)
    throw new CommandError(
      `Cannot ${action}: expected --tenant, --site, --domain or --id (or --all for everything that is queued), got no selection`,
      2,
    );
  if (!empty && selection.all === true)
    throw new CommandError(`Cannot ${action}: expected either a selection or --all, got both`, 2);
  return empty ? { all: true } : selector;
}
