"""The organisation, its people and invitations; and for operators the other organisations."""

from starlette.requests import Request
from starlette.types import ASGIApp

from tokenyard.gateway.doorway import Doorway
from tokenyard.gateway.invitations import Invitations, status_of
from tokenyard.gateway.operation import Operation, json_answer, read_int
from tokenyard.gateway.people import People
from tokenyard.gateway.ports import AuditStore
from tokenyard.gateway.routes.pages import AFTER, LIMIT
from tokenyard.gateway.sessions import Sessions
from tokenyard.protocol.decode import decode_request
from tokenyard.protocol.organisation import (
    ChangeUserRequest,
    Deleted,
    InviteBody,
    InviteList,
    InviteProject,
    InviteRequest,
    NameRequest,
    OrganisationBody,
    OrganisationList,
    SignInLink,
    UserBody,
    UserList,
)
from tokenyard.runtime.clock import Clock
from tokenyard.vocabulary.audit import AuditAction, entry_by
from tokenyard.vocabulary.errors import Forbidden
from tokenyard.vocabulary.identity import Invitation, Organisation, Permission, Role, User
from tokenyard.vocabulary.ids import InvitationId, OrganisationId, ProjectId, UserId
from tokenyard.vocabulary.reasons import Reason

_TAG = "Organisation"
_ROOT = "/api/organisation"
_USER = f"{_ROOT}/users/{{user_id}}"


