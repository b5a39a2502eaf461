/**
 * Where cluster N lives: its folder, names and networks, all by the index, so that several can run side by side. Whoever
 * takes an index owns it as long as its process lives; what a dead owner left is cleaned up by the next who takes it.
 */
import { link, mkdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { isSame, type ProcessId, processId } from "./processes.ts";

export interface Place {
  readonly index: number;
  readonly folder: string;
  /** Of the network namespace, the CNI network, the bridge and the cgroup. */
  readonly name: string;
  readonly podCidr: string;
  readonly serviceCidr: string;
  /** The node's address, and its gateway's and DNS server's. */
  readonly nodeIp: string;
  /** The API server's Service. */
  readonly apiServiceIp: string;
}

interface Owner {
  readonly process: ProcessId;
  /** test: ends with its process. play: was asked for by name, ends by `down`. */
  readonly kind: "test" | "play";
}

const most = 32;
export const clustersFolder = join(tmpdir(), "mailboat-clusters");

function placeAt(index: number): Place {
  return {
    index,
    folder: join(clustersFolder, String(index)),
    name: `mailboat-${index}`,
    podCidr: `10.244.${index}.0/24`,
    serviceCidr: `10.${96 + index}.0.0/16`,
    nodeIp: `10.244.${index}.1`,
    apiServiceIp: `10.${96 + index}.0.1`,
  };
}

const ownerFile = ({ index }: Place): string => join(clustersFolder, `${index}.owner`);

/** The first place that nobody alive owns, made this process's own. `clean` removes what a former owner left. */
export async function claimPlace(clean: (place: Place) => Promise<void>): Promise<Place> {
  await mkdir(clustersFolder, { recursive: true });
  for (let index = 0; index < most; index++) {
    const place = placeAt(index);
    if ((await ownerOf(place)) !== undefined) continue;
    // Only one of those who see the same dead owner gets to move its file.
    await rename(ownerFile(place), `${ownerFile(place)}.dead`).catch(() => {});
    if (!(await own(place, { process: await processId(process.pid), kind: "test" }))) continue;
    await clean(place);
    await mkdir(place.folder, { recursive: true });
    return place;
  }
  throw new Error(`Cannot start a cluster: expected fewer than ${most} of them, see ${clustersFolder}`);
}

/** Gives the place to a process that goes on when this one ends. */
export async function handOver(place: Place, pid: number): Promise<void> {
  const owner: Owner = { process: await processId(pid), kind: "play" };
  await writeFile(`${ownerFile(place)}.next`, JSON.stringify(owner));
  await rename(`${ownerFile(place)}.next`, ownerFile(place));
}

export async function freePlace(place: Place): Promise<void> {
  await rm(ownerFile(place), { force: true });
  await rm(`${ownerFile(place)}.dead`, { force: true });
}

/** The places that were taken by `up`, alive or not. */
export async function placesOfPlay(): Promise<Place[]> {
  const found: Place[] = [];
  for (let index = 0; index < most; index++) {
    const place = placeAt(index);
    if ((await readOwner(place))?.kind === "play") found.push(place);
  }
  return found;
}

/** Of other processes: whether any cluster lives beside this one. */
export async function hasNeighbours({ index }: Place): Promise<boolean> {
  for (let other = 0; other < most; other++)
    if (other !== index && (await ownerOf(placeAt(other))) !== undefined) return true;
  return false;
}

/** Undefined when nobody alive owns it. */
async function ownerOf(place: Place): Promise<Owner | undefined> {
  const owner = await readOwner(place);
  return owner !== undefined && (await isSame(owner.process)) ? owner : undefined;
}

async function readOwner(place: Place): Promise<Owner | undefined> {
  const text = await readFile(ownerFile(place), "utf8").catch(() => undefined);
  return text === undefined ? undefined : (JSON.parse(text) as Owner);
}

async function own(place: Place, owner: Owner): Promise<boolean> {
  const own = `${ownerFile(place)}.${process.pid}`;
  await writeFile(own, JSON.stringify(owner));
  try {
    await link(own, ownerFile(place));
    return true;
  } catch {
    return false;
  } finally {
    await rm(own);
  }
}
