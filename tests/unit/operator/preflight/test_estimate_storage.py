"""What checkpoints take, and how many are there at once."""

from typing import Any

import pytest

from arcface_operator.preflight.data import Counts
from arcface_operator.preflight.estimate import Storage, storage
from arcface_operator.preflight.layers import network_size
from support.builders.jobs import make_job


def claim(**spec: Any) -> Storage:
    job = make_job(model={"backbone": "iresnet18"}, **spec)
    return storage(job.spec, Counts(1000, 9000), network_size(job.spec.model))


def test_a_checkpoint_holds_weights_and_momentum_of_backbone_and_head() -> None:
    network = network_size(make_job(model={"backbone": "iresnet18"}).spec.model)
    assert claim().checkpoint == 4 * (network.parameters + network.trainable + network.statistics + 2 * 1000 * 512)


@pytest.mark.parametrize(
    ("spec", "checkpoints"),
    [
        pytest.param({}, 4, id="three kept, one being written"),
        pytest.param({"evaluation": {"claimName": "sets"}}, 4, id="verified at the end only"),
        pytest.param({"evaluation": {"claimName": "sets", "everyEpochs": 2}}, 5, id="and the best one"),
    ],
)
def test_the_claim_holds_the_one_that_is_being_written_too(spec: dict[str, Any], checkpoints: int) -> None:
    found = claim(**spec)
    assert found.checkpoints == checkpoints
    assert found.claim == checkpoints * found.checkpoint
