"""Search, shared links and retention through the whole gateway."""

from typing import Any

from support.yards import FakeYard, open_fake_yard
from tokenyard.runtime.chat_settings import ChatSettings, TitleSource
from tokenyard.runtime.settings import Settings
from unit.gateway.test_threads import ask, new_conversation

DAY = 86_400


async def share(yard: FakeYard, conversation: str) -> Any:
    answer = await yard.client.call("POST", f"/api/conversations/{conversation}/shares")
    assert answer.status == 200, answer.body
    return answer.json()


async def test_a_message_is_found_with_its_surroundings(yard: FakeYard) -> None:
    conversation = await new_conversation(yard)
    await ask(yard, "How does a steam engine work?", conversation=conversation)
    told = (await yard.client.call("GET", "/api/search?q=steam+eng")).json()
    (hit,) = told["data"]
    assert (hit["conversation_id"], hit["role"]) == (conversation, "user")
    assert [part["text"] for part in hit["snippet"] if part["match"]] == ["steam", "eng"]
    for query in ("", "?q=", "?q=...", "?q=" + "x" * 501):
        refused = await yard.client.call("GET", f"/api/search{query}")
        assert (refused.status, refused.error["param"]) == (400, "q"), query


async def test_a_link_shows_a_branch_as_it_was_until_it_is_revoked(yard: FakeYard) -> None:
    conversation = await new_conversation(yard)
    await ask(yard, "one", conversation=conversation, instructions="Secret.")
    made = await share(yard, conversation)
    await ask(yard, "two", conversation=conversation)
    target = f"/api/shared/{made['secret']}"
    seen = await yard.stranger.call("GET", target)
    texts = [one["content"][0]["text"] for one in seen.json()["items"]]
    assert texts == ["one", "Hello, world."]
    assert seen.headers["x-robots-tag"] == "noindex"
    listed = (await yard.client.call("GET", f"/api/conversations/{conversation}/shares")).json()
    assert [(one["id"], one["secret"]) for one in listed["data"]] == [(made["id"], None)]
    assert made["secret"] not in str(yard.store.state.shares)
    assert (await yard.stranger.call("DELETE", f"/api/shares/{made['id']}")).status == 401
    assert (await yard.client.call("DELETE", f"/api/shares/{made['id']}")).status == 200
    for gone in (target, "/api/shared/x", "/api/shared/" + "x" * 99):
        assert (await yard.stranger.call("GET", gone)).status == 404


async def test_what_is_too_old_is_deleted() -> None:
    chat = ChatSettings(
        titles=TitleSource.NOBODY,
        conversations_kept_days=2,
        responses_kept_days=1,
        unstored_kept_seconds=60,
    )
    async with open_fake_yard(Settings(chat=chat)) as built:
        conversation = await new_conversation(built)
        await ask(built, "one", conversation=conversation)
        alone = await ask(built, "two")
        await ask(built, "three", store=False)
        archive = built.chat.archive

        async def there() -> list[int]:
            targets = (f"/v1/conversations/{conversation}", f"/v1/responses/{alone['id']}")
            return [(await built.client.call("GET", target)).status for target in targets]

        assert await archive.sweep() == 0
        await built.clock.advance(61)
        assert await archive.sweep() == 1
        await built.clock.jump(1.5 * DAY)
        assert await archive.sweep() == 1
        assert await there() == [200, 404]
        await built.clock.jump(DAY)
        assert await archive.sweep() == 1
        assert await there() == [404, 404]
        assert not built.store.state.item_ids


async def test_as_many_links_as_allowed() -> None:
    chat = ChatSettings(titles=TitleSource.NOBODY, shares_max=1)
    async with open_fake_yard(Settings(chat=chat)) as built:
        conversation = await new_conversation(built)
        await share(built, conversation)
        answer = await built.client.call("POST", f"/api/conversations/{conversation}/shares")
        assert (answer.status, answer.error["code"]) == (429, "shares_limit")
