"""What a launcher does with the states in its pod's memory, and that nothing of it fails or holds up a training."""

from dataclasses import replace
from threading import Event

import pytest

from arcface_trainer.heartbeat import Beat, Phase
from arcface_trainer.pod import last_state, mirror, pod_states
from arcface_trainer.pod.pod_states import PodStates
from support.waiting import wait_until

NAME = "step-00000008"


def states(pod, ranks=(), signals=()):
    return PodStates(pod.config, pod.launches, pod.folder, list(ranks), list(signals))


class StandingRank:
    """One that does nothing but what it is told to."""

    is_finished = False

    def __init__(self, phase=Phase.STEP):
        self.phase, self.step = phase, 9

    def beat(self):
        return Beat(self.phase, self.step, 0.0)


@pytest.fixture(autouse=True)
def no_haste(monkeypatch):
    monkeypatch.setattr(mirror, "SPREAD_SECONDS", 0.0)
    monkeypatch.setattr(pod_states, "LOOK_SECONDS", 0.02)


@pytest.fixture
def volume(tmp_path):
    (tmp_path / "volume" / ".writing-u-3").mkdir(parents=True)
    return tmp_path / "volume"


def test_pods_keep_each_others_states_and_one_that_is_lost_costs_none(gang, volume):
    first, second, another = gang
    kept = [states(pod) for pod in (first, second)]
    for each in kept:
        each.begin()
    for pod in (first, second):
        pod.keep(8)
    wait_until(lambda: first.copies() == second.copies() == [NAME])
    kept[1].end(0)
    replaced = another(2, 3, launch=1)
    late = states(replaced)
    late.begin()  # its ranks start when this returns
    assert replaced.state(2, 8).is_dir()
    assert replaced.state(3, 8).is_dir()
    assert not list(replaced.folder.glob(".fetched-*"))
    wait_until(lambda: replaced.copies() == [NAME])
    for each in (kept[0], late):
        each.end(137)
    assert [path.name for path in volume.glob("step-*")] == [NAME]


def test_a_new_pod_of_a_gang_without_copies_starts_soon_and_from_the_volume(gang, volume, monkeypatch, caplog):
    monkeypatch.setattr(pod_states, "FETCH_SECONDS", 0.0)
    replaced = gang[2](2, 3, launch=1)
    late = states(replaced)
    late.begin()
    late.end(0)
    assert "no states are fetched" in caplog.text
    assert not list(replaced.folder.iterdir())


@pytest.mark.parametrize(("seconds", "signals"), [(0.0, []), (60.0, [15])], ids=["too long", "asked to stop"])
def test_a_fetch_that_is_given_up_changes_nothing_later(gang, monkeypatch, caplog, seconds, signals):
    replaced = gang[2](2, 3, launch=1)
    asked, done = Event(), Event()

    def fetch(*_):
        asked.wait(30)
        done.set()
        return [mirror.Fetched(replaced.folder / ".fetched-8" / "rank-2", replaced.state(2, 8))]

    monkeypatch.setattr(mirror, "fetch_states", fetch)
    monkeypatch.setattr(pod_states, "FETCH_SECONDS", seconds)
    late = states(replaced, signals=signals)
    late.begin()
    asked.set()
    assert done.wait(30)
    late.end(0)
    assert "TimeoutError" in caplog.text
    assert not replaced.state(2, 8).exists()


@pytest.mark.parametrize(
    "exit_code", [pytest.param(0, id="done"), pytest.param(2, id="bad input"), pytest.param(3, id="diverged")]
)
def test_what_is_done_or_never_tried_again_leaves_no_state(gang, volume, exit_code):
    gang[0].keep(8)
    states(gang[0]).end(exit_code)
    assert list((volume / ".writing-u-3").iterdir()) == []


def test_a_pod_that_ends_before_the_ranks_of_a_launch_have_begun_saves_beside_those_of_the_last(gang, volume):
    for pod in gang[:2]:
        pod.keep(8)
        pod.launches.identity = replace(pod.launches.identity, launch=2)
        states(pod).end(143)
    assert [path.name for path in volume.glob("step-*")] == [NAME]


