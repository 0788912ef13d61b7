"""What a job takes before anything is taken: memory, traffic, steps, checkpoint size, first loss. All pure.

The layers are counted from the table that the trainer builds its networks from. What a layer keeps: its trainable
parameters, the running statistics of batch normalisation, and the elements of its output, which the backward pass
needs. The gamma of an IResNet's last normalisation is counted although it stays 1.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from arcface_api.architectures import IMAGE_SIZE, Architecture, Block, architecture, halved
from arcface_api.errors import InvalidInput
from arcface_api.initial_loss import expected_initial_loss
from arcface_api.resource.spec import ArcFaceTrainingJobSpec, ModelSpec

UNITS = ("B", "KiB", "MiB", "GiB", "TiB")

FLOAT32 = 4
LOGIT_MATRICES = 6
"""Matrices of batch x classes in the head at its peak: cosines, targets, logits, exponentials, two gradients."""


@dataclass(frozen=True)
class Counts:
    """Size of a training set."""

    identities: int
    images: int


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Bytes of one rank; rank 0's where ranks differ."""

    weights: int
    """Twice where ranks verify: the network that is judged is one of its own."""
    momentum: int
    gradients: int
    head: int
    """Centres of this rank's classes, their momentum and gradient."""
    logits: int
    activations: int
    """Outputs of all layers for a batch, which the backward pass needs; frameworks keep some less or some more."""

    @property
    def total(self) -> int:
        """Sum of all parts."""
        return self.weights + self.momentum + self.gradients + self.head + self.logits + self.activations


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """Bytes that a rank hands to the collectives in one step; zero with one rank."""

    gradients: int
    """All-reduce of the backbone's gradient."""
    embeddings: int
    """All-gather of the embeddings of the joined batch."""
    embedding_gradients: int
    """All-reduce of the gradient for them."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What a run of a job needs."""

    counts: Counts
    parameters: int
    """Of the backbone."""
    memory: Memory
    traffic: Traffic
    steps_per_epoch: int
    total_steps: int
    checkpoint_bytes: int
    """One checkpoint of all ranks: weights, statistics and momentum of backbone and head."""
    initial_loss: float
    learning_rate: float


def estimate(spec: ArcFaceTrainingJobSpec, counts: Counts) -> Estimate:
    """Estimate of a job on a training set of this size."""
    layers = backbone_layers(spec.model)
    parameters = sum(layer.parameters for layer in layers)
    statistics = sum(layer.statistics for layer in layers)
    per_epoch = _steps_per_epoch(spec, counts)
    head = counts.identities * spec.model.embedding_size
    return Estimate(
        counts=counts,
        parameters=parameters,
        memory=_memory(spec, counts, parameters, sum(layer.outputs for layer in layers)),
        traffic=_traffic(spec, parameters),
        steps_per_epoch=per_epoch,
        total_steps=per_epoch * spec.training.epochs,
        checkpoint_bytes=FLOAT32 * (2 * parameters + statistics + 2 * head),
        initial_loss=expected_initial_loss(spec.loss, counts.identities, spec.model.embedding_size),
        learning_rate=spec.learning_rate,
    )


def _steps_per_epoch(spec: ArcFaceTrainingJobSpec, counts: Counts) -> int:
    """Full batches in an epoch; the remainder is left out."""
    if counts.identities < 2:
        raise InvalidInput(
            f"spec.data: {counts.identities} identities with at least {spec.data.min_images_per_identity} images; "
            "a classifier needs 2: lower spec.data.minImagesPerIdentity or add identities"
        )
    if counts.identities < spec.workers.world_size:
        raise InvalidInput(
            f"spec.workers: {spec.workers.world_size} ranks share {counts.identities} identities and each needs one: "
            "lower spec.workers.replicas or devicesPerWorker, or add identities"
        )
    if counts.images < spec.total_batch_size:
        raise InvalidInput(
            f"spec.data: {counts.images} images do not fill one batch of {spec.total_batch_size} over all ranks: "
            "lower spec.training.batchSize or the number of ranks, or add images"
        )
    return counts.images // spec.total_batch_size


