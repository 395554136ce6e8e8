"""Projects of the organisation, their members and their service accounts."""

from starlette.requests import Request
from starlette.types import ASGIApp

from tokenyard.gateway.doorway import Doorway
from tokenyard.gateway.keys import Keys, KeyTerms
from tokenyard.gateway.operation import Operation, Query, json_answer, read_choice, read_int
from tokenyard.gateway.people import People
from tokenyard.gateway.routes.keys import render_key
from tokenyard.gateway.routes.pages import AFTER, LIMIT
from tokenyard.protocol.decode import decode_request
from tokenyard.protocol.organisation import (
    AddProjectUserRequest,
    Deleted,
    NameRequest,
    ProjectBody,
    ProjectList,
    ProjectUserBody,
    ProjectUserList,
    RoleRequest,
    ServiceAccountBody,
    ServiceAccountList,
    ServiceAccountRequest,
)
from tokenyard.vocabulary.identity import (
    Member,
    Permission,
    Principal,
    Project,
    Role,
    UserKind,
)
from tokenyard.vocabulary.ids import ProjectId, UserId

_TAG = "Projects"
_ALL = "/api/organisation/projects"
_ONE = f"{_ALL}/{{project_id}}"
_ARCHIVED = Query("include_archived", "Archived ones too.", bool, choices=("true", "false"))


