/** What is measured, as data. Pure. */

/** The product first: the others are compared with it. */
export const contenderNames = ["mailboat", "stock", "haraka", "postfix", "exim", "kumomta"] as const;
export type ContenderName = (typeof contenderNames)[number];
/** Run when nothing else is asked for; the others with --peers. */
export const ownContenders: readonly ContenderName[] = ["mailboat", "stock"];

/** How the generator talks: see c/generator.c. */
type SendMode = "lock" | "pipe" | "pipex" | "bdat";

/** How the next hop behaves; all zero: it takes everything at once. */
export interface NextHop {
  /** Before the reply to the final dot. */
  readonly delayMs: number;
  /** Share of messages answered with a 4xx after the final dot, 0 to 1. */
  readonly refusedShare: number;
  /** 421 after so many messages of a connection; 0 = never. */
  readonly messagesPerConnection: number;
}

export interface Scenario {
  readonly name: string;
  /** One line for people. */
  readonly about: string;
  readonly messages: number;
  readonly bytes: number;
  /** Messages per second, evenly spaced; 0 = as fast as they are accepted. */
  readonly ratePerSecond: number;
  readonly mode: SendMode;
  /** Of the generator. */
  readonly connections: number;
  /** Messages before the generator opens a new connection; 0 = no limit. */
  readonly messagesPerConnection: number;
  readonly recipients: number;
  readonly domains: readonly string[];
  /** To the next hop, all pods together. */
  readonly nextHopConnections: number;
  readonly nextHop: NextHop;
  /** STARTTLS from the generator to the path, and from the path to the sink. */
  readonly tls: boolean;
  /** The path signs with an RSA key of 2048 bits. */
  readonly dkim: boolean;
  /** 0 = one, trusted by its address; else so many, each with a login, limits and an Ed25519 key of its own. */
  readonly tenants: number;
  /** So many small messages wait meanwhile for a next hop that takes two a second; what is measured goes elsewhere. */
  readonly queued: number;
  /** Who is not run, and why: the table says so. */
  readonly leftOut: Readonly<Partial<Record<ContenderName, string>>>;
}

const plain = {
  bytes: 10_240,
  ratePerSecond: 0,
  mode: "pipe",
  connections: 50,
  messagesPerConnection: 0,
  recipients: 1,
  domains: ["sink.test"],
  nextHopConnections: 20,
  nextHop: { delayMs: 0, refusedShare: 0, messagesPerConnection: 0 },
  tls: false,
  dkim: false,
  tenants: 0,
  queued: 0,
  leftOut: {},
} as const satisfies Omit<Scenario, "name" | "about" | "messages">;

type LeftOut = Scenario["leftOut"];

function leftOut(names: readonly ContenderName[], reason: string): LeftOut {
  return Object.fromEntries(names.map((name) => [name, reason]));
}

const [, ...allButMailboat] = contenderNames;
const peers = allButMailboat.filter((name) => !ownContenders.includes(name));
const withoutChunking: LeftOut = {
  stock: "smtp-server does not offer CHUNKING",
  ...leftOut(["haraka", "kumomta"], "does not offer CHUNKING"),
};
const withoutTenants = leftOut(allButMailboat, "has no tenants");
const withoutQueue = leftOut(allButMailboat, "the question is whether mailboat's own figures stay");
const withOwnRetrySchedule = leftOut(
  peers,
  "what would be measured is its retry schedule, which is not as short",
);
const withoutSignature = leftOut(["postfix"], "signs only through a milter");

export const scenarios: readonly Scenario[] = [
  { ...plain, name: "burst", about: "as fast as it is accepted", messages: 20_000 },
  {
    ...plain,
    name: "paced",
    about: "100,000 a minute, evenly spaced",
    messages: 25_000,
    ratePerSecond: 1667,
  },
  {
    ...plain,
    name: "paced-1000",
    about: "1,000 a second, evenly spaced",
    messages: 15_000,
    ratePerSecond: 1000,
  },
  { ...plain, name: "small", about: "a burst of 2 KB messages", messages: 20_000, bytes: 2048 },
  { ...plain, name: "large", about: "a burst of 100 KB messages", messages: 4000, bytes: 102_400 },
  {
    ...plain,
    name: "short-sessions",
    about: "a new connection for each message",
    messages: 10_000,
    mode: "lock",
    messagesPerConnection: 1,
  },
  {
    ...plain,
    name: "bdat",
    about: "envelope and text in one write (CHUNKING)",
    messages: 20_000,
    mode: "bdat",
    leftOut: withoutChunking,
  },
  {
    ...plain,
    name: "recipients",
    about: "5 recipients in 5 domains of one next hop",
    messages: 5000,
    recipients: 5,
    domains: ["a.test", "b.test", "c.test", "d.test", "e.test"],
  },
  {
    ...plain,
    name: "slow-hop",
    about: "2 connections to a next hop that takes 2 ms a message",
    messages: 5000,
    nextHopConnections: 2,
    nextHop: { ...plain.nextHop, delayMs: 2 },
  },
  {
    ...plain,
    name: "refusing-hop",
    about:
      "a next hop that refuses every tenth message for now (451), and says 421 after 100 on a connection",
    messages: 10_000,
    nextHop: { delayMs: 0, refusedShare: 0.1, messagesPerConnection: 100 },
    leftOut: withOwnRetrySchedule,
  },
  {
    ...plain,
    name: "dkim",
    about: "a burst, signed with rsa-2048",
    messages: 10_000,
    dkim: true,
    leftOut: withoutSignature,
  },
  { ...plain, name: "tls", about: "a burst with STARTTLS on both sides", messages: 20_000, tls: true },
  {
    ...plain,
    name: "tls-dkim",
    about: "a burst with STARTTLS on both sides, signed with rsa-2048",
    messages: 10_000,
    tls: true,
    dkim: true,
    leftOut: withoutSignature,
  },
  {
    ...plain,
    name: "tenants",
    about: "10,000 tenants with logins, limits and keys of their own, 2 messages a session",
    messages: 20_000,
    messagesPerConnection: 2,
    tenants: 10_000,
    leftOut: withoutTenants,
  },
  {
    ...plain,
    name: "behind",
    about: "100,000 a minute while others wait for a slow next hop",
    messages: 100_000,
    ratePerSecond: 1667,
    queued: 1_000_000,
    leftOut: withoutQueue,
  },
];

export const defaultScenarios: readonly string[] = ["burst", "paced"];
