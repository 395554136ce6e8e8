"""What was used and what it cost, as callers of different standing may see it."""

import csv
import io
from typing import Any

import pytest

from support.yards import MODEL, FakeYard, open_fake_yard
from tokenyard.runtime.ledger_settings import LedgerSettings, PriceSettings
from tokenyard.runtime.settings import Settings

# One nano for a token in, none from the cache, two for a token out.
PRICES = (PriceSettings(model="*", input="0.001", cached_input="0", output="0.002"),)
SETTINGS = Settings(ledger=LedgerSettings(prices=PRICES))
ASK = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 8}
USAGE = "/v1/organization/usage/completions"
BUDGETS = "/api/organisation/budgets"


@pytest.fixture
async def answered() -> Any:
    """Two answers of 7 + 4 tokens, 3 of them cached the second time."""
    async with open_fake_yard(SETTINGS) as yard:
        assert (await yard.client.call("POST", "/v1/chat/completions", json_body=ASK)).status == 200
        yard.upstream.script.cached_tokens = 3
        assert (await yard.client.call("POST", "/v1/chat/completions", json_body=ASK)).status == 200
        yield yard


async def test_usage_by_day_has_every_day_and_the_names_that_were_asked_for(
    answered: FakeYard,
) -> None:
    page = (await answered.client.call("GET", f"{USAGE}?group_by=model,project_id&limit=3")).json()
    assert [len(bucket["results"]) for bucket in page["data"]][-1] == 1
    assert len(page["data"]) in (3, 4)
    (result,) = page["data"][-1]["results"]
    assert (result["model"], result["user_id"]) == (MODEL, None)
    assert result["num_model_requests"] == 2
    assert (result["input_tokens"], result["output_tokens"]) == (14, 8)
    assert (result["input_cached_tokens"], result["cost_nanos"]) == (3, 11 + 16)
    assert result["cache_saved_nanos"] == 3
    assert not page["has_more"]


async def test_pages_follow_each_other(answered: FakeYard) -> None:
    now = int(answered.clock.now())
    path = f"{USAGE}?bucket_width=1h&limit=2&start_time={now - 5 * 3600}&end_time={now + 1}"
    starts, page = [], ""
    for _ in range(9):
        told = (await answered.client.call("GET", path + page)).json()
        starts += [bucket["start_time"] for bucket in told["data"]]
        if not told["has_more"]:
            break
        page = f"&page={told['next_page']}"
    assert starts == sorted(set(starts))
    assert starts[-1] <= now < starts[-1] + 3600


async def test_costs_as_openai_spells_them(answered: FakeYard) -> None:
    page = (await answered.client.call("GET", "/v1/organization/costs?group_by[]=line_item")).json()
    (result,) = page["data"][-1]["results"]
    assert result["line_item"] == MODEL
    assert result["amount"] == {"value": 27e-9, "currency": "usd", "nanos": 27}


async def test_the_table_has_the_same_sums(answered: FakeYard) -> None:
    answer = await answered.client.call("GET", "/api/usage.csv?group_by=model&bucket_width=1d")
    (row,) = csv.DictReader(io.StringIO(answer.body.decode()))
    assert (row["model"], row["cost_nanos"], row["input_tokens"]) == (MODEL, "27", "14")


async def test_the_month_tells_what_is_spent_and_where_it_leads(answered: FakeYard) -> None:
    month = (await answered.client.call("GET", "/api/usage/month")).json()
    assert [one["scope"] for one in month["standings"]] == [
        "key", "user", "project", "organisation",
    ]  # fmt: skip
    assert {one["spent_nanos"] for one in month["standings"]} == {27}
    assert all(one["forecast_nanos"] >= 27 for one in month["standings"])
    assert (month["cache_saved_nanos"], month["requests"]) == (3, 2)


async def test_an_estimate_before_a_turn_is_sent(answered: FakeYard) -> None:
    asked = {"model": MODEL, "input_tokens": 10, "cached_tokens": 4, "output_tokens_max": 5}
    told = (await answered.client.call("POST", "/api/usage/estimate", json_body=asked)).json()
    assert told == {
        "currency": "USD", "least_nanos": 6, "most_nanos": 16, "cache_saved_nanos": 4,
    }  # fmt: skip
    asked["cached_tokens"] = 11
    assert (
        await answered.client.call("POST", "/api/usage/estimate", json_body=asked)
    ).status == 400


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("group_by=colour", "group_by"),
        ("bucket_width=1w", "bucket_width"),
        ("start_time=5&end_time=5", "end_time"),
        ("page=x", "page"),
        ("limit=0", "limit"),
    ],
)
async def test_a_question_that_makes_no_sense_is_named(
    answered: FakeYard, query: str, param: str
) -> None:
    answer = await answered.client.call("GET", f"{USAGE}?{query}")
    assert (answer.status, answer.error["param"]) == (400, param)


async def test_a_budget_is_set_kept_and_lifted(answered: FakeYard) -> None:
    body = {"scope": "project", "subject": "proj_default", "hard_nanos": 30, "soft_nanos": 20}
    made = (await answered.client.call("POST", BUDGETS, json_body=body)).json()
    assert (await answered.client.call("GET", BUDGETS)).json()["data"] == [made]
    denied = await answered.client.call("POST", "/v1/chat/completions", json_body=ASK)
    assert (denied.status, denied.error["code"]) == (429, "insufficient_quota")
    assert "project's monthly budget" in denied.error["message"]
    assert (await answered.client.call("DELETE", f"{BUDGETS}/{made['id']}")).status == 200
    assert (await answered.client.call("DELETE", f"{BUDGETS}/{made['id']}")).status == 404
    assert (await answered.client.call("POST", "/v1/chat/completions", json_body=ASK)).status == 200


async def test_a_webhook_goes_only_where_the_operator_allows(answered: FakeYard) -> None:
    body = {"scope": "project", "subject": "proj_default", "soft_nanos": 1}
    for url in ("http://10.0.0.1/x", "ftp://hooks.test/x", "https://me@hooks.test/"):
        answer = await answered.client.call("POST", BUDGETS, json_body={**body, "webhook": url})
        assert (answer.status, answer.error["param"]) == (400, "webhook")
