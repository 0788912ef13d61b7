"""Memory of a rank's card, and of a pod's host."""

from arcface_api.architectures import IMAGE_SIZE
from arcface_api.model import Model
from arcface_api.resource.spec import ArcFaceTrainingJobSpec
from arcface_operator.preflight.counts import Counts
from arcface_operator.preflight.layers import FLOAT32, NetworkSize

LOGIT_BYTES = 2 * FLOAT32 + 1
"""Of an image and a class in the head at its peak: what a kernel reads and makes, and whether the class is its own."""
JOINED_EMBEDDINGS = 5
"""Of the joined batch: as gathered, of unit length, the gradient for those before and after its sum, and for these."""
UNIT_CENTERS = 2
"""Centres of unit length and the gradient for them."""
CARDS = {"910A, 910B4": 32 << 30, "910B2, 910B3, 910B4-1, 910C": 64 << 30}
"""HBM that a rank has (HAMi's scheduler, charts/hami/templates/scheduler/device-configmap.yaml @00160eb)."""
WAITING_BATCHES = 10
"""Of a rank that decodes in eight threads: one each, and two that are done."""
INDEX_BYTES = 48
"""Of an image: key, offset, extent and label of its record, and its place in the order of two epochs."""
MINDSPORE = 420 * 10**6
"""Of a rank that has imported MindSpore 2.10, measured on a CPU; graphs and, on Ascend, CANN come on top."""


class DeviceMemory(Model):
    """Bytes of one rank; rank 0's where ranks differ."""

    weights: int
    """Twice where ranks verify: the network that is judged is one of its own."""
    momentum: int
    """Of the backbone's weights."""
    gradients: int
    """Twice with several ranks, which join them into messages before they sum them."""
    head: int
    """Centres of this rank's classes, their momentum and gradient."""
    logits: int
    """Of the joined batch against this rank's classes: with more ranks the one grows as the other shrinks."""
    temporaries: int
    """Of the head: embeddings of the joined batch, unit centres, the greatest logits of all ranks."""
    activations: int
    """Outputs of all layers for a batch, which the backward pass needs; frameworks keep some less or some more."""
    total: int
    """Sum of these."""


class Card(Model):
    """A kind of card beside what a rank needs."""

    chips: str
    """That have this much memory."""
    bytes: int
    """Its memory."""
    percent: float
    """Share that a rank needs."""


class HostMemory(Model):
    """Bytes of pod 0, which has rank 0 and so the most."""

    mindspore: int
    """MindSpore itself, of all ranks of the pod."""
    index: int
    """What is known of each image."""
    batches: int
    """Decoded images that wait for their step."""
    snapshot: int
    """The copy of the state that a checkpoint is written from while the training goes on."""
    device: int
    """What stands for the cards' memory where ranks compute on the CPU."""
    total: int
    """Sum of these."""


def device_memory(spec: ArcFaceTrainingJobSpec, counts: Counts, network: NetworkSize) -> DeviceMemory:
    """Memory of rank 0, which holds the largest block of classes."""
    world_size, embedding_size = spec.workers.world_size, spec.model.embedding_size
    classes = -(-counts.identities // world_size)
    joined_batch = spec.training.batch_size * world_size
    activation = FLOAT32 if spec.precision == "fp32" else FLOAT32 // 2
    peaks = 0 if world_size == 1 else world_size * joined_batch
    temporary = JOINED_EMBEDDINGS * joined_batch * embedding_size + UNIT_CENTERS * classes * embedding_size + peaks
    parts = {
        "weights": FLOAT32 * network.parameters * (2 if spec.verifies_during_training else 1),
        "momentum": FLOAT32 * network.parameters,
        "gradients": FLOAT32 * network.parameters * (1 if world_size == 1 else 2),
        "head": 3 * FLOAT32 * classes * embedding_size,
        "logits": LOGIT_BYTES * joined_batch * classes,
        "temporaries": FLOAT32 * temporary,
        "activations": activation * network.outputs * spec.training.batch_size,
    }
    return DeviceMemory(**parts, total=sum(parts.values()))


def cards_for(spec: ArcFaceTrainingJobSpec, needed: int) -> list[Card]:
    """The cards that a job may run on; none on CPUs."""
    if spec.workers.accelerator != "ascend":
        return []
    return [Card(chips=chips, bytes=size, percent=round(100 * needed / size, 1)) for chips, size in CARDS.items()]


def host_memory(spec: ArcFaceTrainingJobSpec, counts: Counts, network: NetworkSize, device: DeviceMemory) -> HostMemory:
    """Memory of pod 0 on its node."""
    ranks = spec.workers.devices_per_worker
    image = 3 * IMAGE_SIZE**2 + FLOAT32
    head = 2 * FLOAT32 * -(-counts.identities // spec.workers.world_size) * spec.model.embedding_size
    backbone = FLOAT32 * (2 * network.parameters + network.statistics)
    parts = {
        "mindspore": ranks * MINDSPORE,
        "index": ranks * INDEX_BYTES * counts.images,
        "batches": ranks * WAITING_BATCHES * spec.training.batch_size * image,
        "snapshot": backbone + ranks * head,
        "device": ranks * device.total if spec.workers.accelerator == "cpu" else 0,
    }
    return HostMemory(**parts, total=sum(parts.values()))
