"""What `helm test` hears of a job, with the API server played."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from click.testing import CliRunner, Result

from arcface_api.errors import ArcFaceError
from arcface_operator.commands import await_job
from arcface_operator.kubernetes.client import ApiError, JobRef, Unreachable

LIST = "/apis/arcface.io/v1alpha1/namespaces/faces/arcfacetrainingjobs", {"fieldSelector": "metadata.name=quick"}
REFUSED = ApiError(403, "arcfacetrainingjobs is forbidden")
WAITS = {"type": "Ready", "status": "False", "reason": "ClaimMissing", "message": "faces"}
TRAINS = {"type": "Training", "status": "False", "reason": "NotStarted", "message": "no pods"}
STARTS = {"type": "Training", "status": "False", "reason": "Starting", "message": "pod quick-0: ImagePullBackOff"}
FAILED = {"type": "Failed", "status": "True", "reason": "Diverged", "message": "nan"}


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        pytest.param({"status": {"phase": "Suspended"}}, "Suspended", id="acted on"),
        pytest.param({}, "nobody has acted on it", id="new"),
        pytest.param({"status": {"conditions": []}}, "nobody has acted on it", id="without a phase"),
        pytest.param(
            {"status": {"phase": "Pending", "conditions": [WAITS, TRAINS]}}, "Pending (ClaimMissing: faces)", id="waits"
        ),
        pytest.param(
            {"status": {"phase": "Starting", "conditions": [STARTS]}},
            "Starting (Starting: pod quick-0: ImagePullBackOff)",
            id="starts",
        ),
        pytest.param({"status": {"phase": "Failed", "conditions": [FAILED]}}, "Failed (Diverged: nan)", id="failed"),
        pytest.param(None, "there is no such job", id="absent"),
        pytest.param(REFUSED, "403: arcfacetrainingjobs is forbidden", id="not ours to see"),
        pytest.param(Unreachable("GET /x: OSError"), "GET /x: OSError", id="no answer"),
    ],
)
def test_what_is_seen_of_a_job(answer: Any, state: str) -> None:
    class Server:
        async def get(self, *request: Any) -> Any:
            assert request == LIST
            if isinstance(answer, Exception):
                raise answer
            return {"items": [] if answer is None else [answer]}

    server: Any = Server()
    assert str(asyncio.run(await_job.state_of(JobRef("faces", "quick"), server))) == state


@pytest.fixture
def wait_for(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Runs the command against an API server whose job is in these phases, one after the other, the last for ever."""

    def run(*phases: str, seconds: int = 60) -> Result:
        left = list(phases)

        class Server:
            def __init__(self, _: object) -> None:
                pass

            async def get(self, *request: Any) -> Any:
                assert request == LIST
                return {"items": [{"status": {"phase": left.pop(0) if len(left) > 1 else left[0]}}]}

        monkeypatch.setattr(await_job.client, "Api", Server)
        arguments = ["quick", "--namespace=faces", "--phase=Suspended", f"--seconds={seconds}"]
        return CliRunner().invoke(await_job.await_job, arguments)

    @asynccontextmanager
    async def nobody() -> AsyncIterator[None]:
        yield

    monkeypatch.setattr(await_job.credentials, "open_client", nobody)
    monkeypatch.setattr(await_job, "POLL_SECONDS", 0.01)
    return run


def test_it_waits_until_the_job_is_there(wait_for: Callable[..., Result]) -> None:
    result = wait_for("", "Pending", "Suspended")
    assert (result.exit_code, result.stdout) == (0, "faces/quick: Suspended\n")


def test_it_tells_of_each_change_while_it_waits(wait_for: Callable[..., Result]) -> None:
    assert wait_for("Pending", "Pending", "Starting", "Suspended").stderr.splitlines() == [
        "faces/quick: Pending",
        "faces/quick: Starting",
    ]


def test_it_says_what_it_last_saw(wait_for: Callable[..., Result]) -> None:
    result = wait_for("Pending", seconds=1)
    assert isinstance(result.exception, ArcFaceError)
    assert str(result.exception).startswith("faces/quick: Pending, and is not Suspended after 1 s; see ")


def test_it_does_not_wait_for_what_cannot_come(wait_for: Callable[..., Result]) -> None:
    result = wait_for("Training", "Failed")
    assert isinstance(result.exception, ArcFaceError)
    assert str(result.exception).startswith("faces/quick: Failed, and will not be Suspended; see ")
