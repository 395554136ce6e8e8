"""The admin API's requests and answers; names are those of OpenAI's admin API where it has them.

Source: OpenAI API reference, "Administration" (users, invites, projects, project users, service
accounts and API keys, audit logs). Times are Unix seconds.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

RoleName = Literal["owner", "admin", "developer", "viewer"]
Name = Annotated[str, Meta(min_length=1, max_length=100)]
Email = Annotated[str, Meta(min_length=3, max_length=254)]
Scopes = Annotated[list[Annotated[str, Meta(max_length=64)]], Meta(max_length=64)]
ServerTags = Annotated[
    list[Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")]], Meta(max_length=20)
]
ModelNames = Annotated[list[Annotated[str, Meta(max_length=200)]], Meta(max_length=100)]
Nanos = Annotated[int, Meta(ge=0, le=2**62)]
Time = Annotated[int, Meta(ge=0, le=2**40)]


class Deleted(msgspec.Struct):
    """The answer to a removal."""

    id: str
    object: str
    deleted: bool = True


class OrganisationBody(msgspec.Struct):
    """A tenant."""

    id: str
    name: str
    created_at: int
    object: Literal["organization"] = "organization"


class OrganisationList(msgspec.Struct):
    """A page of tenants."""

    data: list[OrganisationBody]
    has_more: bool
    first_id: str | None
    last_id: str | None
    object: Literal["list"] = "list"


class NameRequest(msgspec.Struct, forbid_unknown_fields=True):
    """A name to give."""

    name: Name


class UserBody(msgspec.Struct):
    """A person of the organisation."""

    id: str
    name: str
    email: str | None
    role: RoleName
    # May run the installation itself: nodes, model servers, tenants.
    operator: bool
    added_at: int
    object: Literal["organization.user"] = "organization.user"


class UserList(msgspec.Struct):
    """A page of people."""

    data: list[UserBody]
    has_more: bool
    first_id: str | None
    last_id: str | None
    object: Literal["list"] = "list"


class ChangeUserRequest(msgspec.Struct, forbid_unknown_fields=True):
    """What is left out stays as it is."""

    name: Name | None = None
    role: RoleName | None = None
    operator: bool | None = None


class SignInLink(msgspec.Struct):
    """A link that signs somebody in once; shown only now."""

    url: str
    expires_at: int


class InviteProject(msgspec.Struct, forbid_unknown_fields=True):
    """A project to be a member of from the first day."""

    id: Annotated[str, Meta(max_length=100)]
    role: RoleName


class InviteRequest(msgspec.Struct, forbid_unknown_fields=True):
    """Whom to invite, and as what."""

    email: Email
    role: RoleName = "developer"
    projects: Annotated[list[InviteProject], Meta(max_length=1)] = []
    operator: bool = False


class InviteBody(msgspec.Struct):
    """An invitation; its link is in the answer that made it and nowhere else."""

    id: str
    email: str
    role: RoleName
    status: Literal["pending", "accepted", "expired", "revoked"]
    created_at: int
    expires_at: int
    accepted_at: int | None
    projects: list[InviteProject]
    url: str | None = None
    object: Literal["organization.invite"] = "organization.invite"


class InviteList(msgspec.Struct):
    """A page of invitations."""

    data: list[InviteBody]
    has_more: bool
    first_id: str | None
    last_id: str | None
    object: Literal["list"] = "list"


class ProjectBody(msgspec.Struct):
    """A project."""

    id: str
    name: str
    status: Literal["active", "archived"]
    created_at: int
    archived_at: int | None
    # The caller's own there; none in lists of all projects.
    role: RoleName | None = None
    object: Literal["organization.project"] = "organization.project"


class ProjectList(msgspec.Struct):
    """A page of projects."""

    data: list[ProjectBody]
    has_more: bool
    first_id: str | None
    last_id: str | None
    object: Literal["list"] = "list"


class ProjectUserBody(msgspec.Struct):
    """A person in a project."""

    id: str
    name: str
    email: str | None
    role: RoleName
    added_at: int
    object: Literal["organization.project.user"] = "organization.project.user"


class ProjectUserList(msgspec.Struct):
    """A page of members."""

    data: list[ProjectUserBody]
    has_more: bool
    first_id: str | None
    last_id: str | None
    object: Literal["list"] = "list"


class AddProjectUserRequest(msgspec.Struct, forbid_unknown_fields=True):
    """Who is to be a member, and as what."""

    user_id: Annotated[str, Meta(max_length=100)]
    role: RoleName


class RoleRequest(msgspec.Struct, forbid_unknown_fields=True):
    """A role to give."""

    role: RoleName


class ServiceAccountRequest(msgspec.Struct, forbid_unknown_fields=True):
    """A user for a program."""

    name: Name
    role: RoleName = "developer"


class KeyRequest(msgspec.Struct, forbid_unknown_fields=True):
    """What a key is called and what it may."""

    name: Name
    # Permissions by name, or `*`; without it the usual ones, which manage neither keys nor people.
    scopes: Scopes | None = None
    # Without it all models.
    models: ModelNames | None = None
    # In nano-units of the ledger's currency, in a calendar month (UTC).
    monthly_cap_nanos: Nanos | None = None
    expires_at: Time | None = None
    # Only model servers with all of these tags are asked for it.
    server_tags: ServerTags = []
    # Whose it is: a service account of the project; without it the caller's own.
    user_id: Annotated[str, Meta(max_length=100)] | None = None


class ChangeKeyRequest(msgspec.Struct, forbid_unknown_fields=True):
    """What is left out stays as it is; null takes a bound away."""

    name: Name | msgspec.UnsetType = msgspec.UNSET
    scopes: Scopes | msgspec.UnsetType | None = msgspec.UNSET
    models: ModelNames | msgspec.UnsetType | None = msgspec.UNSET
    monthly_cap_nanos: Nanos | msgspec.UnsetType | None = msgspec.UNSET
    expires_at: Time | msgspec.UnsetType | None = msgspec.UNSET
    server_tags: ServerTags | msgspec.UnsetType = msgspec.UNSET


class RotateKeyRequest(msgspec.Struct, forbid_unknown_fields=True):
    """How long the secret before the new one works on."""

    overlap_seconds: Annotated[float, Meta(ge=0, le=2**40)] = 3_600.0


class KeyOwner(msgspec.Struct):
    """Whose a key is."""

    id: str
    name: str
    type: Literal["user", "service_account"]


class KeyBody(msgspec.Struct):
    """A key; the secret is in the answer that made or rotated it and nowhere else."""

    id: str
    name: str
    # The visible ends of the secret.
    redacted_value: str
    owner: KeyOwner
    created_at: int
    last_used_at: int | None
    expires_at: int | None
    revoked_at: int | None
    # Until when the secret before the last rotation works.
    previous_until: int | None
    scopes: list[str] | None
    models: list[str] | None
    monthly_cap_nanos: int | None
    server_tags: list[str] = []
    value: str | None = None
    object: Literal["organization.project.api_key"] = "organization.project.api_key"


class KeyList(msgspec.Struct):
    """All keys of a project that the caller may see, the oldest first."""

    data: list[KeyBody]
    object: Literal["list"] = "list"


class ServiceAccountBody(msgspec.Struct):
    """A service account; a new one comes with a key."""

    id: str
    name: str
    role: RoleName
    created_at: int
    api_key: KeyBody | None = None
    object: Literal["organization.project.service_account"] = "organization.project.service_account"


class ServiceAccountList(msgspec.Struct):
    """A page of service accounts."""

    data: list[ServiceAccountBody]
    has_more: bool
    first_id: str | None
    last_id: str | None
    object: Literal["list"] = "list"


class AuditActor(msgspec.Struct):
    """Who did it: a user, perhaps with a key; nobody for the command line."""

    user: str | None
    api_key: str | None


class AuditBody(msgspec.Struct):
    """One thing that was done. `number` has no gaps; `hash` covers the entry before it too."""

    number: int
    effective_at: float
    type: str
    actor: AuditActor
    project: str | None
    object_id: str
    details: dict[str, str]
    hash: str
    object: Literal["organization.audit_log"] = "organization.audit_log"


class AuditList(msgspec.Struct):
    """A page of the audit log, the newest first."""

    data: list[AuditBody]
    has_more: bool
    # To be given as `before` for the next page.
    last_number: int | None
    object: Literal["list"] = "list"
