"""Settings of the ledger: prices, budgets, and how long money stays set aside."""

from typing import Annotated

from msgspec import Meta

from tokenyard.runtime.branch import Branch, Count, Seconds

Decimals = Annotated[str, Meta(pattern=r"^\d{1,9}(\.\d{1,9})?$")]
Amount = Annotated[str, Meta(pattern=r"^(\d{1,9}(\.\d{1,9})?)?$")]
Part = Annotated[str, Meta(pattern=r"^\d{1,6}(/[1-9]\d{0,5})?$")]
Day = Annotated[str, Meta(pattern=r"^(\d{4}-\d{2}-\d{2})?$")]


class PriceSettings(Branch, frozen=True):
    """What one million tokens of a model cost; decimal numbers as text, so that they stay exact."""

    model: Annotated[str, Meta(description="Model name; `*` stands for every other one.")]
    input: Annotated[Decimals, Meta(description="Price of a million prompt tokens.")]
    cached_input: Annotated[Decimals, Meta(description="The same from the prefix cache.")]
    output: Annotated[Decimals, Meta(description="Price of a million answer tokens.")]
    reasoning: Annotated[
        Amount, Meta(description="Price of a million reasoning tokens; empty means as `output`.")
    ] = ""
    upstream: Annotated[
        str, Meta(description="The model server that this holds for; `*` is any.")
    ] = "*"
    since: Annotated[
        Day,
        Meta(description="First day (UTC) on which it holds, as 2026-11-23; empty means always."),
    ] = ""


class GpuPriceSettings(Branch, frozen=True):
    """What an hour of one GPU costs in a job."""

    kind: Annotated[str, Meta(description="Kind of GPU as its node tells it; `*` is any other.")]
    hour: Annotated[Decimals, Meta(description="Price of an hour of one GPU.")]


class LedgerSettings(Branch, frozen=True):
    """What it costs."""

    currency: Annotated[str, Meta(description="ISO 4217 code.", pattern="^[A-Z]{3}$")] = "USD"
    prices: Annotated[
        tuple[PriceSettings, ...],
        Meta(description="The price book: the first match counts, of one name the newest."),
    ] = (
        PriceSettings(
            model="smollm2-135m-instruct", input="0.02", cached_input="0.002", output="0.08"
        ),
        PriceSettings(model="*", input="0", cached_input="0", output="0"),
    )
    gpu_prices: Annotated[
        tuple[GpuPriceSettings, ...], Meta(description="What GPU-seconds of jobs cost.")
    ] = (GpuPriceSettings(kind="*", hour="0"),)
    monthly_budget: Annotated[
        str,
        Meta(
            description="What each project may spend in a calendar month (UTC), as a decimal "
            "number, unless it has a budget of its own; empty means no limit.",
            pattern=r"^(\d{1,9}(\.\d{1,9})?)?$",
        ),
    ] = ""
    batch_factor: Annotated[
        Part, Meta(description="What a line of a batch costs, as an exact part of the price.")
    ] = "1/2"
    flex_factor: Annotated[
        Part, Meta(description="The same for requests of the service tier `flex`.")
    ] = "1/2"
    priority_factor: Annotated[
        Part, Meta(description="The same for requests of the service tier `priority`.")
    ] = "2"
    reservations_max: Annotated[
        Count, Meta(description="Reservations that may be open at once; further ones get 503.")
    ] = 100_000
    holder_seconds: Annotated[
        Seconds,
        Meta(
            description="Money that a process set aside comes back when nothing was heard of the "
            "process for this long."
        ),
    ] = 30.0
    enter_seconds: Annotated[
        Seconds,
        Meta(
            description="Money that is set aside under no budget is entered into the journal when "
            "the work lasts longer than this; the bill of what is shorter is its only entry."
        ),
    ] = 0.25
    budgets_seconds: Annotated[
        Seconds, Meta(description="How often budgets are read anew, and warnings looked for.")
    ] = 2.0
    webhook_attempts_max: Annotated[
        Count, Meta(description="How often the warning of a budget is sent until it is taken.")
    ] = 5
    webhook_secret_variable: Annotated[
        str,
        Meta(
            description="The environment variable that holds the secret with which warnings are "
            "signed, `whsec_` and base64 or any text; empty signs none.",
            pattern=r"^([A-Za-z_][A-Za-z0-9_]*)?$",
        ),
    ] = ""
    webhook_hosts: Annotated[
        tuple[str, ...],
        Meta(description="Hosts, as name or name:port, that warnings may be sent to; no others."),
    ] = ()
