// OpenAI's Node client against a running Tokenyard: `node client.mjs <what>`, one JSON line out.
import OpenAI from "openai";

const client = new OpenAI({
  baseURL: `${process.env.YARD_URL}/v1`,
  apiKey: process.env.YARD_KEY,
  maxRetries: 0,
  timeout: 120_000,
});
const model = process.env.YARD_MODEL;
const messages = [{ role: "user", content: "Count from one to fifty in words." }];
const asked = { model, messages, temperature: 0, max_tokens: 24 };

async function failure(promise) {
  try {
    await promise;
  } catch (error) {
    return { kind: error.constructor.name, status: error.status, code: error.code, param: error.param };
  }
  return { kind: "none" };
}

const wishes = {
  async chat() {
    const answer = await client.chat.completions.create(asked);
    return { text: answer.choices[0].message.content, usage: answer.usage };
  },
  async stream() {
    const pieces = [];
    const times = [];
    const stream = await client.chat.completions.create({
      ...asked,
      stream: true,
      stream_options: { include_usage: true },
    });
    let usage = null;
    for await (const chunk of stream) {
      const piece = chunk.choices[0]?.delta?.content;
      if (piece) {
        pieces.push(piece);
        times.push(performance.now());
      }
      usage = chunk.usage ?? usage;
    }
    return { text: pieces.join(""), pieces: pieces.length, ms: times.at(-1) - times[0], usage };
  },
  async abort() {
    const stream = await client.chat.completions.create({
      ...asked,
      max_tokens: 2000,
      ignore_eos: true,
      stream: true,
    });
    let pieces = 0;
    for await (const chunk of stream) {
      pieces += chunk.choices[0]?.delta?.content ? 1 : 0;
      if (pieces === 5) stream.controller.abort();
    }
    return { pieces };
  },
  async errors() {
    const stranger = new OpenAI({ baseURL: client.baseURL, apiKey: "wrong", maxRetries: 0 });
    return {
      value: await failure(client.chat.completions.create({ ...asked, temperature: 9 })),
      model: await failure(client.chat.completions.create({ ...asked, model: "gpt-9" })),
      key: await failure(stranger.models.list()),
      stream: await failure(client.chat.completions.create({ ...asked, stream: true, top_p: 7 })),
    };
  },
  async responses() {
    const events = [];
    let text = "";
    const stream = await client.responses.create({
      model,
      input: "Say hello.",
      max_output_tokens: 12,
      temperature: 0,
      stream: true,
    });
    for await (const event of stream) {
      events.push(event.type);
      if (event.type === "response.output_text.delta") text += event.delta;
    }
    return { events, text };
  },
  async tools() {
    const weather = {
      type: "function",
      name: "weather",
      description: "The weather of a city.",
      parameters: {
        type: "object",
        properties: { city: { type: "string", enum: ["Berlin", "Paris"] } },
        required: ["city"],
        additionalProperties: false,
      },
      strict: true,
    };
    const stream = await client.responses.stream({
      model,
      input: "What is the weather in Paris?",
      tools: [weather],
      tool_choice: { type: "function", name: "weather" },
      temperature: 0,
    });
    let pieces = "";
    for await (const event of stream) {
      if (event.type === "response.function_call_arguments.delta") pieces += event.delta;
    }
    const called = await stream.finalResponse();
    const call = called.output.find((item) => item.type === "function_call");
    const answered = await client.responses.create({
      model,
      input: [
        { role: "user", content: "What is the weather in Paris?" },
        ...called.output,
        { type: "function_call_output", call_id: call.call_id, output: "Sunny." },
      ],
      tools: [weather],
      tool_choice: "none",
      max_output_tokens: 16,
      temperature: 0,
    });
    const reasoning = answered.usage.output_tokens_details.reasoning_tokens;
    return { name: call.name, arguments: call.arguments, pieces, text: answered.output_text, reasoning };
  },
};

console.log(JSON.stringify(await wishes[process.argv[2]]()));
