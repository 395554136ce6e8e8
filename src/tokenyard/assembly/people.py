"""Who may come in: keys, sessions, people, and the providers that they sign in with."""

from collections.abc import Mapping

from tokenyard.assembly.ground import Ground
from tokenyard.gateway.reception import IdentityStores, Reception, make_reception
from tokenyard.runtime.identity_settings import IdentitySettings
from tokenyard.upstreams.openid_client import OpenIdClient
from tokenyard.vocabulary.errors import StartError


async def open_reception(ground: Ground, environment: Mapping[str, str]) -> Reception:
    """People, keys and sessions, closed with the ground.

    environment: holds the secrets of providers that the settings name.
    """
    settings = ground.settings.identity
    given = read_provider_secrets(settings, environment)
    client = await ground.stack.enter_async_context(OpenIdClient(settings.provider_seconds))
    store = ground.store
    stores = IdentityStores(store.identity, store.directory, store.invitations, store.audit)
    return make_reception(
        stores, settings, given, client, clock=ground.clock, randomness=ground.randomness
    )


async def start_reception(ground: Ground, environment: Mapping[str, str]) -> Reception:
    """The same for a gateway: notes from time to time when keys and sessions were last used."""
    reception = await open_reception(ground, environment)
    identity = reception.identity
    ground.stack.push_async_callback(identity.write_last_used)
    noting = ground.tasks.spawn("identity.last_used", identity.keep_last_used())
    ground.stack.push_async_callback(ground.tasks.end, noting)
    return reception


def read_provider_secrets(
    settings: IdentitySettings, environment: Mapping[str, str]
) -> dict[str, str]:
    """The secret of each provider that has one; raises StartError naming what is wrong."""
    names = [provider.name for provider in settings.providers]
    if len(set(names)) < len(names):
        raise StartError("identity.providers: two of them have the same name.")
    given = {}
    for provider in settings.providers:
        variable = provider.client_secret_variable
        if not variable:
            continue
        if not environment.get(variable):
            raise StartError(
                f"identity.providers: the variable {variable}, which is to hold the secret of "
                f"{provider.name!r}, is not set."
            )
        given[provider.name] = environment[variable]
    return given
