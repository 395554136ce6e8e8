// A run as an address: script, parameters and seed travel in the part after `#`, which no server
// sees. Whoever opens it has the same run before them.
import { type Extras, restoreExtras } from "./extras";
import { type Parameters, restoreParameters } from "./parameters";
import { restoreScript, type Script } from "./script";
import { restoreVariables, type Variables } from "./variables";

export interface Shared {
  model: string | null;
  script: Script;
  parameters: Parameters;
  extras: Extras;
  variables: Variables;
}

const PREFIX = "#run=";
/** Longer addresses are cut by mail and chat programs. */
export const LINK_CHARACTERS_MAX = 30_000;

async function through(bytes: Uint8Array<ArrayBuffer>, step: TransformStream): Promise<Uint8Array> {
  const stream = (new Response(bytes).body as ReadableStream).pipeThrough(step);
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

const toText = (bytes: Uint8Array): string =>
  btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""))
    .replaceAll("+", "-")
    .replaceAll("/", "_")
    .replace(/=+$/, "");

const toBytes = (text: string): Uint8Array<ArrayBuffer> =>
  Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (letter) =>
    letter.charCodeAt(0),
  );

/** The part of the address after the path; null when the run is too long for one. */
export async function writeLink(shared: Shared): Promise<string | null> {
  // Meters and traces stay behind: the run is to be made again, not to be believed.
  const turns = shared.script.turns.map(({ id, role, content }) => ({ id, role, content }));
  const plain = JSON.stringify({ ...shared, script: { ...shared.script, turns } });
  const packed = await through(
    new TextEncoder().encode(plain),
    new CompressionStream("deflate-raw"),
  );
  const link = PREFIX + toText(packed);
  return link.length > LINK_CHARACTERS_MAX ? null : link;
}

/** What an address carries; null when it carries nothing that can be understood. */
export async function readLink(hash: string): Promise<Shared | null> {
  if (!hash.startsWith(PREFIX)) return null;
  try {
    const bytes = await through(
      toBytes(hash.slice(PREFIX.length)),
      new DecompressionStream("deflate-raw"),
    );
    const found = JSON.parse(new TextDecoder().decode(bytes)) as Record<string, unknown>;
    return {
      model: typeof found.model === "string" ? found.model : null,
      script: restoreScript(found.script),
      parameters: restoreParameters(found.parameters),
      extras: restoreExtras(found.extras),
      variables: restoreVariables(found.variables),
    };
  } catch {
    // Cut on its way, or not ours.
    return null;
  }
}
