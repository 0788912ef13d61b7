"""How pods hear of a launch, and what becomes of launchers that do not follow."""

import json
from typing import Any

import pytest

from arcface_api.contract.launcher_words import GangWord
from arcface_api.contract.pod_environment import LAUNCH_ANNOTATION
from arcface_operator.decision.observation import HeardWords, PodView
from arcface_operator.decision.plan import Annotate, Plan
from support.builders.plans import plan_in
from support.builders.views import SETTINGS, ago, make_ended, make_worker

LIMIT = SETTINGS.launch_seconds


def launched(index: int, launch: str | None) -> PodView:
    pod = make_worker(index)
    own = {} if launch is None else {LAUNCH_ANNOTATION: launch}
    return make_worker(index, annotations={**pod.annotations, **own})


def follow(*launches: str | None, words: HeardWords | None = None, since: float = 1.0, **status: Any) -> Plan:
    pods = tuple(launched(index, launch) for index, launch in enumerate(launches))
    known = {"launch": 1, "restarted_at": ago(since), **status}
    return plan_in(
        "Starting", {"pods": pods, "words": words, "watched_since": ago(9999)}, known, workers={"replicas": 2}
    )


def told(plan: Plan) -> list[tuple[str, str]]:
    found = (action for action in plan.actions if isinstance(action, Annotate))
    return [(action.name, action.annotations[LAUNCH_ANNOTATION]) for action in found]


def test_pods_that_have_not_been_told_are_told_again() -> None:
    assert told(follow("1", None)) == [("quick-worker-1", "1")]
    assert told(follow("1", "1")) == []


def test_a_launch_that_only_pods_know_of_goes_on() -> None:
    """An operator of a release before has written the status meanwhile."""
    assert told(follow("2", None, launch=0)) == [("quick-worker-1", "2")]


def heard(launch: int, pods: int, answered: float = 0.0) -> HeardWords:
    return HeardWords(GangWord(attempt=2, serial=3, launch=launch, pods=pods), ago(99), answered_at=ago(answered))


@pytest.mark.parametrize(
    ("words", "since", "message"),
    [
        pytest.param(None, LIMIT - 1, None, id="not heard yet"),
        pytest.param(heard(1, 2), 10 * LIMIT, None, id="all have started their ranks"),
        pytest.param(None, 10 * LIMIT, None, id="nobody can be heard"),
        pytest.param(heard(0, 2, answered=LIMIT), 2 * LIMIT - 1, None, id="not heard any more"),
        pytest.param(heard(1, 1, answered=LIMIT), 2 * LIMIT - 1, None, id="not heard any more since the first"),
        pytest.param(heard(0, 2), LIMIT, "0 of 2 pods", id="all stay behind"),
        pytest.param(heard(1, 1), LIMIT, "1 of 2 pods", id="one stays behind"),
        pytest.param(heard(1, 1, answered=LIMIT), 2 * LIMIT, "1 of 2 pods", id="one stayed behind in its time"),
    ],
)
def test_launchers_that_do_not_follow_in_time_are_made_anew(
    words: HeardWords | None, since: float, message: str | None
) -> None:
    status = follow("1", "1", words=words, since=since).status
    if message is None:
        assert (status.phase, status.attempt) == ("Starting", 2)
    else:
        assert (status.phase, status.attempt, status.launch) == ("Restarting", 3, 0)
        assert (status.counted_restarts, status.failure.reason) == (1, "NotLaunched")
        assert status.failure.message == f"{message} have started their ranks anew within {LIMIT:g} s"


def test_launchers_that_have_never_said_anything_are_made_anew_by_their_silent_answer() -> None:
    """Those of the release before do not heed every call."""
    silence = HeardWords(GangWord(attempt=2, serial=0, launch=0, pods=0), ago(0))
    assert follow("1", "1", words=silence, since=LIMIT).status.failure.reason == "NotLaunched"


def test_the_time_to_start_in_begins_with_the_launch() -> None:
    plan = follow("1", "1", words=heard(1, 2), since=1799)
    assert plan.status.phase == "Starting"


SIGNED = {"jobUid": "uid-1", "attempt": 2}


def report_of(code: int, **origin: Any) -> str:
    """What a launcher leaves for a rank that ended with a code."""
    failure = {"reason": "RankDied", "message": "rank 1 ended", "rank": 1, "exitCode": code}
    return json.dumps({"failure": failure, **origin})


@pytest.mark.parametrize(
    ("origin", "code", "reason", "counted"),
    [
        pytest.param({**SIGNED}, 1, "NotLaunched", 0, id="of the first launch"),
        pytest.param({**SIGNED, "launch": 1}, 1, "NotLaunched", 0, id="of the launch before"),
        pytest.param({**SIGNED, "launch": 2}, 1, "RankDied", 1, id="of the present launch"),
        pytest.param({**SIGNED, "launch": 1}, 2, "InvalidInput", 0, id="bad input is bad in every launch"),
        pytest.param({}, 1, "RankDied", 1, id="of an earlier release, which does not say"),
    ],
)
def test_what_an_earlier_launch_died_of_counts_once(
    origin: dict[str, Any], code: int, reason: str, counted: int
) -> None:
    """Its launcher waited in vain for the word that would have had it start its ranks anew, and ended."""
    late = make_ended(1, code=code, message=report_of(code, **origin))
    seen = {"pods": (launched(0, "2"), late), "watched_since": ago(9999)}
    plan = plan_in("Starting", seen, {"launch": 2, "restarted_at": ago(1)}, workers={"replicas": 2})
    assert plan.status.failure is not None
    assert plan.status.failure.reason == reason
    assert plan.status.failure.pod == "quick-worker-1"
    assert plan.status.counted_restarts == 1 + counted
    assert plan.status.phase == ("Failed" if code == 2 else "Restarting")
