from typing import Any

import pytest

from arcface_api.errors import InvalidInput
from arcface_api.resource.spec import Backbone, ModelSpec
from arcface_operator.preflight.estimate import Counts, Estimate, backbone_layers, estimate, plan_text, size
from support.builders.jobs import make_job

MS1MV2 = Counts(identities=85_742, images=5_822_653)


def plan(counts: Counts = MS1MV2, **spec: Any) -> Estimate:
    return estimate(make_job(**spec).spec, counts)


EIGHT = {"workers": {"accelerator": "ascend", "devicesPerWorker": 8}}


def test_steps_are_those_of_the_published_schedule() -> None:
    found = plan(**EIGHT)
    assert found.steps_per_epoch == 5686
    assert found.total_steps == 113_720
    assert found.learning_rate == 0.1


def test_the_first_loss_is_that_of_the_published_logs() -> None:
    assert plan().initial_loss == pytest.approx(46.04, abs=0.01)


def test_memory_of_one_rank_of_eight() -> None:
    memory = plan(**EIGHT).memory
    assert memory.weights == memory.momentum == 4 * 65_156_160
    assert memory.gradients == 8 * 65_156_160
    assert memory.head == 3 * 4 * 10_718 * 512
    assert memory.logits == 6 * 4 * 1024 * 10_718
    parts = (memory.weights, memory.momentum, memory.gradients, memory.head, memory.logits, memory.activations)
    assert memory.total == sum(parts)


def test_a_network_that_is_verified_is_held_twice() -> None:
    verified = plan(evaluation={"claimName": "sets", "everyEpochs": 1}, **EIGHT).memory
    assert verified.weights == 2 * plan(**EIGHT).memory.weights == 2 * verified.momentum


def test_half_precision_halves_the_activations() -> None:
    half, single = (
        plan(training={"precision": precision}, **EIGHT).memory.activations for precision in ("fp16", "fp32")
    )
    assert 2 * half == single


def test_traffic_is_the_backbones_gradient_and_the_embeddings() -> None:
    traffic = plan(**EIGHT).traffic
    assert traffic.gradients == 4 * (65_156_160 - 512)
    assert traffic.embeddings == traffic.embedding_gradients == 1024 * 512 * 4


def test_every_parameter_of_mobilefacenet_is_trained_and_sent() -> None:
    assert plan(model={"backbone": "mobilefacenet"}, **EIGHT).traffic.gradients == 4 * 2_059_520


def test_one_rank_sends_nothing_and_joins_no_gradients() -> None:
    found = plan()
    assert (found.traffic.gradients, found.traffic.embeddings, found.traffic.embedding_gradients) == (0, 0, 0)
    assert found.memory.gradients == found.memory.weights


def test_a_checkpoint_holds_weights_and_momentum_of_backbone_and_head() -> None:
    model = {"backbone": "mobilefacenet"}
    expected = 4 * (2 * 2_059_520 + 23_808 + 2 * 1000 * 512)
    assert plan(Counts(1000, 9000), model=model).checkpoint_bytes == expected


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        pytest.param(
            Counts(identities=1, images=5000), "spec.data: 1 identities with at least 1 images", id="one identity"
        ),
        pytest.param(
            Counts(identities=20, images=5000),
            "spec.workers: 30 ranks share 20 identities",
            id="more ranks than identities",
        ),
        pytest.param(
            Counts(identities=30, images=127),
            "spec.data: 127 images do not fill one batch of 3840",
            id="few images",
        ),
    ],
)
def test_too_little_data_is_refused(counts: Counts, message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        plan(counts, workers={"accelerator": "cpu", "replicas": 30})
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (4 * 65_156_160, "248.6 MiB"), (5 << 40, "5.0 TiB")],
)
def test_sizes_have_a_binary_unit(count: int, text: str) -> None:
    assert size(count) == text


def test_the_text_has_one_figure_a_line() -> None:
    lines = dict(line.rsplit("  ", 1) for line in plan_text(plan(**EIGHT)).splitlines())
    figures = {name.strip(): value for name, value in lines.items()}
    assert figures["backbone parameters"] == "65,156,160"
    assert figures["steps in all"] == "113,720"
    assert figures["expected first loss"] == "46.03"


def parameters(model: ModelSpec) -> int:
    return sum(layer.parameters for layer in backbone_layers(model))


@pytest.mark.parametrize(
    ("backbone", "count"),
    [
        pytest.param("iresnet18", 24_025_600, id="r18"),
        pytest.param("iresnet34", 34_139_328, id="r34"),
        pytest.param("iresnet50", 43_590_848, id="r50"),
        pytest.param("iresnet100", 65_156_160, id="r100"),
        pytest.param("iresnet200", 118_833_920, id="r200"),
    ],
)
def test_parameters_of_the_published_networks(backbone: Backbone, count: int) -> None:
    assert parameters(ModelSpec(backbone=backbone)) == count


@pytest.mark.parametrize(
    ("model", "count", "statistics"),
    [
        pytest.param(ModelSpec(backbone="mobilefacenet"), 2_059_520, 23_808, id="mobilefacenet"),
        pytest.param(
            ModelSpec(backbone="mobilefacenet", width=0.37, embedding_size=128),
            292_549,
            8_690,
            id="narrow mobile",
        ),
        pytest.param(
            ModelSpec(backbone="iresnet18", width=0.3, stem_stride=2, embedding_size=128),
            1_328_812,
            4_364,
            id="narrow",
        ),
    ],
)
def test_counts_are_those_of_the_built_networks(model: ModelSpec, count: int, statistics: int) -> None:
    """The numbers were read off the trainer's networks, parameter by parameter."""
    assert parameters(model) == count
    assert sum(layer.statistics for layer in backbone_layers(model)) == statistics


def test_stem_stride_quarters_the_outputs_but_not_the_convolutions() -> None:
    near, far = (ModelSpec(backbone="iresnet18", stem_stride=stride) for stride in (1, 2))
    outputs = [sum(layer.outputs for layer in backbone_layers(model)) for model in (near, far)]
    assert outputs[0] / outputs[1] == pytest.approx(4, rel=0.05)
    # Only the embedding layer shrinks: 7x7 maps become 4x4.
    assert parameters(near) - parameters(far) == (49 - 16) * 512 * 512
