"""Launchers that tell each other and the operator of their ranks, over real connections."""

import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread

import httpx
import pytest

from arcface_api.contract.launcher_words import GangWord, LaunchCall, PodWord
from arcface_api.contract.pod_environment import RankIdentity
from arcface_api.contract.reports import ReportedFailure
from arcface_trainer.pod import launches, rendezvous
from arcface_trainer.pod.launches import Exchange, Launches
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
    (tmp_path / "scheduler").write_text("127.0.0.1")
    found = [
        Launches.begin(identity(rank, tmp_path / f"launch-{rank}", scheduler_file=tmp_path / "scheduler"))
        for rank in range(2)
    ]
    for pod in found:
        pod.meet()
    return found


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
        pod.meet()
        assert not pod.is_called
        pod.tell_of_start()
    wait_until(lambda: listen(0, 0).pods == 2)
    after = listen(0, 0)
    assert (after.launch, after.pods, after.failures) == (1, 2, [])


@pytest.mark.parametrize("rank", range(2))
def test_a_failure_with_long_lines_in_its_log_is_heard(pods: list[Launches], listen, monkeypatch, rank: int) -> None:
    """Eight of them must fit in what the operator reads of an answer, 128 KiB."""
    monkeypatch.setattr(launches, "CALL_SECONDS", 0.0)
    listen(0, 0)
    pods[rank].is_called_after(FAILURE.model_copy(update={"log": [100_000 * "x"] * 20}), 7, never)
    (heard,) = listen(0, 0).failures
    assert (heard.rank, heard.failure.message, heard.step) == (rank, FAILURE.message, 7)
    assert launches.words.MOST_FAILURES * len(heard.to_json()) < 1 << 17


def test_who_has_heard_more_of_another_pod_0_at_this_address_is_answered_at_once(monkeypatch) -> None:
    exchange = Exchange(identity(0))
    exchange.take(word(failure=FAILURE))
    monkeypatch.setattr(exchange._changed, "wait", lambda _=None: pytest.fail("it waits"))
    assert exchange.listen(99, 60).failures == [word(failure=FAILURE)]


def test_ranks_that_have_ended_do_not_run_again_in_their_launch(port: int) -> None:
    """A pod says that it has started in a thread, which may be the slower one."""
    exchange, failed, started = Exchange(identity(0)), word(launch=1, failure=FAILURE), word(launch=1)
    for said in (failed, started):
        exchange.take(said)
    assert exchange.listen(0, 0).failures == [failed]
    exchange.take(word(launch=2))
    assert (exchange.listen(0, 0).launch, exchange.listen(0, 0).failures) == (2, [])


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
    ],
)
def test_what_no_launch_cures_is_not_told(pods: list[Launches], listen, failure: ReportedFailure) -> None:
    listen(0, 0)
    assert not pods[1].is_called_after(failure, 7, never)
    assert listen(0, 0).failures == []


def test_an_operator_of_a_release_before_has_no_file_for_the_word(port: int) -> None:
    alone = Launches.begin(identity(0))
    assert not alone.is_called
    assert not alone.is_called_after(FAILURE, 7, never)
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{port}/gang", trust_env=False)


@pytest.mark.parametrize(
    ("text", "number"), [("", 0), ("2", 2), ("2\n", 2), ("-1", 0), ("²", 0), ("9" * 99, 0), ("x", 0)]
)
def test_what_is_no_number_calls_for_no_launch(tmp_path: Path, text: str, number: int) -> None:
    file = tmp_path / "launch"
    file.write_text(text)
    assert Launches(identity(0, file), None)._call() == LaunchCall(number)


def test_a_port_that_is_taken_leaves_the_pods_to_end_with_their_ranks(pods: list[Launches], tmp_path: Path) -> None:
    other = Launches.begin(identity(0, tmp_path / "launch"))
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


NEW_POD_0 = "127.0.0.2"
"""The address that a new pod 0 has got."""


