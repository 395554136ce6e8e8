// A stand-in for the gateway with scripted answers, for work on the page and for tests of what the
// real one cannot be asked to do: cut a connection at a given event, refuse, or fall silent.
//
//   node dev/mock.mjs [port]      serves the built page and the routes that the page uses
//
// Words in a message choose what happens: "cut" breaks the connection after every 5 events, "limit"
// answers 429, "fail" breaks the generation, "slow" waits before the first token, "long" goes on for
// long, "book" for 12,000 characters of Markdown, "markdown" shows every kind of block once. The cookie is any sign-in token; "used" is refused.
import { createReadStream, existsSync, statSync } from "node:fs";
import { createServer } from "node:http";
import { extname, join, normalize } from "node:path";

const PORT = Number(process.argv[2] ?? 8400);
const TOKEN_MS = Number(process.env.MOCK_TOKEN_MS ?? 25);
const BUILT = new URL("../../src/tokenyard/_web", import.meta.url).pathname;
const MODEL = "smollm2-135m-instruct";
const POLICY =
  "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'";

const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const seconds = () => Math.floor(Date.now() / 1000);
let made = 0;
const name = (prefix) => `${prefix}_${(++made).toString().padStart(6, "0")}`;

const state = {
  spentNanos: 1_420_000_000,
  conversations: new Map(),
  items: new Map(),
  responses: new Map(),
};

const PROSE =
  "A token is a piece of text that the model reads and writes as one unit: often a word, sometimes " +
  "a part of one. The price of an answer is counted in tokens, and so is the length of what the " +
  "model can keep in view.";
const MARKDOWN = `## A heading

Some **bold text**, some *slanted text*, a \`code span\` and a [link](https://example.org).

1. First, with a nested list:
   - one
   - two
2. Second

> A quotation over
> two lines.

\`\`\`json
{
  "queue": "reports",
  "severity": "medium",
  "cause": "query over the request timeout",
  "next": "run the yearly export as a batch job, with a line that is long enough to scroll on any phone"
}
\`\`\`

| Part | Tokens |
| ---- | -----: |
| in   | 214 |
| out  | 63 |

<script>alert("a tag is shown as text")</script> and ünïcödé 😀 to the end.`;

const asks = (text, word) => new RegExp(`\\b${word}\\b`).test(text);

function scripted(text) {
  if (asks(text, "markdown")) return MARKDOWN;
  if (asks(text, "book")) return Array(16).fill(MARKDOWN).join("\n\n");
  if (asks(text, "long")) return Array(12).fill(PROSE).join("\n\n");
  return PROSE;
}

const pieces = (text) => text.match(/\s*\S{1,6}/g) ?? [];

async function readBody(request) {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  return chunks.length === 0 ? {} : JSON.parse(Buffer.concat(chunks).toString());
}

function answer(response, status, body, headers = {}) {
  response.writeHead(status, {
    "content-type": "application/json",
    "x-request-id": name("req"),
    ...headers,
  });
  response.end(body === null ? undefined : JSON.stringify(body));
}

const refuse = (response, status, code, message, headers = {}) =>
  answer(response, status, { error: { message, type: "error", param: null, code } }, headers);

const openStream = (response) =>
  response.writeHead(200, { "content-type": "text/event-stream", "x-request-id": name("req") });

const cost = (input, output) => ({ nanos: input * 100 + output * 400, currency: "USD" });
const lastText = (messages) => String(messages.at(-1)?.content ?? "");

async function complete(request, response) {
  const body = await readBody(request);
  const text = lastText(body.messages);
  if (asks(text, "limit")) return refuseLimit(response);
  openStream(response);
  const send = (value) => response.write(`data: ${JSON.stringify(value)}\n\n`);
  const started = Date.now();
  const chunk = (delta, finish_reason = null) => ({
    id: "chatcmpl-1",
    object: "chat.completion.chunk",
    choices: [{ index: 0, delta, finish_reason }],
  });
  send(chunk({ role: "assistant", content: "" }));
  await wait(asks(text, "slow") ? 3000 : 180);
  const first = Date.now() - started;
  const all = pieces(scripted(text)).slice(0, body.max_completion_tokens ?? 4096);
  for (const [place, piece] of all.entries()) {
    if (response.destroyed) return;
    if (asks(text, "fail") && place === 12) {
      send({ error: { message: "The model server died.", code: "upstream_failed", param: null } });
      return response.end();
    }
    if (asks(text, "cut") && place === 12) return response.destroy();
    send(chunk({ content: piece }));
    await wait(TOKEN_MS);
  }
  const cut = all.length === body.max_completion_tokens;
  send(chunk({}, cut ? "length" : "stop"));
  const input = 4 + Math.ceil(JSON.stringify(body.messages).length / 5);
  const spent = cost(input, all.length);
  state.spentNanos += spent.nanos;
  send({
    id: "chatcmpl-1",
    choices: [],
    usage: {
      prompt_tokens: input,
      completion_tokens: all.length,
      prompt_tokens_details: { cached_tokens: Math.floor(input / 2) },
    },
    timings: { queue_ms: 2, first_token_ms: first, total_ms: Date.now() - started },
    cost: spent,
  });
  response.end("data: [DONE]\n\n");
}

