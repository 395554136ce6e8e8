"""OpenAI's Batches API."""

from starlette.requests import Request
from starlette.types import ASGIApp

from tokenyard.gateway.admission import Admission
from tokenyard.gateway.doorway import Doorway
from tokenyard.gateway.operation import Operation, Query, json_answer, read_int
from tokenyard.jobs.batches.batches import BatchAsk, Batches
from tokenyard.jobs.batches.rendering import render_batch
from tokenyard.protocol.batches import BatchBody, BatchList, CreateBatchRequest
from tokenyard.protocol.decode import decode_request
from tokenyard.vocabulary.identity import Permission
from tokenyard.vocabulary.ids import BatchId, FileId

_TAG = "Batches"
_PATH = "/v1/batches/{batch_id}"
_LIMIT = Query("limit", "Most entries of the page.", int, 1, 100)
_AFTER = Query("after", "Id of the last entry of the page before.")


class BatchRoutes:
    """Handlers of the Batches API."""

    def __init__(self, *, doorway: Doorway, admission: Admission, batches: Batches) -> None:
        self._doorway = doorway
        self._admission = admission
        self._batches = batches

    def operations(self) -> list[Operation]:
        """What this module serves."""
        return [
            Operation(
                "POST", "/v1/batches", "createBatch",
                "Run the requests of an uploaded file beside interactive answers, at the price of "
                "batches.",
                self._create, _TAG, CreateBatchRequest, BatchBody, errors=(404, 413, 429, 503),
                permission=Permission.BATCHES_WRITE, replays=True,
            ),
            Operation(
                "GET", "/v1/batches", "listBatches", "The project's batches, the newest first.",
                self._list, _TAG, answer=BatchList, query=(_LIMIT, _AFTER),
                permission=Permission.BATCHES_READ,
            ),
            Operation(
                "GET", _PATH, "retrieveBatch", "A batch as it stands.",
                self._get, _TAG, answer=BatchBody, errors=(404,),
                permission=Permission.BATCHES_READ,
            ),
            Operation(
                "POST", f"{_PATH}/cancel", "cancelBatch",
                "Stop a batch and keep the lines that have ended.",
                self._cancel, _TAG, answer=BatchBody, errors=(404, 409),
                permission=Permission.BATCHES_WRITE,
            ),
        ]  # fmt: skip

    async def _create(self, request: Request) -> ASGIApp:
        caller = await self._doorway.caller(request)
        asked = decode_request(CreateBatchRequest, await self._doorway.body(request))
        # Counted as a request; its place is not kept, as its lines have a pace of their own.
        (await self._admission.enter(caller)).release()
        kept = asked.output_expires_after
        ask = BatchAsk(
            input_file=FileId(asked.input_file_id),
            endpoint=asked.endpoint,
            metadata=asked.metadata or {},
            output_seconds=None if kept is None else kept.seconds,
        )
        return json_answer(render_batch(await self._batches.create(caller, ask)))

    async def _list(self, request: Request) -> ASGIApp:
        caller = await self._doorway.caller(request)
        after = request.query_params.get(_AFTER.name)
        found, more = await self._batches.page(
            caller,
            limit=read_int(request, _LIMIT) or 20,
            after=None if after is None else BatchId(after),
        )
        return json_answer(
            BatchList(
                data=[render_batch(batch) for batch in found],
                has_more=more,
                first_id=found[0].id if found else "",
                last_id=found[-1].id if found else "",
            )
        )

    async def _get(self, request: Request) -> ASGIApp:
        caller = await self._doorway.caller(request)
        return json_answer(render_batch(await self._batches.get(caller, _id(request))))

    async def _cancel(self, request: Request) -> ASGIApp:
        caller = await self._doorway.caller(request)
        return json_answer(render_batch(await self._batches.cancel(caller, _id(request))))


def _id(request: Request) -> BatchId:
    return BatchId(request.path_params["batch_id"])
