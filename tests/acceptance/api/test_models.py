"""Models, health, metrics and the description, as a client first meets them."""

import openai
import pytest

from acceptance.wire import check
from acceptance.yard import MODEL, Yard


def test_models_are_listed(client: openai.OpenAI) -> None:
    listed = client.models.with_raw_response.list()
    check("models", listed.http_response.json())
    assert [model.id for model in listed.parse()] == [MODEL]


def test_one_model_is_described(client: openai.OpenAI) -> None:
    raw = client.models.with_raw_response.retrieve(MODEL)
    check("model", raw.http_response.json())
    assert raw.parse().id == MODEL


def test_a_text_becomes_tokens_and_text_again(yard: Yard, client: openai.OpenAI) -> None:
    text = "Zwölf Boxkämpfer jagen Viktor."
    told = yard.request("POST", "/tokenize", {"model": MODEL, "prompt": text}).json()
    assert told["count"] == len(told["tokens"]) > 5
    back = yard.request("POST", "/detokenize", {"model": MODEL, "tokens": told["tokens"]}).json()
    assert back["prompt"] == text
    beyond = yard.request("POST", "/detokenize", {"model": MODEL, "tokens": [10**6]})
    assert (beyond.status, beyond.json()["error"]["param"]) == (400, "tokens")


def test_what_is_counted_before_is_what_is_billed_after(yard: Yard, client: openai.OpenAI) -> None:
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]
    asked = {"model": MODEL, "messages": turns}
    chat = yard.request("POST", "/v1/chat/completions/input_tokens", asked).json()
    told = client.responses.input_tokens.count(model=MODEL, input="Hello", instructions="Be brief.")
    made = client.chat.completions.create(model=MODEL, messages=turns, max_tokens=1)  # type: ignore[arg-type]
    assert made.usage is not None
    assert chat["input_tokens"] == told.input_tokens == made.usage.prompt_tokens


def test_an_unknown_model_is_not_found(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("gpt-9")
    assert caught.value.code == "model_not_found"


@pytest.mark.parametrize("path", ["/health/live", "/health/ready"])
def test_health_needs_no_key(yard: Yard, path: str) -> None:
    assert yard.request("GET", path, signed=False).status == 200


def test_metrics_are_prometheus_text(yard: Yard) -> None:
    answer = yard.request("GET", "/metrics")
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/plain")
    assert "tokenyard_gateway_requests_total" in answer.body.decode()


def test_the_description_names_the_routes(yard: Yard) -> None:
    assert yard.request("GET", "/docs", signed=False).status == 200
    document = yard.request("GET", "/openapi.json", signed=False).json()
    assert document["openapi"].startswith("3.1")
    assert {"/v1/models", "/v1/chat/completions", "/v1/responses"} <= set(document["paths"])


def test_the_page_is_served(yard: Yard) -> None:
    answer = yard.request("GET", "/", signed=False)
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/html")
    assert b"<script" in answer.body
