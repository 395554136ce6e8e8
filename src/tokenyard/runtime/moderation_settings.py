"""Settings of moderation: who looks at what is asked, and what follows."""

from typing import Annotated

from msgspec import Meta

from tokenyard.runtime.branch import Branch, Count, Seconds


class ModerationSettings(Branch, frozen=True):
    """A server that speaks OpenAI's Moderations API."""

    url: Annotated[
        str,
        Meta(
            description="Its address, with or without a final /v1; empty is none, and "
            "`/v1/moderations` then answers 404 moderation_not_configured.",
            pattern=r"^(https?://[^\s@/?#]+(/[^\s@?#]*)?)?$",
        ),
    ] = ""
    api_key_variable: Annotated[
        str,
        Meta(
            description="The environment variable that holds its key; empty means no key.",
            pattern=r"^([A-Za-z_][A-Za-z0-9_]*)?$",
        ),
    ] = ""
    model: Annotated[
        str, Meta(description="The model to ask where a request names none.", min_length=1)
    ] = "omni-moderation-latest"
    check: Annotated[
        str,
        Meta(
            description="`input` looks at what users and tools say before every generation, of "
            "chats and batches too; what is flagged gets 400 content_flagged.",
            pattern="^(off|input)$",
        ),
    ] = "off"
    away: Annotated[
        str,
        Meta(
            description="While it does not answer: `open` lets requests pass unchecked, `closed` "
            "refuses them with 503 moderation_unavailable.",
            pattern="^(open|closed)$",
        ),
    ] = "closed"
    seconds: Annotated[Seconds, Meta(description="Longest wait for its answer.")] = 5.0
    turns_max: Annotated[
        Count, Meta(description="How many turns of a conversation are looked at, the newest.")
    ] = 16
