"""The settings of keys, sessions and signing in."""

from typing import Annotated

from msgspec import Meta

from tokenyard.runtime.branch import Branch, Count, Seconds


class IdentitySettings(Branch, frozen=True):
    """Keys, web sessions and how people sign in."""

    session_seconds: Annotated[
        Seconds, Meta(description="How long a web sign-in lasts at most.")
    ] = 30 * 86_400.0
    session_idle_seconds: Annotated[
        Seconds, Meta(description="A web session that was not used for this long has ended.")
    ] = 7 * 86_400.0
    sign_in_link_seconds: Annotated[
        Seconds, Meta(description="How long a one-time sign-in link can be used.")
    ] = 3_600.0
    revision_seconds: Annotated[
        Seconds,
        Meta(
            description="How old may be what a gateway remembers of keys, sessions and roles; a "
            "revocation by another gateway takes effect within this time."
        ),
    ] = 0.5
    remembered_max: Annotated[
        Count, Meta(description="Keys and sessions that a gateway remembers.")
    ] = 10_000
    last_use_seconds: Annotated[
        Seconds, Meta(description="How often the last use of keys and sessions is written down.")
    ] = 30.0
    overlap_seconds_max: Annotated[
        Seconds,
        Meta(description="How long the secret before a rotation may be kept working."),
    ] = 30 * 86_400.0