class ProjectRoutes:
    """Handlers of projects and who works in them."""

    def __init__(self, *, doorway: Doorway, people: People, keys: Keys) -> None:
        self._doorway = doorway
        self._people = people
        self._keys = keys

    def operations(self) -> list[Operation]:
        """What this module serves."""
        return [*self._about_projects(), *self._about_members(), *self._about_services()]

    def _about_projects(self) -> list[Operation]:
        change = Permission.PROJECTS_WRITE
        return [
            Operation(
                "GET", _ALL, "listProjects", "The organisation's projects.",
                self._list, _TAG, answer=ProjectList, query=(LIMIT, AFTER, _ARCHIVED),
                permission=change,
            ),
            Operation(
                "POST", _ALL, "createProject", "A new project.",
                self._create, _TAG, NameRequest, ProjectBody, errors=(413,), permission=change,
            ),
            Operation(
                "GET", _ONE, "getProject", "One project, and the caller's role in it.",
                self._get, _TAG, answer=ProjectBody, errors=(404,),
                permission=Permission.MODELS_READ,
            ),
            Operation(
                "POST", _ONE, "updateProject", "Give it another name.",
                self._rename, _TAG, NameRequest, ProjectBody, errors=(404, 413),
                permission=Permission.MEMBERS_WRITE,
            ),
            Operation(
                "POST", f"{_ONE}/archive", "archiveProject",
                "Close it for everybody; what it holds stays.",
                self._archive, _TAG, answer=ProjectBody, errors=(404, 409), permission=change,
            ),
        ]  # fmt: skip

    def _about_members(self) -> list[Operation]:
        users, one = f"{_ONE}/users", f"{_ONE}/users/{{user_id}}"
        return [
            Operation(
                "GET", users, "listProjectUsers", "Its members.",
                self._members, _TAG, answer=ProjectUserList, query=(LIMIT, AFTER), errors=(404,),
                permission=Permission.MEMBERS_READ,
            ),
            Operation(
                "POST", users, "createProjectUser", "Make somebody a member.",
                self._add, _TAG, AddProjectUserRequest, ProjectUserBody, errors=(404, 413),
                permission=Permission.MEMBERS_WRITE,
            ),
            Operation(
                "GET", one, "getProjectUser", "One member.",
                self._member, _TAG, answer=ProjectUserBody, errors=(404,),
                permission=Permission.MEMBERS_READ,
            ),
            Operation(
                "POST", one, "updateProjectUser", "Give a member another role.",
                self._set_role, _TAG, RoleRequest, ProjectUserBody, errors=(404, 413),
                permission=Permission.MEMBERS_WRITE,
            ),
            Operation(
                "DELETE", one, "deleteProjectUser", "Take a member out of the project.",
                self._remove, _TAG, answer=Deleted, errors=(404,),
                permission=Permission.MEMBERS_WRITE,
            ),
        ]  # fmt: skip

    def _about_services(self) -> list[Operation]:
        services, one = f"{_ONE}/service_accounts", f"{_ONE}/service_accounts/{{user_id}}"
        return [
            Operation(
                "GET", services, "listServiceAccounts", "Its users for programs.",
                self._services, _TAG, answer=ServiceAccountList, query=(LIMIT, AFTER),
                errors=(404,), permission=Permission.MEMBERS_READ,
            ),
            Operation(
                "POST", services, "createServiceAccount", "A user for a program, with a key.",
                self._add_service, _TAG, ServiceAccountRequest, ServiceAccountBody,
                errors=(404, 409, 413), permission=Permission.MEMBERS_WRITE,
            ),
            Operation(
                "GET", one, "getServiceAccount", "One of them.",
                self._service, _TAG, answer=ServiceAccountBody, errors=(404,),
                permission=Permission.MEMBERS_READ,
            ),
            Operation(
                "DELETE", one, "deleteServiceAccount", "Remove it, and revoke its keys.",
                self._remove_service, _TAG, answer=Deleted, errors=(404,),
                permission=Permission.MEMBERS_WRITE,
            ),
        ]  # fmt: skip

    async def _list(self, request: Request) -> ASGIApp:
        caller = await self._doorway.caller(request)
        after, limit = request.query_params.get(AFTER.name), read_int(request, LIMIT) or 20
        found = await self._people.store.list_projects(
            caller.organisation,
            archived=read_choice(request, _ARCHIVED, "false") == "true",
            limit=limit + 1,
            after=None if after is None else ProjectId(after),
        )
        page = found[:limit]
        return json_answer(
            ProjectList(
                data=[render_project(project) for project in page],
                has_more=len(found) > limit,
                first_id=page[0].id if page else None,
                last_id=page[-1].id if page else None,
            )
        )

    async def _create(self, request: Request) -> ASGIApp:
        caller = await self._doorway.caller(request)
        asked = decode_request(NameRequest, await self._doorway.body(request))
        return json_answer(render_project(await self._people.create_project(caller, asked.name)))

    async def _get(self, request: Request) -> ASGIApp:
        caller = await self._doorway.caller(request)
        return json_answer(render_project(await self._people.project(caller), caller.role))

    async def _rename(self, request: Request) -> ASGIApp:
        caller = await self._doorway.caller(request)
        asked = decode_request(NameRequest, await self._doorway.body(request))
        return json_answer(render_project(await self._people.rename_project(caller, asked.name)))

    async def _archive(self, request: Request) -> ASGIApp:
        caller = await self._doorway.caller(request)
        return json_answer(render_project(await self._people.archive_project(caller)))

    async def _members(self, request: Request) -> ASGIApp:
        caller = await self._doorway.caller(request)
        page, more = await self._page(caller, request, service_accounts=False)
        return json_answer(
            ProjectUserList(
                data=[_render_member(member) for member in page],
                has_more=more,
                first_id=page[0].user.id if page else None,
                last_id=page[-1].user.id if page else None,
            )
        )

    async def _add(self, request: Request) -> ASGIApp:
        caller = await self._doorway.caller(request)
        asked = decode_request(AddProjectUserRequest, await self._doorway.body(request))
        member = await self._people.set_member(
            caller, UserId(asked.user_id), Role(asked.role), new=True
        )
        return json_answer(_render_member(member))

    async def _member(self, request: Request) -> ASGIApp:
        caller = await self._doorway.caller(request)
        found = await self._people.member(caller, _user(request), kind=UserKind.PERSON)
        return json_answer(_render_member(found))

    async def _set_role(self, request: Request) -> ASGIApp:
        caller = await self._doorway.caller(request)
        asked = decode_request(RoleRequest, await self._doorway.body(request))
        member = await self._people.set_member(caller, _user(request), Role(asked.role), new=False)
        return json_answer(_render_member(member))

    async def _remove(self, request: Request) -> ASGIApp:
        caller = await self._doorway.caller(request)
        await self._people.remove_member(caller, _user(request))
        return json_answer(Deleted(id=_user(request), object="organization.project.user.deleted"))

    async def _services(self, request: Request) -> ASGIApp:
        caller = await self._doorway.caller(request)
        page, more = await self._page(caller, request, service_accounts=True)
        return json_answer(
            ServiceAccountList(
                data=[_render_service(member) for member in page],
                has_more=more,
                first_id=page[0].user.id if page else None,
                last_id=page[-1].user.id if page else None,
            )
        )

    async def _add_service(self, request: Request) -> ASGIApp:
        caller = await self._doorway.caller(request)
        asked = decode_request(ServiceAccountRequest, await self._doorway.body(request))
        member = await self._people.create_service_account(caller, asked.name, Role(asked.role))
        secret, key = await self._keys.create(caller, KeyTerms(asked.name), owner=member.user.id)
        made = _render_service(member)
        made.api_key = render_key(key, member.user, secret)
        return json_answer(made)

    async def _service(self, request: Request) -> ASGIApp:
        caller = await self._doorway.caller(request)
        found = await self._people.member(caller, _user(request), kind=UserKind.SERVICE_ACCOUNT)
        return json_answer(_render_service(found))

    async def _remove_service(self, request: Request) -> ASGIApp:
        caller = await self._doorway.caller(request)
        await self._people.remove_service_account(caller, _user(request))
        return json_answer(
            Deleted(id=_user(request), object="organization.project.service_account.deleted")
        )

    async def _page(
        self, caller: Principal, request: Request, *, service_accounts: bool
    ) -> tuple[list[Member], bool]:
        after, limit = request.query_params.get(AFTER.name), read_int(request, LIMIT) or 20
        found = await self._people.store.list_members(
            caller.project,
            service_accounts=service_accounts,
            limit=limit + 1,
            after=None if after is None else UserId(after),
        )
        return found[:limit], len(found) > limit


def render_project(project: Project, role: Role | None = None) -> ProjectBody:
    """A project as the API tells of it."""
    return ProjectBody(
        id=project.id,
        name=project.name,
        status="active" if project.archived_at is None else "archived",
        created_at=int(project.created_at),
        archived_at=None if project.archived_at is None else int(project.archived_at),
        role=None if role is None else role.value,
    )


def _user(request: Request) -> UserId:
    return UserId(request.path_params["user_id"])


def _render_member(member: Member) -> ProjectUserBody:
    return ProjectUserBody(
        id=member.user.id,
        name=member.user.name,
        email=member.user.email,
        role=member.role.value,
        added_at=int(member.added_at),
    )


def _render_service(member: Member) -> ServiceAccountBody:
    return ServiceAccountBody(
        id=member.user.id,
        name=member.user.name,
        role=member.role.value,
        created_at=int(member.user.created_at),
    )
