/** Charges samples of CPU time to kinds of work, stages, files and functions. Pure. */

export type Frame =
  | { readonly kind: "kernel"; readonly name: string }
  | { readonly kind: "native"; readonly name: string; readonly object: string }
  | { readonly kind: "script"; readonly name: string; readonly file: string; readonly line: number };

export interface Sample {
  readonly isMainThread: boolean;
  readonly weight: number;
  /** The innermost first. */
  readonly frames: readonly Frame[];
}

export interface Section {
  readonly title: string;
  /** The dearest first; shares of all samples. */
  readonly lines: readonly { readonly name: string; readonly share: number }[];
}

/** Path below the repository, for files that are the product's own. */
const own = /\/((?:mta-pod|crds)\/.+)$/;
/** Used by many rooms: their cost is charged to the one that called. */
const shared = /^(?:crds\/|mta-pod\/(?:smtp|runtime|telemetry)\/)/;

/** Stages of a message by the file that does it; the first that matches. */
const stages: readonly (readonly [RegExp, string])[] = [
  [/^mta-pod\/(?:smtp-in|http-in|front)/, "receive (SMTP in)"],
  [/^mta-pod\/(?:receive|intake|parents)/, "receive (corridor: lookup, envelope, store)"],
  [/^mta-pod\/admit/, "admit"],
  [/^mta-pod\/(?:route|sites)/, "route"],
  [/^mta-pod\/spool\/(?:publisher|outbox|headers)/, "publish"],
  [/^mta-pod\/spool\/(?:shard-reader|feed|delivery|tail)/, "index"],
  [/^mta-pod\/(?:schedule|shards)/, "schedule"],
  [/^mta-pod\/(?:signers|smtp-out\/dkim)/, "sign"],
  [/^mta-pod\/smtp-out/, "deliver (SMTP out)"],
  [/^mta-pod\/(?:deliver|attempt|outbound|hot-bodies)/, "deliver (corridor)"],
  [/^mta-pod\/spool\/(?:entries|direct-get|bodies)/, "fetch from the spool"],
  [/^mta-pod\/(?:settle|settlement|recent-ids)/, "settle"],
  [/^mta-pod\/spool\/(?:deletions|states)/, "delete"],
  [/^mta-pod\/spool\/events|^mta-pod\/explain/, "events"],
  [/^mta-pod\/spool/, "spool, the rest (ownership, replies of NATS)"],
  [/^(?:mta-pod|crds)\//, "pod, the rest"],
];

const garbage =
  /garbage collector|Heap::|Scaveng|MarkCompact|ConcurrentMark|MarkingVisitor|Sweeper|GCTracer|IncrementalMarking/;
const compiler =
  /Compiler::|CompileLazy|turboshaft|[Mm]aglev|baseline::|TieringManager|::compiler::|Compilation|Turbofan/;

/** @example attribute(samples)[0].title === "by kind" */
export function attribute(samples: readonly Sample[]): Section[] {
  const main = samples.filter(({ isMainThread }) => isMainThread);
  const total = samples.reduce((sum, { weight }) => sum + weight, 0);
  const section = (
    title: string,
    from: readonly Sample[],
    limit: number,
    nameOf: (sample: Sample) => string,
  ): Section => {
    const weights = new Map<string, number>();
    for (const sample of from) {
      const name = nameOf(sample);
      weights.set(name, (weights.get(name) ?? 0) + sample.weight);
    }
    const lines = [...weights].map(([name, weight]) => ({ name, share: weight / total }));
    return { title, lines: lines.sort((a, b) => b.share - a.share).slice(0, limit) };
  };
  return [
    section("by kind", samples, 20, kindOf),
    section(
      "by stage (main threads; libraries, natives and the kernel charged to the caller)",
      main,
      30,
      stageOf,
    ),
    section("by file of the product (the same way)", main, 40, fileOf),
    section(
      "by function (of any script; natives and the kernel charged to the caller)",
      main,
      40,
      functionOf,
    ),
    section("the kernel alone, by file of the product", main.filter(isInKernel), 15, fileOf),
  ];
}

function kindOf({ frames, isMainThread }: Sample): string {
  const place = isMainThread ? "main thread" : "other threads";
  return `${place}: ${workOf(frames)}`;
}

function workOf(frames: readonly Frame[]): string {
  const [leaf] = frames;
  if (leaf === undefined) return "unknown";
  if (leaf.kind === "kernel") return "kernel";
  if (frames.some((frame) => frame.kind === "native" && garbage.test(frame.name)))
    return "garbage collection";
  if (frames.some((frame) => frame.kind === "native" && compiler.test(frame.name))) return "compiling";
  if (leaf.kind === "script") return "compiled JavaScript";
  if (leaf.name.startsWith("Builtins_")) return "V8's builtins and interpreter";
  if (leaf.object.includes("libc")) return "libc (copying, allocating)";
  if (leaf.name.startsWith("v8::")) return "V8's C++";
  return "Node, libuv, OpenSSL and the rest";
}

function isGarbage(frames: readonly Frame[]): boolean {
  return frames.some((frame) => frame.kind === "native" && garbage.test(frame.name));
}

function isInKernel({ frames }: Sample): boolean {
  return frames[0]?.kind === "kernel";
}

/** The product's own frames, the innermost first, as paths below the repository. */
function ownFiles(frames: readonly Frame[]): string[] {
  return frames.flatMap((frame) => {
    const path =
      frame.kind === "script" && !frame.file.includes("/node_modules/")
        ? own.exec(frame.file)?.[1]
        : undefined;
    return path === undefined ? [] : [path];
  });
}

function stageOf({ frames }: Sample): string {
  if (isGarbage(frames)) return "garbage collection";
  const files = ownFiles(frames);
  const file = files.find((path) => !shared.test(path)) ?? files[0];
  if (file === undefined) return withoutOwn(frames);
  return stages.find(([pattern]) => pattern.test(file))?.[1] ?? "pod, the rest";
}

function fileOf({ frames }: Sample): string {
  if (isGarbage(frames)) return "(garbage collection)";
  return ownFiles(frames)[0] ?? `(${withoutOwn(frames)})`;
}

/** Time that no frame of the product stands above: callbacks of libuv before they reach it, promises, NATS. */
function withoutOwn(frames: readonly Frame[]): string {
  const script = frames.find((frame) => frame.kind === "script");
  if (script?.kind === "script") {
    const library = /node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(script.file)?.[1];
    return library === undefined ? "Node's own scripts" : `library ${library}`;
  }
  return frames[0]?.kind === "kernel"
    ? "kernel: reads, epoll, interrupts"
    : "native: event loop, start, the rest";
}

function functionOf({ frames }: Sample): string {
  if (isGarbage(frames)) return "(garbage collection)";
  const script = frames.find((frame) => frame.kind === "script");
  if (script?.kind !== "script") return `(${withoutOwn(frames)})`;
  const path = own.exec(script.file)?.[1] ?? script.file.replace(/^.*node_modules\//, "");
  return `${script.name} ${path}:${script.line}`;
}
