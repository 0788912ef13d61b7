"""A played pod answers, heeds calls and waits as launchers do, since the trainer's own code does it."""

import http.client
import itertools
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from arcface_api.contract.launcher_words import GangWord
from arcface_api.contract.pod_environment import LAUNCHER_PORT, RankIdentity
from arcface_api.contract.reports import TrainerReport
from arcface_trainer.pod import launches
from support.processes.training_jobs import LIVE, WELL
from support.waiting import wait_until
from testbed.fake_nodes.played_launcher import PlayedLauncher
from testbed.fake_nodes.played_ranks import PlayedRanks
from testbed.fake_nodes.scripts import Ending, Ranks, as_text

CRASH, KILLED = Ending(exit_code=1), Ending(exit_code=137)
TRAINS = Ranks(progress=LIVE)
addresses = itertools.count(random.randrange(1 << 20))


@dataclass(eq=False)
class Pods:
    """A gang of two pods on this machine."""

    folder: Path
    script: Ranks
    played: PlayedRanks = field(default_factory=PlayedRanks)
    launchers: list[PlayedLauncher] = field(default_factory=list)
    ends: dict[int, Ending | Exception] = field(default_factory=dict)
    """By the number of the launcher."""

    def add(self, rank: int, call: str = "") -> PlayedLauncher:
        number, place = len(self.launchers), next(addresses) + (1 << 20)
        address = f"127.{32 + (place >> 16)}.{place >> 8 & 255}.{place & 255}"
        identity = RankIdentity(
            rank=rank,
            world_size=2,
            address=address,
            attempt=2,
            job_uid="u",
            launch_file=self.folder / f"launch-{number}",
            scheduler_file=self.folder / "scheduler",
        )
        (self.folder / f"launch-{number}").write_text(call)
        launcher = PlayedLauncher(
            identity,
            2,
            self.script,
            self.played,
            is_reachable=lambda: True,
            ended=lambda end: self.ends.setdefault(number, end),
        )
        self.launchers.append(launcher)
        launcher.start()
        return launcher

    def begin(self) -> None:
        for rank in range(2):
            self.add(rank)
        (self.folder / "scheduler").write_text(self.launchers[0].identity.address)
        self.wait_for_launch(0)

    def call(self, text: str, *numbers: int) -> None:
        for number in numbers:
            (self.folder / f"launch-{number}").write_text(text)

    def wait_for_launch(self, launch: int) -> None:
        wait_until(lambda: self.told() == {"launch": launch, "trains": True})

    def told(self) -> dict[str, object]:
        """What rank 0 says: of the newest launcher of its place."""
        text = next(each for each in reversed(self.launchers) if each.identity.rank == 0).progress()
        report = TrainerReport.model_validate_json(text or "{}")
        return {"launch": report.launch or 0, "trains": report.progress is not None}

    def word(self, after: int = -1) -> GangWord:
        connection = http.client.HTTPConnection(self.launchers[0].identity.address, LAUNCHER_PORT, timeout=20)
        connection.request("GET", f"/gang?after={after}&seconds=5")
        word = GangWord.parse(connection.getresponse().read())
        connection.close()
        assert word is not None
        return word


@pytest.fixture
def pods(tmp_path: Path) -> Iterator[Pods]:
    pods = Pods(tmp_path, TRAINS)
    yield pods
    for launcher in pods.launchers:
        launcher.kill()


def exit_codes(pods: Pods) -> dict[int, int]:
    return {number: end.exit_code for number, end in pods.ends.items() if isinstance(end, Ending)}


def test_ranks_train_once_all_have_met_and_end_well_together(pods: Pods) -> None:
    pods.script = Ranks(trains=0.1, progress=LIVE, ending=WELL)
    pods.add(0)
    pods.add(1)
    assert not pods.told()["trains"], "the second one knows no address yet"
    (pods.folder / "scheduler").write_text(pods.launchers[0].identity.address)
    wait_until(lambda: exit_codes(pods) == {0: 0, 1: 0})
    report = TrainerReport.model_validate_json(as_text(pods.ends[0].message))
    assert (report.job_uid, report.attempt, report.progress.step) == ("u", 2, 1400)


