"""The settings of keys, sessions and signing in."""

from typing import Annotated

from msgspec import Meta

from tokenyard.runtime.branch import Branch, Count, Seconds


class ProviderSettings(Branch, frozen=True):
    """An OpenID Connect provider that people may sign in with."""

    name: Annotated[
        str,
        Meta(
            description="Its name in addresses and on the page.",
            pattern=r"^[a-z0-9][a-z0-9-]{0,30}$",
        ),
    ]
    issuer: Annotated[
        str,
        Meta(
            description="Its issuer; https, or http on a loopback address.",
            pattern=r"^(https://[^\s@?#]+|http://(localhost|127\.0\.0\.1|\[::1\])(:\d+)?(/[^\s?#]*)?)$",
        ),
    ]
    client_id: Annotated[str, Meta(min_length=1, description="What it calls this server.")]
    client_secret_variable: Annotated[
        str,
        Meta(
            description="The environment variable that holds the client's secret; empty for none.",
            pattern=r"^([A-Za-z_][A-Za-z0-9_]*)?$",
        ),
    ] = ""
    scopes: Annotated[tuple[str, ...], Meta(description="What is asked for.")] = (
        "openid",
        "email",
        "profile",
    )
    domains: Annotated[
        tuple[str, ...],
        Meta(
            description="Who has a confirmed address in one of these is made a user of the first "
            "organisation; others must be users already."
        ),
    ] = ()
    role: Annotated[
        str,
        Meta(
            description="What such a user is in the first project: `developer` or `viewer`.",
            pattern="^(developer|viewer)$",
        ),
    ] = "developer"


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
    keys_max: Annotated[
        Count, Meta(description="Keys of a project that work; further ones get 409 keys_limit.")
    ] = 1_000
    invitation_seconds: Annotated[
        Seconds, Meta(description="How long an invitation can be accepted.")
    ] = 7 * 86_400.0
    public_url: Annotated[
        str,
        Meta(
            description="The address that people reach this server at, for links and sign-in with "
            "a provider; empty takes it from each request.",
            pattern=r"^(https?://[^\s@/?#]+)?$",
        ),
    ] = ""
    providers: Annotated[
        tuple[ProviderSettings, ...],
        Meta(description="Who else may say who somebody is: `[[identity.providers]]`."),
    ] = ()
    provider_seconds: Annotated[
        Seconds, Meta(description="Longest wait for an answer of a provider.")
    ] = 10.0
    password_length_min: Annotated[
        int, Meta(ge=8, le=128, description="Shortest password, in characters.")
    ] = 12
    password_memory_kib: Annotated[
        int, Meta(ge=8, le=4 * 1024 * 1024, description="Memory of one argon2id hash.")
    ] = 65_536
    password_rounds: Annotated[int, Meta(ge=1, le=100, description="Passes of one hash.")] = 3
    password_checks_max: Annotated[
        Count, Meta(description="Passwords that are checked at the same time.")
    ] = 2
    password_checks_waiting_max: Annotated[
        Count, Meta(description="Sign-ins that may wait for that; further ones get 503.")
    ] = 64
    overlap_seconds_max: Annotated[
        Seconds,
        Meta(description="How long the secret before a rotation may be kept working."),
    ] = 30 * 86_400.0
