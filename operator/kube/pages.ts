/** A list in pages of one snapshot. Begins again when its version expires half-way, and takes smaller pages when one is too large. */
import { KubeError } from "./errors.ts";
import { collectionPath, selectionOf, trimmed, withQuery } from "./paths.ts";
import { type RetryOptions, retrying } from "./retry.ts";
import type { KubeObject, ListOptions, ResourceType } from "./types.ts";

export interface Page {
  readonly items: readonly KubeObject[];
  /** Of the snapshot. */
  readonly resourceVersion: string;
  /** What earlier pages of this listing brought counts no more. */
  readonly isFirst: boolean;
}

export interface PagesOptions extends RetryOptions {
  readonly type: ResourceType;
  readonly selection: ListOptions;
  readonly metadataOnly?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Default 500. */
  readonly pageSize?: number | undefined;
}

/** No fall-back to whole objects: metadata-only is asked for where those would be Secrets. */
const metadataList = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
/** Expired this often, the list is taken whole: the API server compacts faster than we page. */
const maxRestarts = 3;

/** Rejects with KubeError. Each page is retried by itself. */
export async function* pagesOf(options: PagesOptions): AsyncGenerator<Page> {
  const call = retrying(options);
  const { type, selection, signal } = options;
  let limit = options.pageSize ?? 500;
  let restarts = 0;
  let next = "";
  for (let isFirst = true; ; ) {
    const query = {
      limit: restarts < maxRestarts ? limit : undefined,
      continue: next,
      ...selectionOf(selection),
    };
    let answer: unknown;
    try {
      answer = await call(
        {
          method: "GET",
          path: withQuery(collectionPath(type, selection.namespace), query),
          ...(options.metadataOnly === true ? { accept: metadataList } : {}),
          ...(signal === undefined ? {} : { signal }),
        },
        { isIdempotent: true },
      );
    } catch (error) {
      if (!(error instanceof KubeError)) throw error;
      if (error.reason === "TooLarge" && limit > 1 && restarts < maxRestarts) limit = Math.ceil(limit / 4);
      else if (error.status === 410 && next !== "") {
        restarts += 1;
        next = "";
        isFirst = true;
      } else throw error;
      continue;
    }
    const page = readPage(type, answer);
    yield { items: page.items, resourceVersion: page.resourceVersion, isFirst };
    if (page.next === "") return;
    next = page.next;
    isFirst = false;
  }
}

function readPage(type: ResourceType, answer: unknown) {
  const { metadata, items } = (answer ?? {}) as {
    metadata?: { [field in string]?: unknown };
    items?: unknown;
  };
  const { resourceVersion, continue: next } = metadata ?? {};
  // Go writes an empty list as null.
  if (typeof resourceVersion !== "string" || !(Array.isArray(items) || items === null || items === undefined))
    throw new KubeError(
      `Cannot list ${type.plural}: expected a list with a resourceVersion, got something else`,
      {
        status: 0,
        reason: "Unreadable",
      },
    );
  return {
    resourceVersion,
    next: typeof next === "string" ? next : "",
    items: ((items ?? []) as unknown[]).flatMap((item) => trimmed(type, item) ?? []),
  };
}
