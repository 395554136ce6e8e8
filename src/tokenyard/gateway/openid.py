"""Signing in with an OpenID Connect provider: the code flow with PKCE, state and nonce.

What has to be remembered between the way there and the way back lies in a cookie of the browser
that went, so that any gateway can take the way back, and no other browser. Signatures and claims
are checked by `signed_tokens`. Source: OpenID Connect Core 1.0, sections 3.1 and 3.1.3.7; RFC 7636.
"""

import base64
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import msgspec

from tokenyard.runtime.clock import Clock
from tokenyard.runtime.identity_settings import ProviderSettings
from tokenyard.runtime.randomness import Randomness, base62
from tokenyard.upstreams.openid_client import OpenIdClient
from tokenyard.vocabulary.errors import NotFound, TokenyardError, Unauthenticated, UpstreamFailed
from tokenyard.vocabulary.reasons import Reason

if TYPE_CHECKING:
    from joserfc.jwk import KeySet

_DESCRIPTION_SECONDS = 3_600.0
_SECRET_CHARACTERS = 43


class Journey(msgspec.Struct, frozen=True):
    """What the browser carries on the way to the provider and back."""

    provider: str
    state: str
    nonce: str
    verifier: str

    def pack(self) -> str:
        """As the value of a cookie."""
        return base64.urlsafe_b64encode(msgspec.json.encode(self)).decode().rstrip("=")


@dataclass(frozen=True, slots=True)
class Claims:
    """Who the provider says that it is."""

    issuer: str
    subject: str
    # In lower case, and only when the provider has confirmed it.
    email: str | None
    name: str


@dataclass(slots=True)
class _Described:
    at: float
    authorization_endpoint: str
    token_endpoint: str
    keys_address: str
    keys: "KeySet | None" = None


