/** Which folder may import which: the arrows of the READMEs as a table, and what breaks them. Pure; reads text, resolves paths. */
import { posix } from "node:path";

interface Room {
  /** Folders whose files it may import beside its own; one ending in "/" lets in all below it, "mta-pod" its own files alone. */
  readonly imports: readonly string[];
  /** It takes time and chance as arguments: of node's modules and the packages only these. */
  readonly pure?: readonly string[];
}

const contract = "crds/";
/** Below the rooms of a pod: words of the protocol, clock and log. */
const ground = [contract, "mta-pod/smtp", "mta-pod/runtime"];
const computing = ["node:buffer", "node:crypto", "node:zlib", "ipaddr.js", "re2js", "zod"];

const rooms: Readonly<Record<string, Room>> = {
  "mta-pod": { imports: [contract, "mta-pod/"] },
  "mta-pod/admit": { imports: ground, pure: computing },
  "mta-pod/config": { imports: ground },
  "mta-pod/http-in": { imports: ground },
  "mta-pod/proxy": { imports: ground },
  "mta-pod/route": { imports: ground },
  "mta-pod/runtime": { imports: [contract] },
  "mta-pod/schedule": { imports: ground, pure: computing },
  "mta-pod/settle": { imports: ground, pure: computing },
  "mta-pod/smtp": { imports: [contract], pure: computing },
  "mta-pod/smtp-in": { imports: ground },
  "mta-pod/smtp-out": { imports: ground },
  "mta-pod/spool": { imports: ground },
  "mta-pod/telemetry": { imports: ground },
  "operator/gather": { imports: [contract] },
  "operator/compile": { imports: [contract], pure: computing },
  "operator/resources": { imports: [contract], pure: computing },
  "operator/scale": { imports: [], pure: [] },
  "operator/provider": { imports: [contract] },
  "operator/streams": { imports: [contract] },
  "operator/kube": { imports: [] },
  "operator/telemetry": { imports: [] },
  "operator/reconcile": { imports: [contract, "operator/"] },
  "operator/local": { imports: [contract, "operator/"] },
  "operator/cli": { imports: [contract, "operator/"] },
  crds: { imports: [contract] },
  charts: { imports: ["charts/", contract] },
};

/** Packages that belong to some rooms alone. */
const reserved: readonly (readonly [name: RegExp, rooms: readonly string[]])[] = [
  [/^@nats-io\//, ["mta-pod/spool", "operator/streams"]],
  [/^@kubernetes\//, ["operator/kube"]],
];

/** Commands are where a program begins: nothing imports them. */
const top = "operator/cli";

/** Of `import … from "x"`, `export … from "x"`, `import "x"` and `import("x")`: every x, types included. */
const imported = /(?<![.\w])(?:from|import)\s*\(?\s*["']([#.@a-z][^"'\s]*)["']/g;

/** `mta-pod/spool` of `mta-pod/spool/quota.ts`, `mta-pod` of `mta-pod/attempt.ts`; the contract and the charts are one folder each. */
function roomOf(path: string): string {
  const [first = "", second = "", ...rest] = path.split("/");
  return first === "crds" || first === "charts" || (rest.length === 0 && second.includes("."))
    ? first
    : `${first}/${second}`;
}

function lets({ imports }: Room, folder: string): boolean {
  return imports.some((one) => (one.endsWith("/") ? `${folder}/`.startsWith(one) : folder === one));
}

/** What of a product's file breaks the arrows: `path: specifier`. [] = nothing. */
export function brokenArrows(path: string, text: string): string[] {
  const own = roomOf(path);
  const room = rooms[own];
  if (room === undefined) return [`${path}: "${own}" is not in the table`];
  const isBroken = (specifier: string): boolean => {
    const isPath = /^[.#]/.test(specifier);
    if (!isPath) {
      const owners = reserved.find(([name]) => name.test(specifier))?.[1];
      return owners?.includes(own) === false || room.pure?.includes(specifier) === false;
    }
    const target = specifier.startsWith("#") ? specifier.slice(1) : posix.join(path, "..", specifier);
    const folder = roomOf(target);
    return folder !== own && (folder === top || !lets(room, folder));
  };
  return [...text.matchAll(imported)]
    .map(([, specifier = ""]) => specifier)
    .filter(isBroken)
    .map((specifier) => `${path}: ${specifier}`);
}