const refuseLimit = (response) =>
  refuse(response, 429, "rate_limit_requests", "60 of 60 requests in this minute are used.", {
    "retry-after": "5",
  });

function publicAnswer(run) {
  const { log: _, readers: __, stop: ___, ...shown } = run;
  return shown;
}

const item = (role, text, extra = {}) => ({
  type: "message",
  id: name("msg"),
  role,
  status: "completed",
  content: [{ type: role === "user" ? "input_text" : "output_text", text }],
  ...extra,
});

function record(run, type, fields = {}) {
  const event = { type, sequence_number: run.log.length, ...fields };
  run.log.push(event);
  for (const reader of run.readers) reader(event);
}

async function generate(run, text) {
  const started = Date.now();
  const output = { ...item("assistant", ""), id: name("msg"), status: "in_progress" };
  record(run, "response.created", { response: publicAnswer(run) });
  record(run, "response.in_progress", { response: publicAnswer(run) });
  record(run, "response.output_item.added", { output_index: 0, item: output });
  await wait(asks(text, "slow") ? 3000 : 180);
  const first = Date.now() - started;
  let said = "";
  let count = 0;
  for (const piece of pieces(scripted(text))) {
    if (run.stop || (asks(text, "fail") && count === 12)) break;
    said += piece;
    count += 1;
    record(run, "response.output_text.delta", { delta: piece });
    await wait(TOKEN_MS);
  }
  const failed = asks(text, "fail") && !run.stop;
  run.status = run.stop ? "cancelled" : failed ? "failed" : "completed";
  const input = 30 + Math.ceil(text.length / 4);
  run.usage = {
    input_tokens: input,
    output_tokens: count,
    input_tokens_details: { cached_tokens: Math.floor(input / 2) },
  };
  run.cost = cost(input, count);
  run.timings = { queue_ms: 2, first_token_ms: first, total_ms: Date.now() - started };
  if (failed) run.error = { code: "upstream_failed", message: "The model server died." };
  const whole = {
    ...item("assistant", said),
    id: output.id,
    status: run.status === "completed" ? "completed" : "incomplete",
    response_id: run.id,
  };
  run.output = [whole];
  state.items.get(run.conversation.id)?.push(whole);
  state.spentNanos += run.cost.nanos;
  const conversation = state.conversations.get(run.conversation.id);
  if (conversation) {
    conversation.active_response_id = null;
    conversation.updated_at = seconds();
  }
  record(run, "response.output_text.done", { text: said });
  const last = run.stop ? "incomplete" : run.status;
  record(run, `response.${last}`, { response: publicAnswer(run) });
}

function stream(response, run, after, cuts) {
  openStream(response);
  let sent = 0;
  const send = (event) => {
    if (response.destroyed || (cuts && sent === 5)) return;
    response.write(
      `event: ${event.type}\nid: ${run.id}.1.${event.sequence_number}\ndata: ${JSON.stringify(event)}\n\n`,
    );
    sent += 1;
    if (/\.(completed|incomplete|failed)$/.test(event.type)) response.end();
    // A little later, or nothing of what was written would leave this process.
    else if (cuts && sent === 5) setTimeout(() => response.destroy(), 5);
  };
  for (const event of run.log.slice(after + 1)) send(event);
  run.readers.add(send);
  response.on("close", () => run.readers.delete(send));
}

async function ask(request, response) {
  const body = await readBody(request);
  const text = String(body.input);
  const conversation = state.conversations.get(body.conversation);
  if (!conversation) return refuse(response, 404, "not_found", "No such conversation.");
  if (asks(text, "limit")) return refuseLimit(response);
  if (conversation.active_response_id) {
    return refuse(response, 409, "conversation_busy", "An answer is in progress.");
  }
  const run = {
    id: name("resp"),
    object: "response",
    status: "in_progress",
    model: body.model,
    conversation: { id: conversation.id },
    log: [],
    readers: new Set(),
    stop: false,
    cuts: asks(text, "cut"),
  };
  state.responses.set(run.id, run);
  state.items.get(conversation.id).push(item("user", text));
  conversation.active_response_id = run.id;
  conversation.updated_at = seconds();
  stream(response, run, -1, run.cuts);
  void generate(run, text);
}

function resume(response, run, search) {
  const after = Number(search.get("starting_after") ?? -1);
  if (run.status !== "in_progress" && after >= run.log.length - 1) {
    response.writeHead(204);
    return response.end();
  }
  return stream(response, run, after, run.cuts);
}

