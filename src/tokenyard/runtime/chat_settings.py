"""Settings of conversations, their streams, and stored prompts."""

from enum import StrEnum
from typing import Annotated

from msgspec import Meta

from tokenyard.runtime.branch import Branch, Count, Seconds


class TitleSource(StrEnum):
    """Where titles come from."""

    MODEL = "model"
    QUESTION = "question"
    NOBODY = "nobody"


class ChatSettings(Branch, frozen=True):
    """Conversations and their streams."""

    stream_events_max: Annotated[
        Count, Meta(description="Events that the log of one response may hold before its end.")
    ] = 100_000
    streams_kept_seconds: Annotated[
        Seconds, Meta(description="How long the log of a finished response can be replayed.")
    ] = 600.0
    conversation_items_max: Annotated[
        Count, Meta(description="Items that one conversation may hold.")
    ] = 10_000
    answer_tokens_min: Annotated[
        Count,
        Meta(
            description="Tokens of the window that are kept for the answer when a request does "
            "not say how long it may be; at most half of the window."
        ),
    ] = 512
    token_counts_max: Annotated[
        Count, Meta(description="Counts of prompts that are remembered.")
    ] = 10_000
    titles: Annotated[
        TitleSource,
        Meta(
            description="Who gives a conversation its title after the first answer: the `model`, "
            "the `question` (its first words), or `nobody`."
        ),
    ] = TitleSource.MODEL
    summary_tokens_max: Annotated[
        Count, Meta(description="How long a summary of older turns may be.")
    ] = 512
    asides_priority: Annotated[
        int,
        Meta(
            ge=0,
            le=1_000_000,
            description="Class that summaries and titles have in the model server's queue; answers "
            "have 0, and lower comes first. 0 sends none, for servers that refuse it.",
        ),
    ] = 50
    conversations_kept_days: Annotated[
        float,
        Meta(
            ge=0,
            description="Conversations that nobody has used for so long are deleted with all that "
            "is in them, pinned ones too; 0 keeps them.",
        ),
    ] = 0.0
    responses_kept_days: Annotated[
        float,
        Meta(ge=0, description="The same for responses outside conversations; 0 keeps them."),
    ] = 0.0
    unstored_kept_seconds: Annotated[
        Seconds,
        Meta(description="How long after its end a response with `store: false` is deleted."),
    ] = 600.0
    sweep_seconds: Annotated[
        Seconds, Meta(description="How often what is no longer to be kept is looked for.")
    ] = 60.0
    shares_max: Annotated[
        Count, Meta(description="Shared links of a project; further ones get 429.")
    ] = 10_000
    import_conversations_max: Annotated[
        Count, Meta(description="Conversations that one import may bring.")
    ] = 10_000
    attachment_bytes_max: Annotated[
        Count, Meta(description="Longest file that is read as text for a model.")
    ] = 16 * 1024 * 1024
    attachment_characters_max: Annotated[
        Count, Meta(description="Text of one such file; longer ones are refused, not cut.")
    ] = 1_000_000
    documents_at_once: Annotated[
        Count, Meta(description="PDFs that are read at the same time; further ones wait.")
    ] = 2
    pdf_pages_max: Annotated[Count, Meta(description="Pages of a PDF.")] = 1_000
    pdf_seconds: Annotated[
        Seconds, Meta(description="Time after which reading a PDF is given up.")
    ] = 20.0
    pdf_memory_bytes: Annotated[Count, Meta(description="Memory that reading a PDF may take.")] = (
        1024 * 1024 * 1024
    )
    prompts_max: Annotated[
        Count, Meta(description="Prompts of a project; further ones get 429.")
    ] = 10_000
    prompt_versions_max: Annotated[
        Count, Meta(description="Versions of a prompt; further ones get 429.")
    ] = 10_000
    prompt_labels_max: Annotated[Count, Meta(description="Labels of a prompt.")] = 32
    ring_events_max: Annotated[
        Count,
        Meta(description="Newest events of a running answer that are kept in memory for readers."),
    ] = 1_024
    beat_seconds: Annotated[
        Seconds, Meta(description="How often a gateway beside others tells that it is alive.")
    ] = 0.4
    lease_seconds: Annotated[
        Seconds,
        Meta(description="A gateway that was silent for this long loses its answers to others."),
    ] = 2.0
    continue_seconds: Annotated[
        Seconds,
        Meta(
            description="How long an answer whose model server died waits for one that goes on "
            "with it."
        ),
    ] = 60.0
    continue_attempts_max: Annotated[
        Count,
        Meta(
            description="How often in a row a model server may break an answer off without a "
            "further token."
        ),
    ] = 3
