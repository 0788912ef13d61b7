"""What `arcface plan` says of the traffic is what a step hands to its collectives."""

import pytest

from arcface_operator.preflight.estimate import collectives
from arcface_operator.preflight.layers import network_size
from support.builders.jobs import make_job
from support.fakes.alike_ranks import record_step

RANKS, BATCH, CLASSES, EMBEDDING = 3, 4, 11, 16


@pytest.mark.parametrize("share", [1.0, 0.1], ids=["all classes", "a share of them"])
def test_a_step_exchanges_what_the_plan_says(share: float) -> None:
    spec = make_job(
        model={"backbone": "iresnet18", "width": 0.0625, "stemStride": 2, "embeddingSize": EMBEDDING},
        loss={"sampleRate": share},
        workers={"accelerator": "cpu", "replicas": RANKS},
        training={"batchSize": BATCH},
    ).spec
    planned = collectives(spec, network_size(spec.model))
    assert record_step(spec, CLASSES) == [(each.operation, each.handed_over, each.received) for each in planned]
