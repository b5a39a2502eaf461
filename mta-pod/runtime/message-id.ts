/** Ids of accepted messages: 26 characters of Crockford's base32, sortable by time, unique across pods. Never fails. */
import { randomBytes } from "node:crypto";

const digits = "0123456789abcdefghjkmnpqrstvwxyz";

function encode(value: number, length: number): string {
  let rest = value;
  let text = "";
  for (let index = 0; index < length; index++) {
    text = (digits[rest % 32] ?? "0") + text;
    rest = Math.floor(rest / 32);
  }
  return text;
}

/**
 * Makes ids of 10 characters of time (ms), 9 of this process and 7 of a counter: 45 random bits a process start
 * and 35 bits of counter, so that two ids of one pool never meet and a listing by id is one by time.
 */
export function createIdMaker(now: () => number): () => string {
  const random = randomBytes(8);
  const process = encode(random.readUIntBE(0, 5), 8) + encode(random[5] ?? 0, 1);
  let counter = random.readUInt16BE(6);
  /** Of the last millisecond that was asked for: under load several ids have it. */
  let start = { time: Number.NaN, text: "" };
  return () => {
    counter = (counter + 1) % 2 ** 35;
    const time = now();
    if (time !== start.time) start = { time, text: encode(time, 10) + process };
    return start.text + encode(counter, 7);
  };
}

/** When the message with this id was accepted, ms since 1970; NaN when it is not one of our ids. */
export function timeOfId(id: string): number {
  if (id.length !== 26) return Number.NaN;
  let time = 0;
  for (const character of id.slice(0, 10).toLowerCase()) {
    const digit = digits.indexOf(character);
    if (digit < 0) return Number.NaN;
    time = time * 32 + digit;
  }
  return time;
}