def test_a_pod_waits_for_the_word_where_pod_0_itself_is_lost(pods: list[Launches], tmp_path, monkeypatch) -> None:
    """Nobody listens at its address; the operator calls once it has seen the loss, at first without another address."""
    monkeypatch.setattr(launches._tell, "__defaults__", (free_port(),))
    monkeypatch.setattr(rendezvous, "POLL_SECONDS", 0.01)
    answers: list[bool] = []

    def wait_and_meet() -> None:
        answers.append(pods[1].is_called_after(FAILURE, 7, never))
        pods[1].meet()

    launcher = Thread(target=wait_and_meet)
    launcher.start()
    (tmp_path / "launch-1").write_text("1 anew")
    wait_until(lambda: answers)
    assert (answers, pods[1].identity.launch) == ([True], 0)
    assert launcher.is_alive(), "it knows the old address alone"
    (tmp_path / "launch-1").write_text(f"1 anew {NEW_POD_0}")
    launcher.join()
    assert (pods[1].identity.launch, pods[1].meeting) == (1, rendezvous.MeetingPoint(NEW_POD_0, launch=1))


def test_a_pod_of_a_lost_pod_0_ends_where_no_word_comes(pods: list[Launches], monkeypatch) -> None:
    monkeypatch.setattr(launches._tell, "__defaults__", (free_port(),))
    monkeypatch.setattr(launches, "LOSS_SECONDS", 0.2)
    assert not pods[1].is_called_after(FAILURE, 7, never)


def test_a_new_pod_begins_with_the_launch_that_its_gang_is_at(port: int, tmp_path: Path) -> None:
    (tmp_path / "launch").write_text("3 anew 127.0.0.1")
    new = Launches.begin(identity(1, tmp_path / "launch", scheduler_file=tmp_path / "of-the-launch-before"))
    new.meet()
    assert (new.identity.launch, new.meeting) == (3, rendezvous.MeetingPoint("127.0.0.1", launch=3))
    assert not new.is_called


def test_a_start_in_place_later_keeps_to_the_pods_that_have_met(pods: list[Launches], tmp_path: Path) -> None:
    (tmp_path / "launch-1").write_text("1 anew 127.0.0.3")
    pods[1].meet()
    (tmp_path / "launch-1").write_text("2")
    pods[1].meet()
    assert (pods[1].identity.launch, pods[1].meeting.scheduler) == (2, "127.0.0.3")


STOPPED = FAILURE.model_copy(update={"reason": "Stopped", "exit_code": 143})


def test_ranks_that_have_saved_with_one_that_is_to_leave_are_started_anew_by_the_word(
    pods: list[Launches], listen, tmp_path: Path
) -> None:
    (tmp_path / "launch-1").write_text("1 anew 127.0.0.1")
    assert pods[1].is_called_after(STOPPED, 7, never)
    assert listen(0, 0).failures == [], "they have not failed"


def test_ranks_that_have_saved_end_with_their_pod_where_no_word_comes(pods: list[Launches], monkeypatch) -> None:
    monkeypatch.setattr(launches, "LOSS_SECONDS", 0.2)
    assert not pods[1].is_called_after(STOPPED, 7, never)


def test_a_start_is_told_until_a_new_pod_0_answers(pods: list[Launches], listen, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(launches, "AGAIN_SECONDS", 0.01)
    served = launches._tell.__defaults__
    monkeypatch.setattr(launches._tell, "__defaults__", (free_port(),))
    (tmp_path / "launch-1").write_text("1 anew 127.0.0.1")
    pods[1].meet()
    pods[1].tell_of_start()
    assert listen(0, 0).pods == 0
    monkeypatch.setattr(launches._tell, "__defaults__", served)
    wait_until(lambda: listen(0, 0).pods == 1)


@pytest.mark.parametrize(
    ("text", "call"),
    [
        ("7", LaunchCall(7)),
        ("7 anew", LaunchCall(7, is_anew=True)),
        ("7 anew fd00::7\n", LaunchCall(7, is_anew=True, scheduler="fd00::7")),
        ("7 10.0.0.1", LaunchCall()),
        ("7 anew pod-0", LaunchCall()),
        ("7  anew", LaunchCall()),
        ("anew", LaunchCall()),
    ],
)
def test_the_forms_of_a_call(text: str, call: LaunchCall) -> None:
    assert LaunchCall.parse(text) == call
    assert LaunchCall.parse(call.text) == call


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


@pytest.mark.parametrize("address", ["....", "1.2.3.4.5", "::::", "ab..c"])
def test_a_call_whose_address_is_none_calls_for_no_launch(address: str) -> None:
    """Looked up, some of these end in a UnicodeError and not in an error of the network."""
    assert LaunchCall.parse(f"3 anew {address}") == LaunchCall()
    assert LaunchCall.parse("3 anew FD00::1") == LaunchCall(3, is_anew=True, scheduler="fd00::1")
