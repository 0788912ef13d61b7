"""Launchers that tell each other and the operator of their ranks, over real connections."""

import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread

import httpx
import pytest

from arcface_api.contract.launcher_words import GangWord, PodWord
from arcface_api.contract.pod_environment import RankIdentity
from arcface_api.contract.reports import ReportedFailure
from arcface_trainer.pod import launches
from arcface_trainer.pod.launches import Exchange, Launches
from arcface_trainer.pod.rendezvous import MeetingPoint
from support.waiting import wait_until
from testbed.programs.processes import free_port

FAILURE = ReportedFailure(reason="RankDied", message="rank 1 died with signal SIGKILL", rank=1, exit_code=137)


def identity(rank: int, launch_file: Path | None = None, **fields) -> RankIdentity:
    place = {"world_size": 2, "attempt": 3, "job_uid": "u", "launch_file": launch_file}
    return RankIdentity(rank=rank, **{**place, **fields})


def word(rank: int = 1, **fields) -> PodWord:
    return PodWord(**{"job_uid": "u", "attempt": 3, "launch": 0, "rank": rank, **fields})


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> int:
    """Where pod 0's launcher listens, on loopback."""
    found = free_port()
    monkeypatch.setattr(launches.Exchange.serve, "__defaults__", (found,))
    monkeypatch.setattr(launches._tell, "__defaults__", (found,))
    return found


@pytest.fixture
def pods(port: int, tmp_path: Path) -> list[Launches]:
    """The launchers of two pods that have met, each with the file that its kubelet shows."""
    met = MeetingPoint("127.0.0.1")
    return [Launches.begin(identity(rank, tmp_path / f"launch-{rank}"), met) for rank in range(2)]


@pytest.fixture
def listen(port: int) -> Iterator[Callable[[int, float], GangWord]]:
    """What the operator hears after a serial."""
    with httpx.Client(trust_env=False, timeout=60) as client:

        def ask(after: int, seconds: float) -> GangWord:
            answer = client.get(f"http://127.0.0.1:{port}/gang", params={"after": after, "seconds": seconds})
            return GangWord.model_validate_json(answer.raise_for_status().content)

        yield ask


def never() -> bool:
    return False


def test_a_pod_that_nobody_hears_is_not_launched_again(pods: list[Launches]) -> None:
    assert not pods[1].is_called_after(FAILURE, 7, never)
    assert not pods[0].is_called_after(FAILURE, 7, never)


def test_a_failure_is_heard_at_once_and_the_word_launches_the_ranks(pods: list[Launches], listen, tmp_path) -> None:
    heard: list[GangWord] = []
    operator = Thread(target=lambda: heard.append(listen(0, 60)))
    operator.start()
    wait_until(lambda: pods[0].exchange._listeners == 1)
    answers: list[bool] = []
    launcher = Thread(target=lambda: answers.append(pods[1].is_called_after(FAILURE, 7, never)))
    launcher.start()
    operator.join()
    assert (heard[0].job_uid, heard[0].attempt, heard[0].launch, heard[0].pods) == ("u", 3, 0, 1)
    assert heard[0].failures == [word(failure=FAILURE, step=7)]
    for rank in range(2):
        (tmp_path / f"launch-{rank}").write_text("1\n")
    launcher.join()
    assert answers == [True]
    for pod in pods:
        assert pod.is_called
        pod.advance()
        assert not pod.is_called
        pod.tell_of_start()
    after = listen(heard[0].serial + 1, 0)
    assert (after.launch, after.pods, after.failures) == (1, 2, [])


def test_a_request_to_stop_ends_the_waiting(pods: list[Launches], listen) -> None:
    listen(0, 0)
    assert not pods[1].is_called_after(FAILURE, 7, lambda: True)


def test_a_pod_whose_word_does_not_come_ends(pods: list[Launches], listen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launches, "CALL_SECONDS", 0.2)
    listen(0, 0)
    assert not pods[1].is_called_after(FAILURE, 7, never)