def test_a_death_is_told_to_who_listens_and_a_call_launches_all_anew(pods: Pods) -> None:
    pods.begin()
    serial = pods.word().serial
    pods.launchers[1].end_ranks(KILLED)
    word = pods.word(after=serial)
    assert [(each.rank, each.failure.exit_code, each.launch) for each in word.failures] == [(1, 137, 0)]
    pods.call("0", 0, 1)  # an old one is none
    pods.call("1", 0, 1)
    pods.wait_for_launch(1)
    wait_until(lambda: (pods.word().launch, pods.word().pods) == (1, 2))
    pods.call("1", 0, 1)  # twice is once
    assert not pods.ends
    assert [(death.launch, death.pod, death.exit_code) for death in pods.played.deaths] == [(0, 1, 137)]


def test_where_nobody_listens_the_pod_ends_as_its_rank_did_and_the_other_waits_in_vain(pods: Pods) -> None:
    pods.begin()
    pods.launchers[1].end_ranks(CRASH)
    wait_until(lambda: exit_codes(pods) == {1: 1})
    assert pods.launchers[0].place is not None
    assert [(death.exit_code, death.is_own, death.ends_pod) for death in pods.played.deaths] == [(1, True, True)]


def test_peers_that_give_a_dead_one_up_die_of_it(pods: Pods) -> None:
    pods.script = Ranks(progress=LIVE, gives_up=0.1)
    pods.begin()
    pods.launchers[1].kill()
    wait_until(lambda: exit_codes(pods) == {0: 1})
    assert [(death.pod, death.is_own) for death in pods.played.deaths] == [(0, False)]


def test_a_pod_in_the_place_of_pod_0_is_met_at_the_address_of_the_call(pods: Pods) -> None:
    pods.begin()
    pods.launchers[0].kill()
    new = pods.add(0, call="1 anew")
    pods.call(f"1 anew {new.identity.address}", 1, 2)
    pods.wait_for_launch(1)
    assert not pods.ends


def test_who_heeds_no_call_is_met_by_nobody(pods: Pods, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launches, "CALL_SECONDS", 0.5)  # in which all old ranks are to end
    pods.begin()
    pods.launchers[0].kill()
    new = pods.add(0, call="1 anew")
    pods.call(f"1 anew {new.identity.address}", 2)
    wait_until(lambda: new.place is not None)
    assert not pods.told()["trains"]


def test_a_request_to_stop_ends_all_ranks_together_and_the_others_wait_for_a_call(pods: Pods) -> None:
    pods.begin()
    pods.launchers[1].stop(0.05)
    wait_until(lambda: exit_codes(pods) == {1: 143})
    wait_until(lambda: pods.launchers[0].place is None)
    assert 0 not in pods.ends
    new = pods.add(1, call="1 anew")
    pods.call(f"1 anew {pods.launchers[0].identity.address}", 0, 2)
    pods.wait_for_launch(1)
    assert new.place is not None


def test_what_nobody_may_retry_ends_the_pod_at_once(pods: Pods) -> None:
    pods.begin()
    pods.word()  # somebody listens
    failure = {"reason": "InvalidInput", "message": "m", "rank": 1, "exitCode": 2}
    pods.launchers[1].end_ranks(Ending(exit_code=2, message=json.dumps({"failure": failure})))
    wait_until(lambda: exit_codes(pods) == {1: 2})


def test_nobody_answers_for_a_pod_that_is_over(pods: Pods) -> None:
    pods.begin()
    pods.launchers[0].kill()
    with pytest.raises((OSError, http.client.HTTPException)):
        pods.word()
    with pytest.raises(LookupError):
        pods.launchers[0].end_ranks(CRASH)
