"""The gateway as one ASGI application: every operation under the front layer, then the page."""

from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from tokenyard.chat.office import ChatOffice
from tokenyard.chat.stream_office import StreamOffice
from tokenyard.gateway.admission import Admission
from tokenyard.gateway.connection import Patience
from tokenyard.gateway.doorway import Doorway
from tokenyard.gateway.front import ANSWER, Front
from tokenyard.gateway.noting import Noting
from tokenyard.gateway.openapi import describe
from tokenyard.gateway.operation import Handler, Operation
from tokenyard.gateway.pages import Pages
from tokenyard.gateway.reception import Reception
from tokenyard.gateway.reference_page import STYLE, STYLE_PATH
from tokenyard.gateway.replays import Replays, ReplayStore
from tokenyard.gateway.routes.archive import ArchiveRoutes
from tokenyard.gateway.routes.asking import AskReader
from tokenyard.gateway.routes.batches import BatchRoutes
from tokenyard.gateway.routes.budgets import BudgetRoutes
from tokenyard.gateway.routes.completions import CompletionRoutes
from tokenyard.gateway.routes.context import ContextRoutes
from tokenyard.gateway.routes.conversations import ConversationRoutes
from tokenyard.gateway.routes.drafts import DraftReader
from tokenyard.gateway.routes.files import FileRoutes
from tokenyard.gateway.routes.jobs import JobRoutes
from tokenyard.gateway.routes.limits import LimitRoutes
from tokenyard.gateway.routes.moderations import ModerationRoutes
from tokenyard.gateway.routes.prompts import PromptRoutes
from tokenyard.gateway.routes.responses import ResponseRoutes
from tokenyard.gateway.routes.status import StatusRoutes
from tokenyard.gateway.routes.tokens import TokenRoutes
from tokenyard.gateway.routes.transfer import TransferRoutes
from tokenyard.gateway.routes.upstreams import UpstreamRoutes
from tokenyard.gateway.routes.usage import UsageRoutes
from tokenyard.gateway.sockets.office import Sockets
from tokenyard.jobs.batches.batches import Batches
from tokenyard.jobs.batches.files import Files
from tokenyard.jobs.office import JobOffice
from tokenyard.ledger.ledger import Ledger
from tokenyard.runtime.clock import Clock
from tokenyard.runtime.randomness import Randomness
from tokenyard.runtime.settings import GatewaySettings
from tokenyard.runtime.tasks import TaskSupervisor
from tokenyard.telemetry.logs import Log
from tokenyard.telemetry.metrics import GatewayMetrics
from tokenyard.upstreams.pool import UpstreamPool
from tokenyard.upstreams.roster import ServerRoster
from tokenyard.vocabulary.identity import Permission


class Gateway:
    """Everything behind the HTTP address. `app` is the ASGI application."""

    def __init__(
        self,
        settings: GatewaySettings,
        *,
        reception: Reception,
        admission: Admission,
        pool: UpstreamPool,
        roster: ServerRoster,
        ledger: Ledger,
        chat: ChatOffice,
        streams: StreamOffice,
        replay_store: ReplayStore,
        files: Files,
        batches: Batches,
        jobs: JobOffice,
        tasks: TaskSupervisor,
        clock: Clock,
        randomness: Randomness,
        metrics: GatewayMetrics,
        log: Log,
    ) -> None:
        doorway = Doorway(reception.identity, body_bytes_max=settings.body_bytes_max)
        heartbeat = settings.heartbeat_seconds
        status = StatusRoutes(pool, admission, metrics, jobs.metrics)
        patience = Patience(heartbeat, settings.reader_stall_seconds, settings.reader_seconds_max)
        serving = _Serving(doorway, admission, pool, ledger, tasks, clock, metrics, patience)
        groups: tuple[_Group, ...] = (
            CompletionRoutes(
                doorway=doorway,
                admission=admission,
                pool=pool,
                ledger=ledger,
                tasks=tasks,
                clock=clock,
                metrics=metrics,
                heartbeat_seconds=heartbeat,
            ),
            *_chat_routes(serving, chat, streams, files),
            FileRoutes(doorway=doorway, admission=admission, files=files),
            BatchRoutes(doorway=doorway, admission=admission, batches=batches),
            JobRoutes(
                doorway=doorway, office=jobs, tasks=tasks, clock=clock, heartbeat_seconds=heartbeat
            ),
            *_money_routes(doorway, ledger, admission, clock=clock, randomness=randomness),
            ModerationRoutes(doorway=doorway, admission=admission, pool=pool),
            UpstreamRoutes(doorway=doorway, pool=pool, roster=roster),
            status,
        )
        self.operations: list[Operation] = [
            *reception.operations(doorway, ledger),
            *(one for group in groups for one in group.operations()),
        ]
        status.describe(lambda: self.document)
        kept_seconds = settings.replays_kept_seconds
        replays = Replays(
            replay_store, doorway, tasks=tasks, clock=clock, kept_seconds=kept_seconds
        )
        routes = _route(self.operations, Noting(reception.audit, clock), replays)
        front = Front(routes, clock=clock, randomness=randomness, metrics=metrics, log=log)
        self.sockets = Sockets(
            front,
            settings,
            doorway=doorway,
            readings=streams.readings,
            tasks=tasks,
            clock=clock,
            randomness=randomness,
            metrics=metrics,
        )
        self.app: ASGIApp = _by_kind(front, self.sockets)

    @cached_property
    def document(self) -> dict[str, Any]:
        """The OpenAPI document; made when it is first asked for, not at every start."""
        return describe(self.operations)


