/** DNS questions with a bound on time; touches the network, never rejects: trouble is an answer. */
import { Resolver as NodeResolver } from "node:dns/promises";

export interface MxRecord {
  /** Lower case, "" for the root (a null MX, RFC 7505). */
  readonly host: string;
  readonly preference: number;
}

export interface AddressRecord {
  readonly address: string;
  readonly family: 4 | 6;
  /** Seconds. */
  readonly ttl: number;
}

export type Answer<Item> =
  | { readonly kind: "found"; readonly records: readonly Item[] }
  /** `isName`: the name exists, but has no such records (NODATA); else it does not exist (NXDOMAIN). */
  | { readonly kind: "none"; readonly isName: boolean }
  /** Time-out, SERVFAIL, refusal: nothing is known. */
  | { readonly kind: "failed"; readonly text: string };

export interface Resolver {
  mx(name: string): Promise<Answer<MxRecord>>;
  /** A and AAAA; found when either is. */
  addresses(name: string): Promise<Answer<AddressRecord>>;
}

export interface ResolverOptions {
  /** `ADDRESS:PORT` or `[ADDRESS]:PORT`; empty = the system's. */
  readonly servers: readonly string[];
  /** Bound of one question over all servers and repetitions, default 5,000. */
  readonly timeoutMs?: number;
}

const defaultTimeoutMs = 5000;
/** Of the first try; c-ares doubles it per round up to the maximum. */
const firstTryMs = 1000;
const longestTryMs = 2000;
const tries = 3;
/** A hostile zone may answer with hundreds. */
const maxRecords = 100;

/** Throws ERR_INVALID_IP_ADDRESS when a server is not an address with an optional port. */
export function createResolver({ servers, timeoutMs = defaultTimeoutMs }: ResolverOptions): Resolver {
  const node = new NodeResolver({ timeout: firstTryMs, maxTimeout: longestTryMs, tries });
  if (servers.length > 0) node.setServers(servers);
  const ask = <Item>(question: () => Promise<Item[]>) => answerWithin(question, timeoutMs);
  return {
    mx: (name) =>
      ask(async () =>
        (await node.resolveMx(name)).map(({ exchange, priority }) => ({
          host: exchange.toLowerCase(),
          preference: priority,
        })),
      ),
    async addresses(name) {
      // RFC 6761 6.3: never asked of a server, and no server could be trusted with it.
      if (name === "localhost" || name.endsWith(".localhost")) return localhost;
      const [four, six] = await Promise.all([
        ask(async () =>
          (await node.resolve4(name, { ttl: true })).map((record) => ({ ...record, family: 4 as const })),
        ),
        ask(async () =>
          (await node.resolve6(name, { ttl: true })).map((record) => ({ ...record, family: 6 as const })),
        ),
      ]);
      return joined(four, six);
    },
  };
}

const localhost: Answer<AddressRecord> = {
  kind: "found",
  records: [
    { address: "127.0.0.1", family: 4, ttl: 3600 },
    { address: "::1", family: 6, ttl: 3600 },
  ],
};

function joined(four: Answer<AddressRecord>, six: Answer<AddressRecord>): Answer<AddressRecord> {
  if (four.kind === "found" && six.kind === "found")
    return { kind: "found", records: [...four.records, ...six.records] };
  if (four.kind === "found") return four;
  if (six.kind === "found") return six;
  if (four.kind === "failed") return four;
  if (six.kind === "failed") return six;
  return { kind: "none", isName: four.isName || six.isName };
}

async function answerWithin<Item>(question: () => Promise<Item[]>, timeoutMs: number): Promise<Answer<Item>> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<Answer<Item>>((resolve) => {
    timer = setTimeout(resolve, timeoutMs, { kind: "failed", text: "no answer from DNS in time" });
  });
  try {
    return await Promise.race([answerOf(question), late]);
  } finally {
    clearTimeout(timer);
  }
}

async function answerOf<Item>(question: () => Promise<Item[]>): Promise<Answer<Item>> {
  try {
    const records = await question();
    if (records.length === 0) return { kind: "none", isName: true };
    return { kind: "found", records: records.slice(0, maxRecords) };
  } catch (error) {
    return answerOfError(error);
  }
}

function answerOfError(error: unknown): Answer<never> {
  const code = error instanceof Error && "code" in error ? String(error.code) : "unknown";
  switch (code) {
    case "ENOTFOUND":
    // No server was asked: what cannot be written as a name does not exist as one.
    case "EBADNAME":
      return { kind: "none", isName: false };
    case "ENODATA":
      return { kind: "none", isName: true };
    default:
      return { kind: "failed", text: `DNS: ${failures[code] ?? code}` };
  }
}

const failures: Readonly<Record<string, string>> = {
  ESERVFAIL: "server failure",
  EREFUSED: "query refused",
  ETIMEOUT: "no answer in time",
  ECONNREFUSED: "no server reachable",
  EBADRESP: "malformed answer",
  EFORMERR: "query not understood",
  ENOTIMP: "query not implemented",
  ECANCELLED: "query cancelled",
};
