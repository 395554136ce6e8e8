// vercel's resumable-stream, as a process: `node server.mjs VALKEY_URL`.
//
// The same words at the same pace as ours, from node's own HTTP server; an answer that is read
// again comes from its producer by pub/sub, from the beginning. Prints its port.

import { createServer } from "node:http";
import { createClient } from "redis";
import { createResumableStreamContext } from "resumable-stream";

const url = process.argv[2];
const [publisher, subscriber] = [createClient({ url }), createClient({ url })];
await Promise.all([publisher.connect(), subscriber.connect()]);
const streams = createResumableStreamContext({ waitUntil: null, publisher, subscriber });
let count = 0;

// CLOCK_MONOTONIC, which the readers look at as well.
const now = () => (Number(process.hrtime.bigint()) / 1e9).toFixed(6);

function write(pace) {
  let timer;
  let number = 0;
  return new ReadableStream({
    start(controller) {
      const say = () => {
        const data = {
          type: "response.output_text.delta",
          sequence_number: number,
          item_id: "msg_0123456789abcdef01234567",
          delta: `${now()} `,
          output_index: 0,
          content_index: 0,
          logprobs: [],
        };
        controller.enqueue(
          `event: response.output_text.delta\nid: ${number}\ndata: ${JSON.stringify(data)}\n\n`,
        );
        number += 1;
      };
      say();
      if (pace > 0) timer = setInterval(say, 1000 / pace);
    },
    cancel: () => clearInterval(timer),
  });
}

async function send(response, stream, headers) {
  response.writeHead(200, { "content-type": "text/event-stream", ...headers });
  // A server pushes, one write for each event.
  for await (const piece of stream) response.write(piece);
  response.end();
}

async function create(request, response) {
  let body = "";
  for await (const part of request) body += part;
  count += 1;
  const id = `resp_${count.toString(16).padStart(24, "0")}`;
  const stream = await streams.createNewResumableStream(id, () =>
    write(Number(JSON.parse(body).input)),
  );
  await send(response, stream, { "x-response-id": id });
}

async function get(request, response) {
  const id = new URL(request.url, "http://localhost").pathname.split("/").at(-1);
  const stream = await streams.resumeExistingStream(id);
  if (stream) await send(response, stream, {});
  else response.writeHead(404).end();
}

const server = createServer((request, response) => {
  const answer = request.method === "POST" ? create : get;
  answer(request, response).catch(() => response.destroy());
});
server.listen({ host: "127.0.0.1", port: 0, backlog: 2048 }, () => {
  console.log(JSON.stringify({ port: server.address().port, key: "none" }));
});
