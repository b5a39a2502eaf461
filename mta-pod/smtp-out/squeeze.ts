/** White space as "relaxed" wants it in a body: runs are one space, none before a line end. Pure; SIMD in WebAssembly. */

// No library of types declares it without the DOM's.
declare const WebAssembly: {
  readonly Memory: new (descriptor: object) => { readonly buffer: ArrayBuffer };
  readonly Module: new (program: Uint8Array) => object;
  readonly Instance: new (module: object) => { readonly exports: Readonly<Record<string, unknown>> };
};

export type Squeezed = Uint8Array;

/** What fits into the program's memory, twice: the source and the result. Both stay in the second-level cache. */
export const windowBytes = 262_144;
const resultStart = windowBytes + 64;

/**
 * squeeze(s, n, d): reads memory[s, s+n), writes at d, returns the length; 32 bytes after the source are overwritten.
 * Source, assembled with `wat2wasm`: copy 16 bytes at once while they hold no tab, no space before a space, tab or CR,
 * and no space at the end of the input; else up to 16 bytes one by one: a run of spaces and tabs is one space, and
 * nothing when CR or the end of the input follows. `squeezeSlowly` is the same in words that can be read.
 */
const program =
  "AGFzbQEAAAABCAFgA39/fwF/AwIBAAUDAQAJBxQCBm1lbW9yeQIAB3NxdWVlemUAAArDAgHAAgMCfwF7BX8gACABaiEDIAP9DAAAAAAAAAAAAA" +
  "AAAAAAAAD9CwQAIAIhBAJAA0AgACADTw0BIAD9AAQAIQUgBUEg/Q/9I/1kIQYgBUEJ/Q/9I/1kIQcgBUEN/Q/9I/1kIQggAC0AECEKIABBEGog" +
  "A00gByAGIAYgCHJBAXYgCkEgRiAKQQlGciAKQQ1GIApFcnJBD3RycXJFcQRAIAQgBf0LBAAgAEEQaiEAIARBEGohBAwBCyAAQRBqIQoDQCAALQ" +
  "AAIQkgCUEgRiAJQQlGcgRAA0AgAEEBaiEAIAAtAAAhCSAAIANJIAlBIEYgCUEJRnJxDQALIAAgA0kgCUENR3EEQCAEQSA6AAAgBEEBaiEECwUg" +
  "BCAJOgAAIARBAWohBCAAQQFqIQALIAAgCkkgACADSXENAAsMAAsLIAQgAmsL";

interface Squeezer {
  readonly memory: Uint8Array;
  squeeze(source: number, length: number, result: number): number;
}

let squeezer: Squeezer | undefined;

function createSqueezer(): Squeezer {
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(Buffer.from(program, "base64")));
  const memory = exports["memory"];
  const squeeze = exports["squeeze"];
  if (!(memory instanceof WebAssembly.Memory) || typeof squeeze !== "function")
    throw new Error("Cannot load the white space squeezer: expected exports memory and squeeze");
  return {
    memory: new Uint8Array(memory.buffer),
    squeeze: (source, length, result) => Number(squeeze(source, length, result)),
  };
}

/** @returns a view that the next call overwrites. The program is loaded at the first call. */
export function squeezeInto(bytes: Uint8Array): Squeezed {
  if (bytes.length > windowBytes) return squeezeSlowly(bytes);
  squeezer ??= createSqueezer();
  squeezer.memory.set(bytes, 0);
  const length = squeezer.squeeze(0, bytes.length, resultStart);
  return squeezer.memory.subarray(resultStart, resultStart + length);
}

/** The same in JavaScript, for any length. */
export function squeezeSlowly(bytes: Uint8Array): Squeezed {
  const result = new Uint8Array(bytes.length);
  let length = 0;
  let inRun = false;
  for (const byte of bytes) {
    if (byte === 32 || byte === 9) {
      inRun = true;
      continue;
    }
    if (inRun && byte !== 13) result[length++] = 32;
    inRun = false;
    result[length++] = byte;
  }
  return result.subarray(0, length);
}
