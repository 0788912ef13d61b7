"""How a rank takes its device and meets the others."""

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
