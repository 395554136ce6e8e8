"""Identity tokens of OpenID Connect providers: whether a signature and its claims hold.

Apart from `openid`, which loads it with the first sign-in: the library behind it costs every
process 8 MB. Source: OpenID Connect Core 1.0, section 3.1.3.7.
"""

from collections.abc import Mapping
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from tokenyard.vocabulary.errors import TokenyardError, Unauthenticated
from tokenyard.vocabulary.reasons import Reason

# Signatures that only the provider can make; none with a shared secret, and never none at all.
_ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"]
_LEEWAY_SECONDS = 60


def read_keys(told: Mapping[str, Any]) -> KeySet:
    """The keys that a provider publishes; raises Unauthenticated when they are none."""
    try:
        return KeySet.import_key_set(told)  # type: ignore[arg-type]
    except (JoseError, ValueError) as error:
        raise _does_not_hold(error) from error


def read_claims(token: str, keys: KeySet) -> dict[str, Any]:
    """What a token says that one of these keys has signed; raises Unauthenticated."""
    try:
        return jwt.decode(token, keys, algorithms=_ALGORITHMS).claims
    except (JoseError, ValueError) as error:
        raise _does_not_hold(error) from error


def check_claims(
    claims: dict[str, Any], *, now: float, issuer: str, client_id: str, nonce: str
) -> None:
    """Raise Unauthenticated unless they are of now, by the issuer, for us and for this sign-in."""
    registry = jwt.JWTClaimsRegistry(
        now=int(now),
        leeway=_LEEWAY_SECONDS,
        iss={"essential": True, "value": issuer},
        aud={"essential": True, "value": client_id},
        sub={"essential": True},
        exp={"essential": True},
        iat={"essential": True},
        nonce={"essential": True, "value": nonce},
    )
    try:
        registry.validate(claims)
    except (JoseError, ValueError) as error:
        raise _does_not_hold(error) from error


def _does_not_hold(error: Exception) -> TokenyardError:
    return Unauthenticated(
        f"The sign-in with the provider failed: its token does not hold ({type(error).__name__}).",
        reason=Reason.SIGN_IN_FAILED,
    )
