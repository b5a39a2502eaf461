/** What a connection has sent and nobody has taken yet, in one piece. Large mail is copied a few times in all, not once for each packet of it. */

export interface Intake {
  readonly length: number;
  add(data: Buffer): void;
  /** Bytes up to the first `mark`; undefined while it is not there. What was looked through is not looked through again: ask for one mark until it is found. */
  before(mark: Buffer): number | undefined;
  /** The next bytes, which are never written to again. */
  take(length: number): Buffer;
}

export function createIntake(): Intake {
  let bytes: Buffer = Buffer.alloc(0);
  let start = 0;
  let end = 0;
  let searched = 0;
  return {
    get length() {
      return end - start;
    },
    add(data) {
      if (start === end) {
        bytes = data;
        start = 0;
        end = data.length;
        searched = 0;
        return;
      }
      if (end + data.length > bytes.length) {
        const larger = Buffer.allocUnsafeSlow(2 * (end - start + data.length));
        bytes.copy(larger, 0, start, end);
        searched -= start;
        end -= start;
        start = 0;
        bytes = larger;
      }
      end += data.copy(bytes, end);
    },
    before(mark) {
      const at = bytes.subarray(0, end).indexOf(mark, searched);
      if (at >= 0) return at - start;
      searched = Math.max(start, end - mark.length + 1);
      return undefined;
    },
    take(length) {
      const taken = bytes.subarray(start, start + length);
      start += length;
      searched = start;
      return taken;
    },
  };
}
