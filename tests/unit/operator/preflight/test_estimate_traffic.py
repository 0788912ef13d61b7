"""What crosses between ranks by name. That ranks do exchange this: tests/unit/trainer/test_step_traffic.py."""

from arcface_operator.preflight.estimate import Collective, collectives
from arcface_operator.preflight.layers import network_size
from support.builders.jobs import make_job


def messages(ranks: int) -> dict[str, Collective]:
    spec = make_job(workers={"accelerator": "ascend", "devicesPerWorker": 8, "replicas": ranks // 8}).spec
    return {message.name: message for message in collectives(spec, network_size(spec.model))}


def test_messages_of_eight_ranks() -> None:
    found = {name: (message.handed_over, message.received) for name, message in messages(8).items()}
    assert found == {
        "embeddings": (128 * (512 + 2) * 4, 1024 * (512 + 2) * 4),
        "peaks": (1024 * 4, 8 * 1024 * 4),
        "sums": (2 * 1024 * 4, 2 * 1024 * 4),
        "embeddingGradients": (1024 * 512 * 4, 1024 * 512 * 4),
        "gradients": (4 * (65_156_160 - 512 + 22), 4 * (65_156_160 - 512 + 22)),
    }


def test_what_concerns_the_head_is_sent_for_every_micro_batch_and_gradients_once() -> None:
    training = {"batchSize": 128, "gradientAccumulation": 4}
    spec = make_job(workers={"accelerator": "ascend", "devicesPerWorker": 8}, training=training).spec
    found = {each.name: each for each in collectives(spec, network_size(spec.model))}
    assert {name: each.times for name, each in found.items()} == {
        "embeddings": 4,
        "peaks": 4,
        "sums": 4,
        "embeddingGradients": 4,
        "gradients": 1,
    }
    assert found["peaks"].received == 8 * 256 * 4
    assert found["gradients"] == messages(8)["gradients"]


def test_the_peaks_grow_with_the_square_of_the_ranks() -> None:
    assert messages(512)["peaks"].received == 128 << 20


def test_one_rank_sends_nothing() -> None:
    spec = make_job().spec
    assert collectives(spec, network_size(spec.model)) == []
