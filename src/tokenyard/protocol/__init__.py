"""The wire: OpenAI's requests, answers, errors and server-sent events as the engine, the upstreams and the gateway all speak them."""