def _by_kind(front: ASGIApp, sockets: ASGIApp) -> ASGIApp:
    # Not a coroutine of its own, which every connection would keep.
    def serve(scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        return (sockets if scope["type"] == "websocket" else front)(scope, receive, send)

    return serve


class _Group(Protocol):
    """Some operations."""

    def operations(self) -> list[Operation]: ...


def _money_routes(
    doorway: Doorway,
    ledger: Ledger,
    admission: Admission,
    *,
    clock: Clock,
    randomness: Randomness,
) -> tuple[_Group, ...]:
    return (
        UsageRoutes(doorway=doorway, ledger=ledger, clock=clock),
        BudgetRoutes(doorway=doorway, ledger=ledger),
        LimitRoutes(doorway=doorway, book=admission.book, randomness=randomness),
    )


@dataclass(frozen=True, slots=True)
class _Serving:
    """What the routes of the chat stand on."""

    doorway: Doorway
    admission: Admission
    pool: UpstreamPool
    ledger: Ledger
    tasks: TaskSupervisor
    clock: Clock
    metrics: GatewayMetrics
    patience: Patience


def _chat_routes(
    on: _Serving, chat: ChatOffice, streams: StreamOffice, files: Files
) -> list[_Group]:
    """Responses, and what there is of conversations beside them."""
    drafts = DraftReader(files, chat.documents)
    reader = AskReader(on.pool, chat.prompts, drafts)
    return [
        ResponseRoutes(
            doorway=on.doorway,
            admission=on.admission,
            pool=on.pool,
            ledger=on.ledger,
            streams=streams,
            reader=reader,
            chat=chat,
            tasks=on.tasks,
            metrics=on.metrics,
            patience=on.patience,
        ),
        ConversationRoutes(
            doorway=on.doorway,
            admission=on.admission,
            conversations=chat.conversations,
            compaction=chat.compaction,
            drafts=drafts,
            responses=streams.responses,
        ),
        ContextRoutes(
            doorway=on.doorway,
            windows=chat.windows,
            reader=reader,
            ledger=on.ledger,
            clock=on.clock,
        ),
        TokenRoutes(doorway=on.doorway, pool=on.pool, reader=reader, windows=chat.windows),
        ArchiveRoutes(doorway=on.doorway, archive=chat.archive),
        TransferRoutes(doorway=on.doorway, transfer=chat.transfer),
        PromptRoutes(doorway=on.doorway, prompts=chat.prompts),
    ]


def _route(operations: Sequence[Operation], noting: Noting, replays: Replays) -> ASGIApp:
    """A router over the operations; what none of them serves is the page's."""
    endpoints = [
        _Endpoint(one.path, _replayed(one, _noted(one, noting), replays), one.permission)
        for one in operations
    ]
    routes = [
        Route(one.path, endpoint, methods=[one.method])
        for one, endpoint in zip(operations, endpoints, strict=True)
    ]
    routes.append(Route(STYLE_PATH, _Endpoint(STYLE_PATH, _style), methods=["GET"]))
    router = Router(routes, redirect_slashes=False, default=_Endpoint("page", Pages().serve))
    return _Switch(
        {
            (one.method, one.path): endpoint
            for one, endpoint in zip(operations, endpoints, strict=True)
            # What makes tokens, and comes most often; none of it has a part of its path to read.
            if one.replays and "{" not in one.path
        },
        router,
    )


def _noted(operation: Operation, noting: Noting) -> Handler:
    """The operation's handler, with its entry in the audit log where it has none of its own."""
    if not noting.concerns(operation):
        return operation.handler

    async def handle(request: Request) -> ASGIApp:
        answer = await operation.handler(request)
        await noting.note(operation, request, answer)
        return answer

    return handle


def _replayed(operation: Operation, handler: Handler, replays: Replays) -> Handler:
    """The handler, asked once however often a request with the same key comes."""
    if not operation.replays:
        return handler
    return lambda request: replays.answer(handler, request)


class _Switch:
    """Finds the most frequent operations at once; a router looks at one pattern after another."""

    def __init__(self, frequent: Mapping[tuple[str, str], ASGIApp], router: Router) -> None:
        self._frequent = frequent
        self._router = router

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._frequent.get((scope["method"], scope["path"]), self._router)
        await app(scope, receive, send)


class _Endpoint:
    """A handler as an ASGI application that notes its route, and what the door is to ask for.

    The answer is left to the front to give.
    """

    def __init__(self, path: str, handler: Handler, permission: Permission | None = None) -> None:
        self._path = path
        self._handler = handler
        self._permission = permission

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"]["route"] = self._path
        scope["state"]["permission"] = self._permission
        scope["state"][ANSWER] = await self._handler(Request(scope, receive, send))


async def _style(request: Request) -> ASGIApp:
    return Response(STYLE, media_type="text/css")