@pytest.mark.parametrize(
    "failure",
    [
        pytest.param(FAILURE.model_copy(update={"exit_code": 2}), id="bad input"),
        pytest.param(FAILURE.model_copy(update={"exit_code": 3}), id="diverged"),
        pytest.param(FAILURE.model_copy(update={"reason": "Stopped", "exit_code": 143}), id="stopped"),
    ],
)
def test_what_no_launch_cures_is_not_told(pods: list[Launches], listen, failure: ReportedFailure) -> None:
    listen(0, 0)
    assert not pods[1].is_called_after(failure, 7, never)
    assert listen(0, 0).failures == []


def test_an_operator_of_a_release_before_has_no_file_for_the_word(port: int) -> None:
    alone = Launches.begin(identity(0), None)
    assert not alone.is_called
    assert not alone.is_called_after(FAILURE, 7, never)
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{port}/gang", trust_env=False)


@pytest.mark.parametrize(
    ("text", "number"), [("", 0), ("2", 2), ("2\n", 2), ("-1", 0), ("²", 0), ("9" * 99, 0), ("x", 0)]
)
def test_what_is_no_number_asks_for_no_launch(tmp_path: Path, text: str, number: int) -> None:
    file = tmp_path / "launch"
    file.write_text(text)
    assert launches._asked_for(identity(0, file)) == number


def test_a_port_that_is_taken_leaves_the_pods_to_end_with_their_ranks(pods: list[Launches], tmp_path: Path) -> None:
    other = Launches.begin(identity(0, tmp_path / "launch"), None)
    assert not other.is_called_after(FAILURE, 7, never)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        pytest.param(word(attempt=2).to_json(), 409, id="another attempt"),
        pytest.param(word(job_uid="v").to_json(), 409, id="another job"),
        pytest.param(word(rank=2).to_json(), 409, id="a rank that there is not"),
        pytest.param("{}", 400, id="no word"),
        pytest.param("\xff", 400, id="no JSON"),
        pytest.param(json.dumps({"rank": -1}), 400, id="no rank"),
    ],
)
def test_words_that_are_none_of_the_gangs_are_refused(
    pods: list[Launches], port: int, listen, body: str, status: int
) -> None:
    content = body.encode("latin-1")
    assert httpx.post(f"http://127.0.0.1:{port}/word", content=content, trust_env=False).status_code == status
    assert listen(0, 0).serial == 0


@pytest.mark.parametrize("query", ["after=x", "seconds=nan&after=nan", "after=1e999"])
def test_a_question_without_numbers_is_refused(pods: list[Launches], port: int, query: str) -> None:
    assert httpx.get(f"http://127.0.0.1:{port}/gang?{query}", trust_env=False).status_code == 400


def test_a_word_of_an_earlier_launch_does_not_replace_a_later_one() -> None:
    exchange = Exchange(identity(0))
    exchange.take(word(launch=1))
    exchange.take(word(launch=0, failure=FAILURE))
    found = exchange.listen(0, 0)
    assert (found.launch, found.pods, found.failures) == (1, 1, [])


def test_of_many_failures_the_first_are_told() -> None:
    exchange = Exchange(identity(0))
    for rank in range(20):
        exchange.take(word(rank, failure=FAILURE))
    assert [each.rank for each in exchange.listen(0, 0).failures] == list(range(8))


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"POST /word HTTP/1.1\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n{}",
        b"GET //[gang HTTP/1.1\r\n\r\n",
    ],
    ids=["a length of 5,000 digits", "a path that is no address"],
)
def test_what_no_program_of_ours_says_is_refused_without_a_traceback(pods, port, capfd, request_bytes) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(request_bytes)
        assert connection.recv(100).startswith(b"HTTP/1.0 404 ")
    assert "Traceback" not in capfd.readouterr().err


def test_whoever_has_gone_before_the_answer_is_a_line(capfd, caplog) -> None:
    caplog.set_level("INFO")
    with launches._Server(("127.0.0.1", 0), launches._Handler) as server, socket.socket() as unconnected:
        try:
            unconnected.send(b"an answer")
        except OSError:
            server.handle_error(None, ("10.0.0.9", 40000))
    assert "10.0.0.9" in caplog.text
    assert "Traceback" not in capfd.readouterr().err + caplog.text
