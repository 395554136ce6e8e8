"""Budgets of an organisation: what each of its keys, users and projects may spend in a month."""

from starlette.requests import Request
from starlette.types import ASGIApp

from tokenyard.gateway.doorway import Doorway
from tokenyard.gateway.operation import Operation, json_answer
from tokenyard.ledger.ledger import Ledger
from tokenyard.ledger.records import ANYBODY, Budget, Scope
from tokenyard.protocol.decode import decode_request
from tokenyard.protocol.usage import BudgetBody, BudgetDeleted, BudgetList, BudgetRequest
from tokenyard.upstreams.webhooks import check_webhook
from tokenyard.vocabulary.errors import InvalidRequest, NotFound
from tokenyard.vocabulary.identity import Permission, Principal
from tokenyard.vocabulary.ids import BudgetId

_TAG = "Usage"


class BudgetRoutes:
    """Handlers of budgets."""

    def __init__(self, *, doorway: Doorway, ledger: Ledger) -> None:
        self._doorway = doorway
        self._ledger = ledger

    def operations(self) -> list[Operation]:
        """What this module serves."""
        return [
            Operation(
                "GET", "/api/organisation/budgets", "listBudgets", "The budgets, soft and hard.",
                self._list, _TAG, answer=BudgetList, permission=Permission.LIMITS_READ,
            ),
            Operation(
                "POST", "/api/organisation/budgets", "putBudget",
                "Set what a key, a user, a project or the organisation may spend in a month.",
                self._put, _TAG, BudgetRequest, BudgetBody, errors=(404, 413),
                permission=Permission.LIMITS_WRITE,
            ),
            Operation(
                "DELETE", "/api/organisation/budgets/{budget_id}", "deleteBudget",
                "Lift a budget.",
                self._delete, _TAG, answer=BudgetDeleted, errors=(404,),
                permission=Permission.LIMITS_WRITE,
            ),
        ]  # fmt: skip

    async def _list(self, request: Request) -> ASGIApp:
        caller = await self._doorway.caller(request)
        found = self._ledger.budgets.list(caller.organisation)
        if not caller.may(Permission.LIMITS_WRITE):
            found = [one for one in found if _concerns(one, caller)]
        return json_answer(BudgetList([_body(one) for one in found]))

    async def _put(self, request: Request) -> ASGIApp:
        caller = await self._doorway.caller(request)
        asked = decode_request(BudgetRequest, await self._doorway.body(request))
        check_webhook(asked.webhook, self._ledger.budgets.webhook_hosts)
        scope = Scope(asked.scope)
        if asked.subject == ANYBODY or "\0" in asked.subject:
            raise InvalidRequest("A budget is for one subject, by its id.", param="subject")
        if scope is Scope.ORGANISATION and asked.subject != caller.organisation:
            raise NotFound("There is no such organisation.", param="subject")
        made = await self._ledger.budgets.put(
            caller.organisation,
            scope,
            asked.subject,
            soft_nanos=asked.soft_nanos,
            hard_nanos=asked.hard_nanos,
            webhook=asked.webhook,
        )
        return json_answer(_body(made))

    async def _delete(self, request: Request) -> ASGIApp:
        caller = await self._doorway.caller(request)
        wanted = BudgetId(request.path_params["budget_id"])
        if not await self._ledger.budgets.delete(caller.organisation, wanted):
            raise NotFound(f"There is no budget '{wanted}'.", param="budget_id")
        return json_answer(BudgetDeleted(wanted))


def _concerns(budget: Budget, caller: Principal) -> bool:
    mine = {caller.key, caller.user, caller.project, caller.organisation}
    return budget.subject in mine


def _body(budget: Budget) -> BudgetBody:
    return BudgetBody(
        id=budget.id,
        scope=budget.scope,
        subject=budget.subject,
        soft_nanos=budget.soft_nanos,
        hard_nanos=budget.hard_nanos,
        webhook=budget.webhook,
    )
