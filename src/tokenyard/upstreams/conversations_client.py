"""A client of conversations, for the command line: listed, read, searched, moved and deleted."""

from collections.abc import AsyncGenerator

import msgspec

from tokenyard.protocol.archive import SearchResults
from tokenyard.protocol.conversations import (
    ConversationBody,
    ConversationDeleted,
    ConversationList,
    ImportResult,
)
from tokenyard.protocol.response_items import ItemBody
from tokenyard.protocol.responses import ItemList
from tokenyard.upstreams.server_client import ServerClient

_PAGE = 100


class ConversationsClient(ServerClient):
    """What can be asked about conversations; raises ServerRefused and UpstreamFailed."""

    async def list(self, **query: str | int | None) -> ConversationList:
        """A page: limit, after, folder, archived."""
        return await self.call("GET", "/api/conversations", ConversationList, query=query)

    async def show(self, conversation: str) -> ConversationBody:
        """One of them, without what was said."""
        return await self.call("GET", f"/v1/conversations/{conversation}", ConversationBody)

    async def items(self, conversation: str) -> AsyncGenerator[ItemBody, None]:
        """The branch in use, the first item first."""
        after: str | None = None
        while True:
            page = await self.call(
                "GET",
                f"/v1/conversations/{conversation}/items",
                ItemList,
                query={"order": "asc", "limit": _PAGE, "after": after},
            )
            for item in page.data:
                yield item
            if not page.has_more:
                return
            after = page.last_id

    async def search(self, words: str, limit: int) -> SearchResults:
        """Titles and messages that have all the words."""
        return await self.call(
            "GET", "/api/search", SearchResults, query={"q": words, "limit": limit}
        )

    async def delete(self, conversation: str) -> ConversationDeleted:
        """Delete it with all that is in it."""
        return await self.call("DELETE", f"/v1/conversations/{conversation}", ConversationDeleted)

    async def take_in(self, file: bytes) -> ImportResult:
        """Take in the file of another program."""
        return await self.call("POST", "/api/import", ImportResult, body=msgspec.Raw(file))

    def give_out(self, form: str, conversation: str | None) -> AsyncGenerator[bytes, None]:
        """All of them, or one, as a file for another program."""
        query = {"format": form, "conversation_id": conversation}
        return self.download("/api/export", query)
