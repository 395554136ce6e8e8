"""The wire: OpenAI's requests, answers, errors and events, as engine and gateway speak them."""
