/**
 * Reads our own Containerfiles, so that the images of a test cluster are what an engine would make of them. Pure; throws
 * on every instruction of a last stage that it does not know, since what it skipped would be missing in silence.
 */

export interface Containerfile {
  /** The image that the last stage starts from. */
  readonly base: string;
  /** Copied from another stage to `/`, each a layer, in order. */
  readonly copies: readonly { readonly stage: string; readonly from: string }[];
  readonly workdir: string;
  readonly env: readonly string[];
  readonly user: string;
  readonly ports: readonly string[];
  readonly entrypoint: readonly string[];
  /** Sources of COPY in the stages before the last. */
  readonly sources: readonly string[];
}

interface Instruction {
  readonly word: string;
  readonly rest: string;
}

/** @example parseContainerfile(text).entrypoint // ["node", "mta-pod/main.ts"] */
export function parseContainerfile(text: string): Containerfile {
  const instructions = instructionsOf(text);
  const last = instructions.findLastIndex(({ word }) => word === "FROM");
  const stage = instructions.slice(last);
  const all = (word: string): string[] => stage.flatMap((one) => (one.word === word ? [one.rest] : []));
  const only = (word: string): string => {
    const found = all(word);
    if (found.length !== 1)
      throw new Error(`Cannot read a Containerfile: expected one ${word}, got ${found.length}`);
    return found[0] ?? "";
  };
  for (const { word } of stage)
    if (!["FROM", "COPY", "WORKDIR", "ENV", "USER", "EXPOSE", "ENTRYPOINT"].includes(word))
      throw new Error(`Cannot read a Containerfile: expected nothing to run in the last stage, got ${word}`);
  return {
    base: only("FROM"),
    copies: all("COPY").map(copyOf),
    workdir: only("WORKDIR"),
    env: all("ENV").flatMap((rest) => rest.split(/\s+/)),
    user: only("USER"),
    ports: all("EXPOSE").flatMap((rest) => rest.split(/\s+/)),
    entrypoint: wordsOf(only("ENTRYPOINT")),
    sources: instructions
      .slice(0, last)
      .flatMap(({ word, rest }) => (word === "COPY" ? rest.split(/\s+/).slice(0, -1) : [])),
  };
}

function instructionsOf(text: string): Instruction[] {
  const lines = text.replaceAll(/\\\n/g, " ").split("\n");
  return lines
    .map((line) => line.trim())
    .filter((line) => line !== "" && !line.startsWith("#"))
    .map((line) => ({
      word: (/^\S+/.exec(line)?.[0] ?? "").toUpperCase(),
      rest: line.replace(/^\S+\s*/, ""),
    }));
}

function copyOf(rest: string): { stage: string; from: string } {
  const match = /^--from=(\S+)\s+(\S+)\s+\/$/.exec(rest);
  if (match === null)
    throw new Error(`Cannot read a Containerfile: expected COPY --from=STAGE FOLDER /, got COPY ${rest}`);
  return { stage: match[1] ?? "", from: match[2] ?? "" };
}

function wordsOf(json: string): string[] {
  const words: unknown = JSON.parse(json);
  if (!Array.isArray(words) || !words.every((word) => typeof word === "string"))
    throw new Error(`Cannot read a Containerfile: expected ENTRYPOINT as a list of words, got ${json}`);
  return words;
}