class OrganisationRoutes:
    """Handlers of the organisation and who belongs to it."""

    def __init__(
        self,
        *,
        doorway: Doorway,
        people: People,
        invitations: Invitations,
        sessions: Sessions,
        audit: AuditStore,
        public_url: str,
        clock: Clock,
    ) -> None:
        self._doorway = doorway
        self._people = people
        self._invitations = invitations
        self._sessions = sessions
        self._audit = audit
        self._public_url = public_url
        self._clock = clock

    def operations(self) -> list[Operation]:
        """What this module serves."""
        return [*self._about_it(), *self._about_users(), *self._about_invites()]

    def _about_it(self) -> list[Operation]:
        return [
            Operation(
                "GET", _ROOT, "getOrganisation", "The caller's organisation.",
                self._get, _TAG, answer=OrganisationBody,
                permission=Permission.ORGANISATION_READ,
            ),
            Operation(
                "POST", _ROOT, "updateOrganisation", "Give it another name.",
                self._rename, _TAG, NameRequest, OrganisationBody, errors=(413,),
                permission=Permission.ORGANISATION_WRITE,
            ),
            Operation(
                "GET", "/api/organisations", "listOrganisations", "All tenants, for operators.",
                self._list, _TAG, answer=OrganisationList, query=(LIMIT, AFTER),
                permission=Permission.TENANTS_MANAGE,
            ),
            Operation(
                "POST", "/api/organisations", "createOrganisation",
                "A new tenant with a project; invite its first owner next.",
                self._create, _TAG, NameRequest, OrganisationBody, errors=(413,),
                permission=Permission.TENANTS_MANAGE,
            ),
            Operation(
                "POST", "/api/organisations/{organisation_id}/invites", "inviteOwner",
                "A link that makes its bearer an owner of that tenant.",
                self._invite_owner, _TAG, InviteRequest, InviteBody, errors=(404, 409, 413),
                permission=Permission.TENANTS_MANAGE,
            ),
        ]  # fmt: skip

    def _about_users(self) -> list[Operation]:
        read, write = Permission.PEOPLE_READ, Permission.PEOPLE_WRITE
        return [
            Operation(
                "GET", f"{_ROOT}/users", "listUsers", "The organisation's people.",
                self._users, _TAG, answer=UserList, query=(LIMIT, AFTER), permission=read,
            ),
            Operation(
                "GET", _USER, "getUser", "One of them.",
                self._user, _TAG, answer=UserBody, errors=(404,), permission=read,
            ),
            Operation(
                "POST", _USER, "updateUser", "Change what somebody is in the organisation.",
                self._change_user, _TAG, ChangeUserRequest, UserBody, errors=(404, 409, 413),
                permission=write,
            ),
            Operation(
                "DELETE", _USER, "deleteUser",
                "Take away somebody's sessions, keys and memberships.",
                self._remove_user, _TAG, answer=Deleted, errors=(404, 409), permission=write,
            ),
            Operation(
                "POST", f"{_USER}/sign_in_link", "createSignInLink",
                "A one-time link for who has lost the password.",
                self._link, _TAG, answer=SignInLink, errors=(404,), permission=write,
            ),
        ]  # fmt: skip

    def _about_invites(self) -> list[Operation]:
        return [
            Operation(
                "GET", f"{_ROOT}/invites", "listInvites", "Invitations, whatever became of them.",
                self._invites, _TAG, answer=InviteList, query=(LIMIT, AFTER),
                permission=Permission.PEOPLE_READ,
            ),
            Operation(
                "POST", f"{_ROOT}/invites", "inviteUser",
                "A link that makes its bearer a user, once; it is in this answer only.",
                self._invite, _TAG, InviteRequest, InviteBody, errors=(404, 409, 413),
                permission=Permission.PEOPLE_WRITE,
            ),
            Operation(
                "DELETE", f"{_ROOT}/invites/{{invite_id}}", "deleteInvite",
                "Make an open invitation worthless.",
                self._revoke_invite, _TAG, answer=Deleted, errors=(404,),
                permission=Permission.PEOPLE_WRITE,
            ),
        ]  # fmt: skip

    async def _get(self, request: Request) -> ASGIApp:
        caller = await self._doorway.caller(request)
        return json_answer(_render(await self._people.organisation(caller)))

    async def _rename(self, request: Request) -> ASGIApp:
        caller = await self._doorway.caller(request)
        asked = decode_request(NameRequest, await self._doorway.body(request))
        return json_answer(_render(await self._people.rename_organisation(caller, asked.name)))

    async def _list(self, request: Request) -> ASGIApp:
        await self._doorway.caller(request)
        after, limit = request.query_params.get(AFTER.name), read_int(request, LIMIT) or 20
        found = await self._people.store.list_organisations(
            limit=limit + 1, after=None if after is None else OrganisationId(after)
        )
        page = found[:limit]
        return json_answer(
            OrganisationList(
                data=[_render(one) for one in page],
                has_more=len(found) > limit,
                first_id=page[0].id if page else None,
                last_id=page[-1].id if page else None,
            )
        )

    async def _create(self, request: Request) -> ASGIApp:
        caller = await self._doorway.caller(request)
        asked = decode_request(NameRequest, await self._doorway.body(request))
        return json_answer(_render(await self._people.create_organisation(caller, asked.name)))

    async def _invite_owner(self, request: Request) -> ASGIApp:
        caller = await self._doorway.caller(request)
        asked = decode_request(InviteRequest, await self._doorway.body(request))
        wanted = OrganisationId(request.path_params["organisation_id"])
        there = await self._people.tenant(wanted)
        token, made = await self._invitations.create(
            caller, asked.email, Role.OWNER, operator=asked.operator, organisation=there.id
        )
        return json_answer(self._render_invite(made, self._address(request, token)))

    async def _users(self, request: Request) -> ASGIApp:
        caller = await self._doorway.caller(request)
        after, limit = request.query_params.get(AFTER.name), read_int(request, LIMIT) or 20
        found = await self._people.store.list_users(
            caller.organisation,
            limit=limit + 1,
            after=None if after is None else UserId(after),
        )
        page = found[:limit]
        return json_answer(
            UserList(
                data=[_render_user(user) for user in page],
                has_more=len(found) > limit,
                first_id=page[0].id if page else None,
                last_id=page[-1].id if page else None,
            )
        )

    async def _user(self, request: Request) -> ASGIApp:
        caller = await self._doorway.caller(request)
        return json_answer(_render_user(await self._people.user(caller, _id(request))))

    async def _change_user(self, request: Request) -> ASGIApp:
        caller = await self._doorway.caller(request)
        asked = decode_request(ChangeUserRequest, await self._doorway.body(request))
        changed = await self._people.change_user(
            caller,
            _id(request),
            name=asked.name,
            role=None if asked.role is None else Role(asked.role),
            operator=asked.operator,
        )
        return json_answer(_render_user(changed))

    async def _remove_user(self, request: Request) -> ASGIApp:
        caller = await self._doorway.caller(request)
        await self._people.remove_user(caller, _id(request))
        return json_answer(Deleted(id=_id(request), object="organization.user.deleted"))

    async def _link(self, request: Request) -> ASGIApp:
        caller = await self._doorway.caller(request)
        if caller.key is not None:
            # A session may do what the key's scopes leave out.
            raise Forbidden(
                "Only a signed-in person can make sign-in links.",
                reason=Reason.PERMISSION_DENIED,
            )
        user = await self._people.reachable_person(caller, _id(request))
        entry = entry_by(caller, self._clock.now(), AuditAction.LINK_CREATED, user.id)
        # Before there is one: whoever can sign in as somebody else is known for it.
        await self._audit.append(entry)
        token, expires_at = await self._sessions.create_link(user.id)
        return json_answer(
            SignInLink(
                url=f"{self._root(request)}/sign-in?token={token}", expires_at=int(expires_at)
            )
        )

    async def _invites(self, request: Request) -> ASGIApp:
        caller = await self._doorway.caller(request)
        after, limit = request.query_params.get(AFTER.name), read_int(request, LIMIT) or 20
        found = await self._invitations.store.list_invitations(
            caller.organisation,
            limit=limit + 1,
            after=None if after is None else InvitationId(after),
        )
        page = found[:limit]
        return json_answer(
            InviteList(
                data=[self._render_invite(one) for one in page],
                has_more=len(found) > limit,
                first_id=page[0].id if page else None,
                last_id=page[-1].id if page else None,
            )
        )

    async def _invite(self, request: Request) -> ASGIApp:
        caller = await self._doorway.caller(request)
        asked = decode_request(InviteRequest, await self._doorway.body(request))
        first = asked.projects[0] if asked.projects else None
        token, made = await self._invitations.create(
            caller,
            asked.email,
            Role(asked.role),
            operator=asked.operator,
            project=None if first is None else ProjectId(first.id),
            project_role=None if first is None else Role(first.role),
        )
        return json_answer(self._render_invite(made, self._address(request, token)))

    async def _revoke_invite(self, request: Request) -> ASGIApp:
        caller = await self._doorway.caller(request)
        wanted = InvitationId(request.path_params["invite_id"])
        await self._invitations.revoke(caller, wanted)
        return json_answer(Deleted(id=wanted, object="organization.invite.deleted"))

    def _root(self, request: Request) -> str:
        return self._public_url or str(request.base_url).rstrip("/")

    def _address(self, request: Request, token: str) -> str:
        # After the mark, so that it reaches no server's log and no referrer.
        return f"{self._root(request)}/#invitation={token}"

    def _render_invite(self, invitation: Invitation, url: str | None = None) -> InviteBody:
        projects = []
        if invitation.project is not None and invitation.project_role is not None:
            projects.append(InviteProject(invitation.project, invitation.project_role.value))
        accepted = invitation.accepted_at
        return InviteBody(
            id=invitation.id,
            email=invitation.email,
            role=invitation.role.value,
            status=status_of(invitation, self._clock.now()),
            created_at=int(invitation.created_at),
            expires_at=int(invitation.expires_at),
            accepted_at=None if accepted is None else int(accepted),
            projects=projects,
            url=url,
        )


def _id(request: Request) -> UserId:
    return UserId(request.path_params["user_id"])


def _render(organisation: Organisation) -> OrganisationBody:
    return OrganisationBody(organisation.id, organisation.name, int(organisation.created_at))


def _render_user(user: User) -> UserBody:
    return UserBody(
        id=user.id,
        name=user.name,
        email=user.email,
        role=user.role.value,
        operator=user.operator,
        added_at=int(user.created_at),
    )
