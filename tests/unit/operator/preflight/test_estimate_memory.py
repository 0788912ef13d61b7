"""Memory of cards and nodes by the sizes of what is held there."""

from typing import Any

import pytest

from arcface_api.class_sampling import row_capacity
from arcface_operator.preflight.data import Counts
from arcface_operator.preflight.estimate import DeviceMemory, HostMemory, device_memory, estimate, host_memory
from arcface_operator.preflight.layers import network_size
from support.builders.jobs import make_job
from support.builders.training_sets import EIGHT, MS1MV2

R100 = 65_156_160
VERIFIED = {"claimName": "sets", "everyEpochs": 1}


def device(counts: Counts = MS1MV2, **spec: Any) -> DeviceMemory:
    job = make_job(**spec)
    return device_memory(job.spec, counts, network_size(job.spec.model))


def host(counts: Counts = MS1MV2, **spec: Any) -> HostMemory:
    job = make_job(**spec)
    return host_memory(job.spec, counts, network_size(job.spec.model), device(counts, **spec))


def gang(replicas: int) -> dict[str, Any]:
    return {"workers": {"accelerator": "ascend", "devicesPerWorker": 8, "replicas": replicas}}


def test_memory_of_one_rank_of_eight() -> None:
    memory = device(**EIGHT)
    assert memory.weights == 4 * R100
    assert memory.momentum == 4 * (R100 - 512), "the scale of the last normalisation stays 1"
    assert memory.gradients == 8 * (R100 - 512)
    assert memory.head == 3 * 4 * 10_718 * 512
    assert memory.logits == 9 * 1024 * 10_718
    assert memory.temporaries == 4 * (5 * 1024 * 512 + 2 * 10_718 * 512 + 8 * 1024)
    parts = memory.model_dump(exclude={"total"}).values()
    assert memory.total == sum(parts)


def test_a_network_that_is_verified_is_held_twice() -> None:
    verified = device(evaluation=VERIFIED, **EIGHT)
    assert verified.weights == 2 * device(**EIGHT).weights
    assert verified.momentum == device(**EIGHT).momentum


def test_half_precision_halves_the_activations() -> None:
    half, single = (device(training={"precision": precision}, **EIGHT).activations for precision in ("fp16", "fp32"))
    assert 2 * half == single


def test_accumulation_divides_what_grows_with_the_batch_and_keeps_one_more_sum() -> None:
    whole, parts = device(**EIGHT), device(**EIGHT, training={"gradientAccumulation": 4})
    assert 4 * parts.activations == whole.activations
    assert 4 * parts.logits == whole.logits
    assert parts.gradients - whole.gradients == whole.momentum
    assert 3 * parts.head == 4 * whole.head
    assert parts.temporaries == 4 * (5 * 256 * 512 + 2 * 10_718 * 512 + 8 * 256)


def test_one_rank_gathers_no_peaks() -> None:
    memory = device()
    assert memory.temporaries == 4 * (5 * 128 * 512 + 2 * MS1MV2.identities * 512)


def test_gradients_are_joined_with_any_number_of_ranks() -> None:
    assert device().gradients == device(**EIGHT).gradients == 2 * device().momentum


def test_more_ranks_do_not_shrink_the_logits() -> None:
    million = Counts(identities=1_024_000, images=10**8)
    logits = [device(million, **gang(replicas)).logits for replicas in (1, 2, 64)]
    assert logits == [9 * 128 * 1_024_000] * 3


def test_sampling_takes_rows_instead_of_classes_for_all_but_centres_and_momentum() -> None:
    million = Counts(identities=1_024_000, images=10**8)
    classes, rows = 128_000, row_capacity(128_000, 0.1, 1024)
    assert 12_800 < rows < 15_000
    memory, every = device(million, loss={"sampleRate": 0.1}, **EIGHT), device(million, **EIGHT)
    assert memory.head == 4 * 512 * (2 * classes + rows)
    assert memory.logits == 10 * 1024 * rows
    assert memory.temporaries == 4 * (5 * 1024 * 512 + 3 * rows * 512 + 8 * 1024 + 6 * classes)
    assert memory.total < every.total


def test_the_filter_takes_a_truth_value_for_each_image_and_class() -> None:
    filtered = device(loss={"interclassFilter": 0.4}, **EIGHT)
    assert 9 * filtered.logits == 10 * device(**EIGHT).logits