function page(all, search, id = (each) => each.id) {
  const limit = Number(search.get("limit") ?? 20);
  const ordered = search.get("order") === "desc" ? [...all].reverse() : all;
  const from = ordered.findIndex((each) => id(each) === search.get("after")) + 1;
  const data = ordered.slice(from, from + limit);
  return {
    object: "list",
    data,
    has_more: from + limit < ordered.length,
    last_id: data.at(-1)?.id ?? null,
  };
}

async function addConversation(request, response) {
  const body = await readBody(request);
  const conversation = {
    id: name("conv"),
    object: "conversation",
    created_at: seconds(),
    updated_at: seconds(),
    metadata: body.metadata ?? {},
    active_response_id: null,
  };
  state.conversations.set(conversation.id, conversation);
  state.items.set(conversation.id, []);
  answer(response, 200, conversation);
}

function sitting(request) {
  return /tokenyard_session=/.test(request.headers.cookie ?? "");
}

const session = () => ({
  user: { id: "user_1" },
  project: { id: "proj_1" },
  build: "mock",
  currency: "USD",
  month: { cost_nanos: state.spentNanos, budget_nanos: 20_000_000_000 },
});

const prices = () => ({
  currency: "USD",
  prices: [
    {
      model: MODEL,
      input_nanos_per_million: 100_000_000,
      cached_input_nanos_per_million: 50_000_000,
      output_nanos_per_million: 400_000_000,
    },
  ],
});

const models = () => ({
  object: "list",
  data: [{ id: MODEL, object: "model", created: 0, owned_by: "local", context_window: 8192 }],
});

const byTime = () =>
  [...state.conversations.values()].sort(
    (a, b) => b.updated_at - a.updated_at || (a.id < b.id ? 1 : -1),
  );

async function api(request, response, url) {
  if (!sitting(request)) return refuse(response, 401, "missing_credentials", "Not signed in.");
  const route = `${request.method} ${url.pathname}`;
  const [, , kind, id, rest] = url.pathname.split("/");
  if (route === "GET /api/session") return answer(response, 200, session());
  if (route === "GET /api/prices") return answer(response, 200, prices());
  if (route === "GET /v1/models") return answer(response, 200, models());
  if (route === "POST /api/sign-out") {
    return answer(response, 200, {}, { "set-cookie": "tokenyard_session=; Max-Age=0; Path=/" });
  }
  if (route === "POST /v1/chat/completions") return complete(request, response);
  if (route === "GET /api/conversations")
    return answer(response, 200, page(byTime(), url.searchParams));
  if (route === "POST /v1/conversations") return addConversation(request, response);
  if (route === "POST /v1/responses") return ask(request, response);
  if (kind === "conversations" && state.conversations.has(id)) {
    if (rest === "items") return answer(response, 200, page(state.items.get(id), url.searchParams));
    if (request.method === "DELETE") state.conversations.delete(id);
    return answer(response, 200, state.conversations.get(id) ?? { id, deleted: true });
  }
  const run = kind === "responses" ? state.responses.get(id) : undefined;
  if (run) {
    if (rest === "cancel") {
      run.stop = true;
      return answer(response, 200, publicAnswer(run));
    }
    if (url.searchParams.get("stream") === "true") return resume(response, run, url.searchParams);
    return answer(response, 200, publicAnswer(run));
  }
  return refuse(response, 404, "not_found", "There is nothing here.");
}

const TYPES = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript",
  ".css": "text/css",
  ".svg": "image/svg+xml",
};

function file(response, path) {
  const asked = join(BUILT, normalize(path));
  const found = existsSync(asked) && statSync(asked).isFile() ? asked : join(BUILT, "index.html");
  response.writeHead(200, {
    "content-type": TYPES[extname(found)] ?? "application/octet-stream",
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
  });
  createReadStream(found).pipe(response);
}

const server = createServer((request, response) => {
  const url = new URL(request.url, "http://mock");
  if (url.pathname === "/sign-in") {
    const refused = url.searchParams.get("token") === "used-link";
    response.writeHead(303, {
      location: refused ? "/?sign_in=invalid" : "/",
      ...(refused
        ? {}
        : { "set-cookie": "tokenyard_session=1; Path=/; HttpOnly; SameSite=Strict" }),
    });
    return response.end();
  }
  if (/^\/(api|v1)\//.test(url.pathname)) {
    return api(request, response, url).catch((error) => {
      console.error(error);
      response.destroy();
    });
  }
  return file(response, url.pathname);
});

server.listen(PORT, "127.0.0.1", () => {
  const { port } = server.address();
  console.log(`http://127.0.0.1:${port}/sign-in?token=any-token-will-do`);
});
