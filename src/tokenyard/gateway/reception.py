"""All that has to do with who calls, on one ground: people, keys, sessions, ways in, audit log."""

from collections.abc import Mapping
from dataclasses import dataclass

from tokenyard.gateway.doorway import Doorway
from tokenyard.gateway.identity import Identity
from tokenyard.gateway.invitations import Invitations
from tokenyard.gateway.openid import OpenId
from tokenyard.gateway.operation import Operation
from tokenyard.gateway.passwords import Passwords
from tokenyard.gateway.people import People
from tokenyard.gateway.ports import AuditStore, DirectoryStore, IdentityStore, InvitationStore
from tokenyard.gateway.routes.account import AccountRoutes
from tokenyard.gateway.routes.audit import AuditRoutes
from tokenyard.gateway.routes.keys import KeyRoutes
from tokenyard.gateway.routes.organisation import OrganisationRoutes
from tokenyard.gateway.routes.projects import ProjectRoutes
from tokenyard.gateway.routes.sign_in import SignInRoutes
from tokenyard.gateway.sign_in import SignIn
from tokenyard.ledger.ledger import Ledger
from tokenyard.runtime.clock import Clock
from tokenyard.runtime.identity_settings import IdentitySettings
from tokenyard.runtime.randomness import Randomness
from tokenyard.upstreams.openid_client import OpenIdClient


@dataclass(frozen=True, slots=True)
class IdentityStores:
    """The ports of this room, kept by one store."""

    identity: IdentityStore
    directory: DirectoryStore
    invitations: InvitationStore
    audit: AuditStore


@dataclass(frozen=True, slots=True)
class Reception:
    """Services of identity; each knows only what it needs of the others."""

    settings: IdentitySettings
    identity: Identity
    people: People
    invitations: Invitations
    sign_in: SignIn
    audit: AuditStore
    clock: Clock

    def operations(self, doorway: Doorway, ledger: Ledger) -> list[Operation]:
        """The routes of all of it."""
        people, identity = self.people, self.identity
        groups = (
            SignInRoutes(
                doorway=doorway, sign_in=self.sign_in, people=people, settings=self.settings
            ),
            AccountRoutes(
                doorway=doorway,
                identity=identity,
                people=people,
                sign_in=self.sign_in,
                ledger=ledger,
            ),
            OrganisationRoutes(
                doorway=doorway,
                people=people,
                invitations=self.invitations,
                sessions=identity.sessions,
                audit=self.audit,
                public_url=self.settings.public_url,
                clock=self.clock,
            ),
            ProjectRoutes(doorway=doorway, people=people, keys=identity.keys),
            KeyRoutes(doorway=doorway, keys=identity.keys, people=people),
            AuditRoutes(doorway=doorway, audit=self.audit),
        )
        return [one for group in groups for one in group.operations()]


def make_reception(
    stores: IdentityStores,
    settings: IdentitySettings,
    provider_secrets: Mapping[str, str],
    client: OpenIdClient,
    *,
    clock: Clock,
    randomness: Randomness,
) -> Reception:
    """provider_secrets: by the provider's name, for those that have one."""
    identity = Identity(stores.identity, settings, clock=clock, randomness=randomness)
    people = People(stores.directory, clock=clock, randomness=randomness, changed=identity.forget)
    invitations = Invitations(
        stores.invitations,
        people,
        seconds=settings.invitation_seconds,
        clock=clock,
        randomness=randomness,
    )
    openid = OpenId(
        settings.providers, provider_secrets, client, clock=clock, randomness=randomness
    )
    sign_in = SignIn(
        people=people,
        sessions=identity.sessions,
        passwords=Passwords(settings, clock=clock),
        invitations=invitations,
        openid=openid,
        clock=clock,
        randomness=randomness,
    )
    return Reception(settings, identity, people, invitations, sign_in, stores.audit, clock)