def test_the_peaks_of_512_ranks_take_128_mebibytes() -> None:
    """Every rank's greatest logit of every image, on every rank."""
    memory = device(**gang(64))
    classes = -(-MS1MV2.identities // 512)
    assert memory.temporaries - 4 * 512 * (5 * 65_536 + 2 * classes) == 128 << 20


def test_the_copy_of_a_checkpoint_is_all_that_the_ranks_of_pod_0_write() -> None:
    statistics = network_size(make_job().spec.model).statistics
    assert host(**EIGHT).snapshot == 4 * (2 * R100 - 512 + statistics) + 8 * 2 * 4 * 10_718 * 512
    half = host(**gang(2)).snapshot
    assert half == 4 * (2 * R100 - 512 + statistics) + 8 * 2 * 4 * 5_359 * 512, "the second pod holds the other half"


@pytest.mark.parametrize(
    ("mebibytes", "copies"), [(None, 2), (0, 0), (335, 2), (334, 0)], ids=["no budget", "none", "enough", "too little"]
)
def test_a_pod_keeps_two_states_and_two_copies_of_another_pods_centres(mebibytes: int | None, copies: int) -> None:
    """Of eight ranks: 334.9 MiB, two copies or none."""
    kept = {} if mebibytes is None else {"checkpoint": {"mirrorMebibytes": mebibytes}}
    found, centers = host(**gang(2), **kept), 8 * 2 * 4 * 5_359 * 512
    assert found.states == 2 * found.snapshot + copies * centers
    assert host(**gang(1), **kept).states == 2 * host(**gang(1)).snapshot, "a pod alone has no other one"


def test_a_nodes_memory_grows_with_its_ranks_and_the_images() -> None:
    one = host(Counts(1000, 10**6))
    eight = host(Counts(1000, 10**6), **EIGHT)
    assert (eight.mindspore, eight.batches) == (8 * one.mindspore, 8 * one.batches)
    # The index is one for all ranks, the orders of two epochs are each one's own.
    assert (one.index, eight.index) == (32 * 10**6, (24 + 64) * 10**6)
    assert one.batches == 10 * 128 * (3 * 112 * 112 + 4)


@pytest.mark.parametrize(("accelerator", "share"), [("cpu", 1), ("ascend", 0)])
def test_ranks_on_the_cpu_need_their_nodes_memory(accelerator: str, share: int) -> None:
    workers = {"accelerator": accelerator, "devicesPerWorker": 2}
    training = {"precision": "fp32"}
    found = host(workers=workers, training=training)
    assert found.device == share * 2 * device(workers=workers, training=training).total
    assert found.total == sum(found.model_dump(exclude={"total", "states"}).values())


def test_a_rank_of_the_smallest_gang_holds_more_classes_and_adds_its_gradients_up() -> None:
    whole = gang(4)["workers"]
    found = estimate(make_job(workers={**whole, "minReplicas": 3}).spec, MS1MV2)
    joined, classes = 128 * 24, 3573
    assert found.memory_when_small == sum(
        (
            4 * R100,
            4 * (R100 - 512),
            12 * (R100 - 512),
            4 * 4 * classes * 512,
            9 * joined * classes,
            4 * (5 * joined * 512 + 2 * classes * 512 + 24 * joined),
            found.memory.activations,
        )
    )
    assert estimate(make_job(workers=whole).spec, MS1MV2).memory_when_small is None


@pytest.mark.parametrize("accelerator", ["ascend", "cpu"])
def test_pod_0_of_the_smallest_gang_is_told_like_a_job_of_that_size(accelerator: str) -> None:
    """Eight pods' 1,024 images by one pod: eight parts of 128, all decoded there, and all classes in its copy."""
    workers = {"accelerator": accelerator, "replicas": 8, "devicesPerWorker": 1}
    training = {"precision": "fp32", "batchSize": 128}
    elastic = estimate(make_job(workers={**workers, "minReplicas": 1}, training=training).spec, MS1MV2)
    in_parts = {**training, "batchSize": 1024, "gradientAccumulation": 8}
    alone = estimate(make_job(workers={**workers, "replicas": 1}, training=in_parts).spec, MS1MV2)
    assert elastic.host_when_small == alone.host.total > elastic.host.total
    assert alone.host_when_small is None