def test_a_stop_that_ranks_could_not_save_at_is_made_up_for(gang, volume):
    for pod in gang[:2]:
        pod.keep(8)
        states(pod).end(143)
    assert [path.name for path in volume.glob("step-*")] == [NAME]


def test_ranks_that_stand_still_when_they_are_asked_to_stop_have_their_state_saved_before_they_end(
    gang, volume, monkeypatch
):
    monkeypatch.setattr(pod_states, "STILL_SECONDS", 0.05)
    waiting = [states(pod, [StandingRank()]) for pod in gang[:2]]
    for pod, each in zip(gang[:2], waiting, strict=True):
        pod.keep(8)
        each.begin()
    assert list(volume.glob("step-*")) == []
    for each in waiting:
        each.signals.append(15)
    wait_until(lambda: list(volume.glob("step-*")))


@pytest.mark.parametrize(
    ("seconds", "patience"),
    [(0.2, 1.0), (1.5, 3.0), (60.0, 4.0)],
    ids=["short steps", "long ones", "such as a pod that lost a peer cannot wait for"],
)
def test_ranks_whose_steps_take_long_are_waited_for_longer(gang, volume, monkeypatch, seconds, patience):
    rank, waited = StandingRank(), []
    each = states(gang[0], [rank])
    rank.beat = lambda: Beat(Phase.STEP, rank.step, rank.step * seconds)

    def wait(asked):
        waited.append(asked)
        rank.step += 2  # since the last look
        if len(waited) == 3:
            each.signals.append(15)
        return False

    monkeypatch.setattr(each._ended, "wait", wait)
    each._save_where_ranks_stand_still()
    assert waited[-1] == pytest.approx(patience)
    assert waited[:-1] == [pod_states.POLL_SECONDS] * 3


def test_a_pod_of_a_later_launch_says_where_it_is_before_its_ranks_have_left_a_state(gang):
    first, _, another = gang
    each = states(another(2, 3, launch=1))
    first.peers.addresses(first.peers.shelf())  # it has no states either
    each.begin()
    wait_until(lambda: 2 in first.peers.shelf().addresses)
    each.end(0)


def steps(rank):
    rank.step += 1


def ends(rank):
    rank.is_finished = True


@pytest.mark.parametrize(("phase", "act"), [(Phase.CHECKPOINT, repr), (Phase.STEP, steps), (Phase.STEP, ends)])
def test_ranks_that_save_themselves_are_left_to_it(gang, volume, monkeypatch, phase, act):
    gang[0].keep(8)
    rank = StandingRank(phase)
    each = states(gang[0], [rank], [15])
    monkeypatch.setattr(pod_states, "STILL_SECONDS", 0.0)
    beats = PodStates._beats

    def look_and_act(of):
        found = beats(of)
        act(rank)
        return found

    monkeypatch.setattr(PodStates, "_beats", look_and_act)
    each._save_where_ranks_stand_still()
    assert list((volume / ".writing-u-3").iterdir()) == []


def test_a_volume_that_hangs_or_refuses_holds_no_end_up(gang, monkeypatch, caplog):
    gang[0].keep(8)
    states(gang[0]).end(137)  # nobody has made room there
    assert "not saved" in caplog.text
    hanging = Event()
    monkeypatch.setattr(last_state.LastState, "of", lambda *_: hanging.wait(30) and None)
    monkeypatch.setattr(pod_states, "SAVE_SECONDS", 0.05)
    states(gang[0]).end(137)
    hanging.set()
    assert "TimeoutError" in caplog.text


def test_copies_may_be_turned_off(gang, volume):
    off = gang[2](2, 7, mirror=0, launch=1)
    each = states(off)
    each.begin()
    assert not off.copies()
    each.end(0)
    assert not list(volume.glob(".launchers-*"))
