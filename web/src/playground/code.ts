// The same request as a program: curl, Python and JavaScript with OpenAI's clients. Pure text.
import type { CompletionRequest } from "../api/wire";

export const LANGUAGES = ["curl", "python", "javascript"] as const;
export type Language = (typeof LANGUAGES)[number];

const indent = (text: string, by: string): string => text.replace(/\n/g, `\n${by}`);
const json = (value: unknown): string => JSON.stringify(value, null, 2);

export function writeCode(language: Language, origin: string, request: CompletionRequest): string {
  switch (language) {
    case "curl":
      return curl(origin, request);
    case "python":
      return python(origin, request);
    case "javascript":
      return javascript(origin, request);
  }
}

function curl(origin: string, request: CompletionRequest): string {
  const body = json({ ...request, stream: true }).replaceAll("'", "'\\''");
  return [
    `curl -N ${origin}/v1/chat/completions \\`,
    `  -H "Authorization: Bearer $TOKENYARD_API_KEY" \\`,
    `  -H "Content-Type: application/json" \\`,
    `  -d '${body}'`,
  ].join("\n");
}

/** What OpenAI's client has no name for. */
const UNKNOWN_TO_OPENAI = new Set(["top_k", "min_p", "min_tokens", "repetition_penalty"]);

/** A JSON value as a Python literal. */
function literal(value: unknown, by = ""): string {
  if (value === null) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (typeof value !== "object") return JSON.stringify(value);
  const inner = `${by}  `;
  const lines = Array.isArray(value)
    ? value.map((each) => inner + literal(each, inner))
    : Object.entries(value).map(
        ([name, each]) => `${inner}${JSON.stringify(name)}: ${literal(each, inner)}`,
      );
  const [open, close] = Array.isArray(value) ? "[]" : "{}";
  return lines.length === 0 ? `${open}${close}` : `${open}\n${lines.join(",\n")}\n${by}${close}`;
}

function python(origin: string, request: CompletionRequest): string {
  const all = Object.entries(request);
  const given = all
    .filter(([name]) => !UNKNOWN_TO_OPENAI.has(name))
    .map(([name, value]) => `    ${name}=${literal(value, "    ")},`);
  const more = all.filter(([name]) => UNKNOWN_TO_OPENAI.has(name));
  if (more.length > 0) {
    const pairs = more.map(([name, value]) => `"${name}": ${literal(value)}`);
    given.push(`    extra_body={${pairs.join(", ")}},`);
  }
  return [
    "import os",
    "",
    "from openai import OpenAI",
    "",
    "client = OpenAI(",
    `    base_url="${origin}/v1",`,
    '    api_key=os.environ["TOKENYARD_API_KEY"],',
    ")",
    "stream = client.chat.completions.create(",
    ...given,
    "    stream=True,",
    ")",
    "for chunk in stream:",
    "    if chunk.choices:",
    '        print(chunk.choices[0].delta.content or "", end="", flush=True)',
  ].join("\n");
}

function javascript(origin: string, request: CompletionRequest): string {
  const given = Object.entries(request).map(
    ([name, value]) => `  ${name}: ${indent(json(value), "  ")},`,
  );
  return [
    'import OpenAI from "openai";',
    "",
    "const client = new OpenAI({",
    `  baseURL: "${origin}/v1",`,
    "  apiKey: process.env.TOKENYARD_API_KEY,",
    "});",
    "const stream = await client.chat.completions.create({",
    ...given,
    "  stream: true,",
    "});",
    "for await (const chunk of stream) {",
    '  process.stdout.write(chunk.choices[0]?.delta?.content ?? "");',
    "}",
  ].join("\n");
}
