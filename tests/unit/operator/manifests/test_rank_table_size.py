"""Whether a job's rank table fits into the ConfigMap that carries it."""

from typing import Any

import pytest

from arcface_operator.decision.rank_table import assemble
from arcface_operator.manifests.rank_table_size import DATA_LIMIT, largest_rank_table, too_large_rank_table
from support.builders.jobs import make_job
from support.builders.views import SETTINGS, make_worker

SUPER_POD = {"metadata": {"annotations": {"sp-block": "1"}}}


def job_of(replicas: int, devices: int, **workers: Any) -> Any:
    fields = {"accelerator": "ascend", "replicas": replicas, "devicesPerWorker": devices, **workers}
    return make_job(workers=fields, training={"precision": "fp32"})


def longest_pod(index: int, devices: int) -> Any:
    """A pod with the longest numbers and addresses that are all different."""
    cards = ",".join(
        f'{{"device_id":"{10 + card}","device_ip":"2{10 + card}.{100 + index}.100.100","super_device_id":"{number}"}}'
        for card, number in ((card, 4_000_000_000 + 100 * index + card) for card in range(devices))
    )
    text = f'{{"server_id":"uid","host_ip":"100.100.100.{100 + index}","devices":[{cards}]}}'
    address = f"110.100.100.{100 + index}"
    return make_worker(index, address=address, annotations={SETTINGS.device_annotation: text})


@pytest.mark.parametrize(("replicas", "devices"), [(1, 16), (2, 8), (40, 4)])
@pytest.mark.parametrize("template", [None, SUPER_POD], ids=["1.0", "1.2"])
def test_no_table_is_larger_than_was_said_beforehand(replicas: int, devices: int, template: Any) -> None:
    spec = job_of(replicas, devices, template=template).spec
    pods = [longest_pod(index, devices) for index in range(replicas)]
    document = assemble(spec, pods, SETTINGS.device_annotation).document
    assert document is not None
    assert 0.9 * largest_rank_table(spec) < len(document) <= largest_rank_table(spec)


def test_a_table_that_may_not_fit_is_refused_with_the_numbers() -> None:
    spec = job_of(2048, 8).spec
    size = largest_rank_table(spec)
    assert size > DATA_LIMIT
    most = 2048 * DATA_LIMIT // size
    assert too_large_rank_table(spec) == (
        f"spec.workers: the rank table of 2048 x 8 ranks has up to {size:,} bytes, a ConfigMap holds 1,048,576: use "
        f"{most} replicas at most, or rendezvous dynamic"
    )
    assert too_large_rank_table(job_of(most, 8).spec) is None
    assert too_large_rank_table(job_of(2048, 8, rendezvous="dynamic").spec) is None
    assert too_large_rank_table(job_of(10_000, 64, accelerator="cpu").spec) is None