class OpenId:
    """The providers that the settings name."""

    def __init__(
        self,
        providers: tuple[ProviderSettings, ...],
        client_secrets: Mapping[str, str],
        client: OpenIdClient,
        *,
        clock: Clock,
        randomness: Randomness,
    ) -> None:
        self._providers = {provider.name: provider for provider in providers}
        self._client_secrets = client_secrets
        self._client = client
        self._clock = clock
        self._randomness = randomness
        self._described: dict[str, _Described] = {}

    @property
    def names(self) -> list[str]:
        """The providers, as they are called."""
        return list(self._providers)

    def provider(self, name: str) -> ProviderSettings:
        """What the settings say of it; raises NotFound."""
        found = self._providers.get(name)
        if found is None:
            raise NotFound(f"There is no sign-in provider '{name}'.", param="provider")
        return found

    async def begin(self, name: str, back: str) -> tuple[str, Journey]:
        """Where to send the browser, and what it is to carry. back: where it shall return to."""
        provider = self.provider(name)
        described = await self._describe(provider)
        journey = Journey(name, self._secret(), self._secret(), self._secret())
        digest = hashlib.sha256(journey.verifier.encode()).digest()
        asked = {
            "response_type": "code",
            "client_id": provider.client_id,
            "redirect_uri": back,
            "scope": " ".join(provider.scopes),
            "state": journey.state,
            "nonce": journey.nonce,
            "code_challenge": base64.urlsafe_b64encode(digest).decode().rstrip("="),
            "code_challenge_method": "S256",
        }
        mark = "&" if "?" in described.authorization_endpoint else "?"
        return f"{described.authorization_endpoint}{mark}{urlencode(asked)}", journey

    async def finish(self, name: str, packed: str, answer: Mapping[str, str], back: str) -> Claims:
        """Who came back. packed: what the browser carried; answer: the query it came back with.

        Raises Unauthenticated for whatever does not fit.
        """
        provider = self.provider(name)
        journey = _unpack(packed)
        state = answer.get("state", "")
        if (
            journey is None
            or journey.provider != name
            or not hmac.compare_digest(journey.state.encode(), state.encode())
        ):
            raise _failed("this browser did not begin it")
        code = answer.get("code")
        if not code:
            raise _failed("the provider gave no code")
        # A provider that names itself in the answer must be the one that was asked (RFC 9207).
        if answer.get("iss", provider.issuer) != provider.issuer:
            raise _failed("another provider answered")
        token = await self._exchange(provider, code, journey.verifier, back)
        return await self._check(provider, token, journey.nonce)

    async def _exchange(
        self, provider: ProviderSettings, code: str, verifier: str, back: str
    ) -> str:
        described = await self._describe(provider)
        secret = self._client_secrets.get(provider.name)
        fields = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": back,
            "client_id": provider.client_id,
            "code_verifier": verifier,
        }
        basic = None if secret is None else (provider.client_id, secret)
        told = await self._client.post(described.token_endpoint, fields, basic=basic)
        token = told.get("id_token")
        if not isinstance(token, str):
            raise _failed("the provider gave no identity")
        return token

    async def _check(self, provider: ProviderSettings, token: str, nonce: str) -> Claims:
        from tokenyard.gateway.signed_tokens import check_claims  # noqa: PLC0415

        claims = await self._verify(provider, token)
        check_claims(
            claims,
            now=self._clock.now(),
            issuer=provider.issuer,
            client_id=provider.client_id,
            nonce=nonce,
        )
        # A token for several parties has to say that it was made for this one.
        audience = claims["aud"]
        several = isinstance(audience, list) and len(audience) > 1
        if claims.get("azp", None if several else provider.client_id) != provider.client_id:
            raise _failed("its token was made for somebody else")
        email = claims.get("email")
        confirmed = claims.get("email_verified") is True and isinstance(email, str)
        return Claims(
            provider.issuer,
            str(claims["sub"]),
            str(email).lower() if confirmed else None,
            str(claims.get("name") or claims.get("preferred_username") or ""),
        )

    async def _verify(self, provider: ProviderSettings, token: str) -> dict[str, Any]:
        # Loads the library, which nobody needs who has no provider.
        from tokenyard.gateway.signed_tokens import read_claims, read_keys  # noqa: PLC0415

        described = await self._describe(provider)
        if described.keys is not None:
            try:
                return read_claims(token, described.keys)
            except Unauthenticated:
                # The provider may have changed its keys since they were fetched.
                described.keys = None
        described.keys = read_keys(await self._client.get(described.keys_address))
        return read_claims(token, described.keys)

    async def _describe(self, provider: ProviderSettings) -> _Described:
        known, now = self._described.get(provider.name), self._clock.monotonic()
        if known is not None and now - known.at < _DESCRIPTION_SECONDS:
            return known
        address = f"{provider.issuer.rstrip('/')}/.well-known/openid-configuration"
        told = await self._client.get(address)
        if told.get("issuer") != provider.issuer:
            raise UpstreamFailed("The sign-in provider calls itself something else.")
        endpoints = [
            told.get(name) for name in ("authorization_endpoint", "token_endpoint", "jwks_uri")
        ]
        secure = provider.issuer.startswith("https://")
        for endpoint in endpoints:
            if not isinstance(endpoint, str) or (secure and not endpoint.startswith("https://")):
                raise UpstreamFailed("The sign-in provider's description lacks an address.")
        authorise, exchange, keys = map(str, endpoints)
        described = _Described(now, authorise, exchange, keys)
        self._described[provider.name] = described
        return described

    def _secret(self) -> str:
        return base62(self._randomness.bytes(40), _SECRET_CHARACTERS)


def _unpack(packed: str) -> Journey | None:
    try:
        data = base64.urlsafe_b64decode(packed + "=" * (-len(packed) % 4))
        return msgspec.json.decode(data, type=Journey)
    except (ValueError, msgspec.DecodeError):
        return None


def _failed(why: str) -> TokenyardError:
    return Unauthenticated(
        f"The sign-in with the provider failed: {why}.", reason=Reason.SIGN_IN_FAILED
    )
