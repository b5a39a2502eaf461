/** Follows the folder with the listeners' certificate: hands over each new pair, and says once what is missing. */
import { folderSignature, readFolder } from "./files.ts";

interface CertificateFiles {
  readonly key: Buffer;
  readonly cert: Buffer;
}

export interface FollowCertificateOptions {
  readonly dir: string;
  /** Called with each pair that is another. A throw says that it cannot be used. */
  onCertificate(files: CertificateFiles): void;
  /** Called when there is no pair, or none that can be used; again only when the reason is another. */
  onIssue(text: string): void;
  readonly signal: AbortSignal;
  /** How often the folder is looked at; default 2 s. */
  readonly pollMs?: number;
}

/** Reads at once (before it returns), then follows until the signal. */
export function followCertificate(options: FollowCertificateOptions): void {
  const { dir, signal } = options;
  let seen = "";
  let said = "";
  const check = (): void => {
    const signature = folderSignature(dir);
    if (signature === seen) return;
    const issue = takeOver(options);
    if (issue !== "" && issue !== said) options.onIssue(issue);
    said = issue;
    // Half of a pair is looked at again: a folder that is no kubelet's changes file by file.
    if (issue === "") seen = signature;
  };
  check();
  const timer = setInterval(check, options.pollMs ?? 2000);
  timer.unref();
  signal.addEventListener("abort", () => clearInterval(timer), { once: true });
}

/** What is wrong, "" for nothing. */
function takeOver({ dir, onCertificate }: FollowCertificateOptions): string {
  try {
    const { files } = readFolder(dir, (name) => name === "tls.key" || name === "tls.crt");
    const [key, cert] = [files.get("tls.key"), files.get("tls.crt")];
    if (key === undefined || cert === undefined)
      return `expected tls.key and tls.crt, got ${[...files.keys()].join(", ") || "neither"}`;
    onCertificate({ key, cert });
    return "";
  } catch (error) {
    return String(error);
  }
}
