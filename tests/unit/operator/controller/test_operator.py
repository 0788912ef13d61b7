"""What the operator is begun anew after, and what ends it."""

import asyncio

import aiohttp
import kopf
import pytest
from kopf._cogs.clients.errors import APIServerError

from arcface_api.errors import ArcFaceError
from arcface_operator.controller.operator import until_it_ends


class Replica:
    """Ends each time as it is told to, then by itself."""

    def __init__(self, *ends: BaseException) -> None:
        self.ends, self.runs = list(ends), 0

    async def run(self) -> None:
        self.runs += 1
        if self.ends:
            raise self.ends.pop(0)


@pytest.mark.parametrize(
    "error",
    [
        aiohttp.ClientConnectionError(),
        APIServerError(None, status=503, headers={}),
        TimeoutError(),
        kopf.LoginError(),
        ConnectionResetError(),
    ],
    ids=repr,
)
def test_kopf_is_begun_anew_where_the_api_server_is_away(error: Exception) -> None:
    replica = Replica(error, error)
    asyncio.run(until_it_ends(replica.run, pause_seconds=0.0))
    assert replica.runs == 3


@pytest.mark.parametrize(
    "error",
    [TypeError(), ExceptionGroup("of the work", [KeyError()]), ArcFaceError("the leadership is lost")],
    ids=repr,
)
def test_an_error_of_ours_ends_the_process(error: Exception) -> None:
    replica = Replica(error)
    with pytest.raises(type(error)):
        asyncio.run(until_it_ends(replica.run, pause_seconds=0.0))
    assert replica.runs == 1
