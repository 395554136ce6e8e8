"""Models: servers and aliases are added, changed and taken away; replicas stand beside the jobs."""

import re
from collections.abc import Callable

from playwright.sync_api import expect

from acceptance.browser import Window
from acceptance.yard import MODEL, Yard

OpenWindow = Callable[..., Window]


def test_a_model_server_is_added_changed_and_removed(open_window: OpenWindow, yard: Yard) -> None:
    window = open_window(path="/models")
    page = window.page
    window.button("New model server").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Name", exact=True).fill("elsewhere")
    # No such host, so it is down.
    dialog.get_by_label("Address").fill("http://models.invalid/v1")
    assert window.violations() == []
    dialog.get_by_role("button", name="Add the server").click()
    row = page.get_by_role("row", name=re.compile("^elsewhere"))
    expect(row).to_contain_text(re.compile("down|loading"))
    expect(row).to_contain_text("1 · 0")
    row.get_by_role("button", name="Edit").click()
    dialog.get_by_label("Weight").fill("3")
    dialog.get_by_label("Switched off").check()
    dialog.get_by_role("button", name="Save").click()
    expect(row).to_contain_text("switched off")
    expect(row).to_contain_text("3 · 0")
    row.get_by_role("button", name="Remove").click()
    expect(row).to_have_count(0)
    names = [each["name"] for each in yard.request("GET", "/api/upstreams").json()["data"]]
    assert "elsewhere" not in names


def test_an_alias_answers_until_it_is_taken_away(open_window: OpenWindow, yard: Yard) -> None:
    window = open_window(path="/models")
    page = window.page
    window.button("New alias").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Name", exact=True).fill("harbour-model")
    dialog.get_by_label("Answered by").fill(f"{MODEL} nine")
    expect(page.get_by_role("alert")).to_contain_text("whole number")
    dialog.get_by_label("Answered by").fill(MODEL)
    assert window.violations() == []
    dialog.get_by_role("button", name="Save").click()
    row = page.get_by_role("row", name=re.compile("^harbour-model"))
    expect(row).to_contain_text(MODEL)
    asked = {
        "model": "harbour-model",
        "messages": [{"role": "user", "content": "Hello."}],
        "max_completion_tokens": 1,
    }
    assert yard.request("POST", "/v1/chat/completions", asked).status == 200
    # A silence and tags are part of it; no server here has that tag.
    row.get_by_role("button", name="Edit").click()
    dialog.get_by_label("Ask a second server after").fill("1.5")
    dialog.get_by_label("Tags").fill("elsewhere")
    dialog.get_by_role("button", name="Save").click()
    expect(row).to_contain_text("1,500 ms")
    expect(row).to_contain_text("only servers with elsewhere")
    routes = yard.request("GET", "/api/model-routes").json()["data"]
    [route] = [each for each in routes if each["name"] == "harbour-model"]
    assert (route["hedge_milliseconds"], route["tags"]) == (1_500, ["elsewhere"])
    refused = yard.request("POST", "/v1/chat/completions", asked).json()
    assert refused["error"]["code"] == "tags_unserved"
    row.get_by_role("button", name="Remove").click()
    expect(row).to_have_count(0)
    assert yard.request("POST", "/v1/chat/completions", asked).status == 404


def test_replicas_that_serve_stand_beside_the_nodes(open_window: OpenWindow) -> None:
    window = open_window(path="/cluster")
    row = window.page.get_by_role("row", name=re.compile("^engine-0"))
    expect(row).to_contain_text("ready")
    expect(row).to_contain_text(MODEL)
    expect(row.get_by_role("meter", name=re.compile("KV cache"))).to_be_visible()
