"""Pages of lists: the query parameters and the form that OpenAI's list operations share."""

from collections.abc import Sequence

from starlette.requests import Request

from tokenyard.chat.records import Item
from tokenyard.chat.rendering import render_item
from tokenyard.gateway.operation import Query
from tokenyard.protocol.responses import ItemList
from tokenyard.vocabulary.errors import InvalidRequest
from tokenyard.vocabulary.reasons import Reason

LIMIT = Query("limit", "Most entries of the page.", int, 1, 100)
AFTER = Query("after", "Id of the last entry of the page before.")
ORDER = Query("order", "Oldest or newest first.", choices=("asc", "desc"))


def refuse_include(request: Request) -> None:
    """Raise InvalidRequest for `include`: all that there is of an item is told in any case."""
    if any(request.query_params.getlist(name) for name in ("include", "include[]")):
        raise InvalidRequest(
            "'include' is not supported.", reason=Reason.UNSUPPORTED_PARAMETER, param="include"
        )


def item_page(items: Sequence[Item], *, more: bool) -> ItemList:
    """One page of items."""
    return ItemList(
        data=[render_item(item) for item in items],
        has_more=more,
        first_id=items[0].id if items else "",
        last_id=items[-1].id if items else "",
    )
