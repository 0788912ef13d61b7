"""How a rank takes its device and meets the others."""

import ctypes
import signal
from collections.abc import Iterator

import mindspore
import pytest

from arcface_api.contract.pod_environment import RankIdentity
from arcface_api.contract.run_config import RunRanks
from arcface_api.errors import InvalidInput
from arcface_trainer.device import ASCEND_910A
from arcface_trainer.distributed import collectives
from arcface_trainer.distributed.collectives import init_distributed


@pytest.fixture
def ranks(monkeypatch: pytest.MonkeyPatch) -> RunRanks:
    """One rank, on a 910A."""
    monkeypatch.setattr(collectives, "configure_device", lambda *_: ASCEND_910A)
    return RunRanks(world_size=1, per_pod=1, accelerator="ascend", rendezvous="dynamic")


def test_a_rank_refuses_a_precision_that_its_chip_does_not_compute(ranks: RunRanks) -> None:
    with pytest.raises(InvalidInput, match=r"^training\.precision: Ascend 910A does not compute fp32; write fp16$"):
        init_distributed(ranks, RankIdentity.from_environment({}), "fp32")


def test_a_rank_knows_its_chip(ranks: RunRanks) -> None:
    assert init_distributed(ranks, RankIdentity.from_environment({}), "fp16").chip is ASCEND_910A


@pytest.fixture
def meeting(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """MindSpore's way to wait for an address, a sleep of C; the seconds that were left of it."""
    left: list[int] = []
    monkeypatch.setattr(mindspore.communication, "init", lambda: left.append(ctypes.CDLL(None).sleep(3)))
    before = signal.getsignal(signal.SIGALRM)
    yield left
    assert signal.getsignal(signal.SIGALRM) is before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_ranks_on_cpu_are_woken_to_ask_again(meeting: list[int]) -> None:
    collectives._join(None)
    assert meeting > [0]


def test_ranks_with_a_card_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    timers = []
    monkeypatch.setattr(mindspore.communication, "init", lambda: timers.append(signal.getitimer(signal.ITIMER_REAL)))
    collectives._join(ASCEND_910A)
    assert timers == [(0.0, 0.0)]