def _memory(spec: ArcFaceTrainingJobSpec, counts: Counts, parameters: int, outputs: int) -> Memory:
    """Memory of rank 0, which holds the largest block of classes."""
    world_size = spec.workers.world_size
    classes = -(-counts.identities // world_size)
    joined_batch = spec.training.batch_size * world_size
    activation = FLOAT32 if spec.precision == "fp32" else FLOAT32 // 2
    return Memory(
        weights=FLOAT32 * parameters * (2 if _verifies(spec) else 1),
        momentum=FLOAT32 * parameters,
        # Ranks join all gradients into one message before they sum them.
        gradients=FLOAT32 * parameters * (1 if world_size == 1 else 2),
        head=3 * FLOAT32 * classes * spec.model.embedding_size,
        logits=LOGIT_MATRICES * FLOAT32 * joined_batch * classes,
        activations=activation * outputs * spec.training.batch_size,
    )


def _verifies(spec: ArcFaceTrainingJobSpec) -> bool:
    """Whether ranks judge the network during the training."""
    return spec.evaluation is not None and spec.evaluation.every_epochs is not None


def _traffic(spec: ArcFaceTrainingJobSpec, parameters: int) -> Traffic:
    """Messages of one step; the class centres stay where they are."""
    if spec.workers.world_size == 1:
        return Traffic(gradients=0, embeddings=0, embedding_gradients=0)
    embeddings = FLOAT32 * spec.training.batch_size * spec.workers.world_size * spec.model.embedding_size
    # The scale of an IResNet's last normalisation is fixed and has no gradient.
    trainable = parameters - (0 if spec.model.backbone == "mobilefacenet" else spec.model.embedding_size)
    return Traffic(gradients=FLOAT32 * trainable, embeddings=embeddings, embedding_gradients=embeddings)


class Layer(NamedTuple):
    """What one layer keeps, in numbers of elements; `outputs` is for one image."""

    parameters: int
    statistics: int
    outputs: int


def backbone_layers(model: ModelSpec) -> list[Layer]:
    """All layers of a job's network."""
    found = architecture(model)
    count = _mobilefacenet if model.backbone == "mobilefacenet" else _iresnet
    return [*count(found, model.embedding_size), _norm(model.embedding_size, 1)]


def _iresnet(found: Architecture, embedding_size: int) -> Iterator[Layer]:
    size = halved(IMAGE_SIZE, found.stem_stride)
    yield from (_conv(3, found.stem, 3, size), _norm(found.stem, size), _prelu(found.stem, size))
    for block in found.blocks:
        yield from _residual_block(block, size)
        size = halved(size, block.stride)
    yield _norm(found.last, size)
    inputs = found.last * size**2
    yield Layer(inputs * embedding_size + embedding_size, 0, embedding_size)


def _residual_block(block: Block, size: int) -> Iterator[Layer]:
    """BN-conv-BN-PReLU-conv-BN beside an identity or a projection, and their sum."""
    inputs, hidden, outputs, stride = block
    after = halved(size, stride)
    yield from (_norm(inputs, size), _conv(inputs, hidden, 3, size), _norm(hidden, size), _prelu(hidden, size))
    yield from (_conv(hidden, outputs, 3, after), _norm(outputs, after))
    if not block.keeps_shape:
        yield from (_conv(inputs, outputs, 1, after), _norm(outputs, after))
    yield Layer(0, 0, outputs * after**2)


def _mobilefacenet(found: Architecture, embedding_size: int) -> Iterator[Layer]:
    """Depthwise-separable convolutions and a global depthwise one."""
    stem, last, size = found.stem, found.last, halved(IMAGE_SIZE, found.stem_stride)
    yield from (_conv(3, stem, 3, size), _norm(stem, size), _prelu(stem, size))
    yield from (_grouped(stem, 2, 3, size), _norm(stem, size), _prelu(stem, size))
    for block in found.blocks:
        yield from _bottleneck(block, size)
        size = halved(size, block.stride)
    yield from (_conv(found.blocks[-1].outputs, last, 1, size), _norm(last, size), _prelu(last, size))
    yield from (_grouped(last, 1, size, 1), _norm(last, 1))
    yield Layer(last * embedding_size, 0, embedding_size)


def _bottleneck(block: Block, size: int) -> Iterator[Layer]:
    """Expand, depthwise, project; and the sum where the shape stays."""
    inputs, hidden, outputs, stride = block
    after = halved(size, stride)
    yield from (_conv(inputs, hidden, 1, size), _norm(hidden, size), _prelu(hidden, size))
    yield from (_grouped(hidden, 1, 3, after), _norm(hidden, after), _prelu(hidden, after))
    yield from (_conv(hidden, outputs, 1, after), _norm(outputs, after))
    if block.keeps_shape:
        yield Layer(0, 0, outputs * after**2)


def _conv(inputs: int, outputs: int, kernel: int, size: int) -> Layer:
    """Convolution without bias; `size` is its output's."""
    return Layer(inputs * outputs * kernel**2, 0, outputs * size**2)


def _grouped(channels: int, group_size: int, kernel: int, size: int) -> Layer:
    """Convolution within groups of so many channels; depthwise where that is one."""
    return Layer(channels * group_size * kernel**2, 0, channels * size**2)


def _norm(channels: int, size: int) -> Layer:
    """Batch normalisation."""
    return Layer(2 * channels, 2 * channels, channels * size**2)


def _prelu(channels: int, size: int) -> Layer:
    """PReLU with a slope for each channel."""
    return Layer(channels, 0, channels * size**2)


def plan_text(plan: Estimate) -> str:
    """One figure a line."""
    memory, traffic = plan.memory, plan.traffic
    rows = [
        ("identities", f"{plan.counts.identities:,}"),
        ("images", f"{plan.counts.images:,}"),
        ("backbone parameters", f"{plan.parameters:,}"),
        ("steps per epoch", f"{plan.steps_per_epoch:,}"),
        ("steps in all", f"{plan.total_steps:,}"),
        ("learning rate", f"{plan.learning_rate:g}"),
        ("expected first loss", f"{plan.initial_loss:.2f}"),
        ("memory per rank, about", size(memory.total)),
        ("  weights", size(memory.weights)),
        ("  momentum", size(memory.momentum)),
        ("  gradients", size(memory.gradients)),
        ("  head shard", size(memory.head)),
        ("  logits", size(memory.logits)),
        ("  activations, roughly", size(memory.activations)),
        ("traffic per step: gradients, all-reduce", size(traffic.gradients)),
        ("traffic per step: embeddings, all-gather", size(traffic.embeddings)),
        ("traffic per step: their gradients, all-reduce", size(traffic.embedding_gradients)),
        ("one checkpoint, about", size(plan.checkpoint_bytes)),
    ]
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)


def size(count: int) -> str:
    """Bytes with a binary unit, e.g. `248.6 MiB`."""
    value = float(count)
    for unit in UNITS:
        if value < 1024 or unit == UNITS[-1]:
            break
        value /= 1024
    return f"{count} B" if unit == "B" else f"{value:.1f} {unit}"
