/** A line of a watch → what happened. Pure. Throws KubeError for the API server's ERROR events and for lines that are none. */
import { KubeError } from "./errors.ts";
import { trimmed } from "./paths.ts";
import type { KubeObject, ResourceType } from "./types.ts";

export type WatchEvent =
  | { readonly kind: "put" | "gone"; readonly object: KubeObject; readonly resourceVersion: string }
  | { readonly kind: "bookmark"; readonly resourceVersion: string };

export function parseWatchEvent(type: ResourceType, line: string): WatchEvent {
  const { type: word, object } = (parse(type, line) ?? {}) as { type?: unknown; object?: unknown };
  switch (word) {
    case "ADDED":
    case "MODIFIED":
    case "DELETED": {
      const known = trimmed(type, object);
      const resourceVersion = known?.metadata.resourceVersion;
      if (known === undefined || typeof resourceVersion !== "string") throw unreadable(type, line);
      return { kind: word === "DELETED" ? "gone" : "put", object: known, resourceVersion };
    }
    case "BOOKMARK": {
      const { resourceVersion } =
        (object as { metadata?: { resourceVersion?: unknown } } | null)?.metadata ?? {};
      if (typeof resourceVersion !== "string") throw unreadable(type, line);
      return { kind: "bookmark", resourceVersion };
    }
    case "ERROR": {
      const { code, reason, message, details } = (object ?? {}) as { [field in string]?: unknown };
      const seconds = (details as { retryAfterSeconds?: unknown } | undefined)?.retryAfterSeconds;
      throw new KubeError(`Cannot watch ${type.plural}: got ${String(reason)}: ${String(message)}`, {
        status: typeof code === "number" ? code : 500,
        reason: typeof reason === "string" ? reason : "",
        retryAfterMs: typeof seconds === "number" ? seconds * 1000 : undefined,
      });
    }
    default:
      throw unreadable(type, line);
  }
}

function parse(type: ResourceType, line: string): unknown {
  try {
    return JSON.parse(line) as unknown;
  } catch {
    throw unreadable(type, line);
  }
}

function unreadable({ plural }: ResourceType, line: string): KubeError {
  const shown = JSON.stringify(line.slice(0, 100));
  return new KubeError(`Cannot watch ${plural}: expected a watch event, got ${shown}`, {
    status: 0,
    reason: "Unreadable",
  });
}
