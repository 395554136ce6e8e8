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

/** JSON strings, numbers, lists and objects are Python literals too; the request has nothing else. */
function python(origin: string, request: CompletionRequest): string {
  const { top_k, ...known } = request;
  const given = Object.entries(known).map(
    ([name, value]) => `    ${name}=${indent(json(value), "    ")},`,
  );
  // The client knows no top_k; extra_body carries what it does not know.
  if (top_k !== undefined) given.push(`    extra_body={"top_k": ${top_k}},`);
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
