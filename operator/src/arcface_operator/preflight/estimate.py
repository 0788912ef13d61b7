"""What a job takes before anything is taken: memory, traffic, storage, steps, first loss. All pure."""

from typing import Literal

from arcface_api.architectures import IMAGE_SIZE
from arcface_api.class_sampling import row_capacity
from arcface_api.initial_loss import expected_initial_loss
from arcface_api.model import Model
from arcface_api.resource.spec import ArcFaceTrainingJobSpec
from arcface_operator.preflight.data import Counts, steps_per_epoch
from arcface_operator.preflight.layers import FLOAT32, NetworkSize, network_size

LOGIT_BYTES = 2 * FLOAT32 + 1
"""Of an image and a class in the head at its peak: what a kernel reads and makes, and whether the class is its own.

One more where classes may be left out: whether this one is.
"""
JOINED_EMBEDDINGS = 5
"""Of the joined batch: as gathered, of unit length, the gradient for those before and after its sum, and for these."""
UNIT_CENTERS = 2
"""Centres of unit length and the gradient for them."""
PLACES = 6
"""Numbers for each class that lead from those that are drawn to rows: images, running counts, their complements."""
CARDS = {"910A, 910B4": 32 << 30, "910B2, 910B3, 910B4-1, 910C": 64 << 30}
"""HBM that a rank has (HAMi's scheduler, charts/hami/templates/scheduler/device-configmap.yaml @00160eb)."""
WAITING_BATCHES = 10
"""Of a rank that decodes in eight threads: one each, and two that are done."""
INDEX_BYTES = 24
"""Of an image, once for the ranks of a pod: key, offset, span and label of its record."""
ORDER_BYTES = 8
"""Of an image, for each rank: its places in the orders of two epochs."""
MEBIBYTE = 1 << 20
MINDSPORE = 420 * 10**6
"""Of a rank that has imported MindSpore 2.10, measured on a CPU; graphs and, on Ascend, CANN come on top."""
KEPT_STATES = 2
"""In a pod's shared memory at a time, of its own and of the pod whose class centres it keeps."""
LABEL = 2
"""Numbers that a label travels as, beside its embedding."""
SUMMARY = 6
"""Numbers that travel with the gradients: the loss, four votes, the squared norm of the centres' gradient."""
SUMMARY_OF_A_RANK = 2
"""Further ones for each rank: its wait for images, and what of its step was not finite."""


class DeviceMemory(Model):
    """Bytes of one rank; rank 0's where ranks differ."""

    weights: int
    """Twice where ranks verify: the network that is judged is one of its own."""
    momentum: int
    """Of the backbone's weights that are trained."""
    gradients: int
    """Of the same, twice with any number of ranks: as the backward pass makes them, and joined to flat vectors.

    At most: the tensors of a bucket are done with once they are joined. A third time where micro-batches are added up.
    """
    head: int
    """Centres of this rank's classes, their momentum, and the gradient of those that a step compares with.

    The gradient is there twice where it is added up.
    """
    logits: int
    """Of the joined batch (with accumulation: micro-batch) against those, whatever number of ranks."""
    temporaries: int
    """Of the head: embeddings of the joined batch, unit centres, the greatest logits of all ranks, classes drawn."""
    activations: int
    """Outputs of all layers for what a rank takes at once, for the backward pass; frameworks keep some less or more."""
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
    """What is known of each image, and the orders of two epochs."""
    batches: int
    """Decoded images that wait for their step."""
    snapshot: int
    """The copy of the state that a checkpoint is written from while the training goes on."""
    device: int
    """What stands for the cards' memory where ranks compute on the CPU."""
    total: int
    """Sum of these."""
    states: int
    """What ranks and launchers keep in the pod's shared memory beside these, as far as there is room for it."""


class Collective(Model):
    """One message of a step, or of each of its micro-batches."""

    name: str
    """What is exchanged."""
    operation: Literal["allGather", "allReduce"]
    """How."""
    handed_over: int
    """Bytes that a rank gives."""
    received: int
    """Bytes that it has afterwards: of an all-gather those of all ranks."""
    times: int = 1
    """How often in a step: once for each micro-batch, or at its end."""


class Storage(Model):
    """Bytes on the checkpoints' claim."""

    checkpoint: int
    """One checkpoint of all ranks: weights, statistics and momentum of backbone and head."""
    checkpoints: int
    """That are there at once: the newest ones, the best one where ranks verify, and the one that is being written."""
    claim: int
    """All of them."""


class Estimate(Model):
    """What a run of a job needs; sizes in bytes."""

    counts: Counts
    """The training set."""
    total_batch_size: int
    """Images of an update, over all ranks."""
    micro_batches: int
    """That each rank takes its share of them in."""
    parameters: int
    """Of the backbone."""
    steps_per_epoch: int
    """Updates in an epoch."""
    total_steps: int
    """Updates in all."""
    learning_rate: float
    """At the total batch."""
    initial_loss: float | None
    """That a fresh network starts with; absent where weights come from a checkpoint."""
    memory: DeviceMemory
    """Of a rank's device."""
    memory_when_small: int | None
    """Of the same where an elastic gang has minReplicas pods; absent where it never has fewer than all."""
    cards: list[Card]
    """Beside the devices that there are."""
    host: HostMemory
    """Of pod 0."""
    host_when_small: int | None
    """Of the same where an elastic gang has minReplicas pods; absent where it never has fewer than all."""
    collectives: list[Collective]
    """Of one step."""
    storage: Storage
    """On the claim of the checkpoints."""


def estimate(spec: ArcFaceTrainingJobSpec, counts: Counts) -> Estimate:
    """Estimate of a job on a training set of this size; InvalidInput where that does not do."""
    per_epoch = steps_per_epoch(spec, counts)
    network = network_size(spec.model)
    fresh_loss = expected_initial_loss(spec.loss, counts.identities, spec.model.embedding_size, spec.total_batch_size)
    memory = device_memory(spec, counts, network)
    memory_when_small, host_when_small = _totals_when_small(spec, counts, network)
    return Estimate(
        counts=counts,
        total_batch_size=spec.total_batch_size,
        micro_batches=spec.training.gradient_accumulation,
        parameters=network.parameters,
        steps_per_epoch=per_epoch,
        total_steps=per_epoch * spec.training.epochs,
        learning_rate=spec.learning_rate,
        initial_loss=fresh_loss if spec.model.init_from is None else None,
        memory=memory,
        memory_when_small=memory_when_small,
        cards=_cards_for(spec, memory.total),
        host=host_memory(spec, counts, network, memory),
        host_when_small=host_when_small,
        collectives=collectives(spec, network),
        storage=storage(spec, counts, network),
    )


def device_memory(spec: ArcFaceTrainingJobSpec, counts: Counts, network: NetworkSize) -> DeviceMemory:
    """Memory of rank 0, which holds the largest block of classes."""
    world_size, embedding_size = spec.workers.world_size, spec.model.embedding_size
    classes = -(-counts.identities // world_size)
    at_once, sums = spec.training.micro_batch_size, int(spec.training.gradient_accumulation > 1)
    joined_batch = at_once * world_size
    rows = row_capacity(classes, spec.loss.sample_rate, spec.total_batch_size)
    is_limited = spec.loss.sample_rate < 1 or spec.loss.interclass_filter is not None
    drawn = 0 if spec.loss.sample_rate == 1 else rows * embedding_size + PLACES * classes
    activation = FLOAT32 if spec.precision == "fp32" else FLOAT32 // 2
    peaks = 0 if world_size == 1 else world_size * joined_batch
    temporary = JOINED_EMBEDDINGS * joined_batch * embedding_size + UNIT_CENTERS * rows * embedding_size + peaks + drawn
    parts = {
        "weights": FLOAT32 * network.parameters * (2 if spec.verifies_during_training else 1),
        "momentum": FLOAT32 * network.trainable,
        "gradients": (2 + sums) * FLOAT32 * network.trainable,
        "head": FLOAT32 * (2 * classes + (1 + sums) * rows) * embedding_size,
        "logits": (LOGIT_BYTES + is_limited) * joined_batch * rows,
        "temporaries": FLOAT32 * temporary,
        "activations": activation * network.outputs * at_once,
    }
    return DeviceMemory(**parts, total=sum(parts.values()))


def _totals_when_small(
    spec: ArcFaceTrainingJobSpec, counts: Counts, network: NetworkSize
) -> tuple[int, int] | tuple[None, None]:
    """Memory of rank 0 and of pod 0 of the smallest gang; none where the gang never has fewer pods than all.

    It takes the same total batch in more parts, and holds more classes.
    """
    workers, at_once = spec.workers, spec.training.micro_batch_size
    if not workers.is_elastic:
        return None, None
    few = workers.model_copy(update={"replicas": workers.min_replicas})
    parts = -(-spec.total_batch_size // (at_once * few.world_size))
    training = spec.training.model_copy(update={"batch_size": at_once * parts, "gradient_accumulation": parts})
    small = spec.model_copy(update={"workers": few, "training": training})
    device = device_memory(small, counts, network)
    return device.total, host_memory(small, counts, network, device).total


def _cards_for(spec: ArcFaceTrainingJobSpec, needed: int) -> list[Card]:
    """The cards that a job may run on; none on CPUs."""
    if spec.workers.accelerator != "ascend":
        return []
    return [Card(chips=chips, bytes=size, percent=round(100 * needed / size, 1)) for chips, size in CARDS.items()]


def host_memory(spec: ArcFaceTrainingJobSpec, counts: Counts, network: NetworkSize, device: DeviceMemory) -> HostMemory:
    """Memory of pod 0 on its node."""
    ranks = spec.workers.devices_per_worker
    image = 3 * IMAGE_SIZE**2 + FLOAT32
    head = 2 * FLOAT32 * -(-counts.identities // spec.workers.world_size) * spec.model.embedding_size
    state = FLOAT32 * (network.parameters + network.trainable + network.statistics) + ranks * head
    parts = {
        "mindspore": ranks * MINDSPORE,
        "index": (INDEX_BYTES + ranks * ORDER_BYTES) * counts.images,
        "batches": ranks * WAITING_BATCHES * spec.training.batch_size * image,
        "snapshot": state,
        "device": ranks * device.total if spec.workers.accelerator == "cpu" else 0,
    }
    states = KEPT_STATES * state + _kept_of_another_pod(spec, KEPT_STATES * ranks * head)
    return HostMemory(**parts, total=sum(parts.values()), states=states)


def _kept_of_another_pod(spec: ArcFaceTrainingJobSpec, wanted: int) -> int:
    """Bytes of its class centres: all that are wanted, or none where the job's budget is less."""
    budget = spec.checkpoint.mirror_mebibytes
    is_kept = spec.workers.replicas > 1 and (budget is None or wanted <= budget * MEBIBYTE)
    return wanted if is_kept else 0


def collectives(spec: ArcFaceTrainingJobSpec, network: NetworkSize) -> list[Collective]:
    """All messages of a step in their order; none with one rank. Centres stay where they are."""
    world_size, batch = spec.workers.world_size, spec.training.micro_batch_size
    if world_size == 1:
        return []
    joined = batch * world_size
    embeddings = joined * spec.model.embedding_size
    of_micro_batch = [
        _all_gather("embeddings", batch * (spec.model.embedding_size + LABEL), world_size),
        # Every rank's greatest logit of every image: the one message that grows with the square of the ranks.
        _all_gather("peaks", joined, world_size),
        _all_reduce("sums", 2 * joined),
        _all_reduce("embeddingGradients", embeddings),
    ]
    times, is_drawn = spec.training.gradient_accumulation, spec.loss.sample_rate < 1
    chosen = [_all_gather("labels", batch * times, world_size)] if is_drawn else []
    return [
        *chosen,
        *(message.model_copy(update={"times": times}) for message in of_micro_batch),
        # In buckets: one message where they are no more than 32 MiB. With the number of classes where they are drawn.
        _all_reduce("gradients", network.trainable + SUMMARY + is_drawn + SUMMARY_OF_A_RANK * world_size),
    ]


def _all_gather(name: str, numbers: int, world_size: int) -> Collective:
    own = FLOAT32 * numbers
    return Collective(name=name, operation="allGather", handed_over=own, received=own * world_size)


def _all_reduce(name: str, numbers: int) -> Collective:
    own = FLOAT32 * numbers
    return Collective(name=name, operation="allReduce", handed_over=own, received=own)


def storage(spec: ArcFaceTrainingJobSpec, counts: Counts, network: NetworkSize) -> Storage:
    """Size of a job's checkpoints."""
    head = counts.identities * spec.model.embedding_size
    checkpoint = FLOAT32 * (network.parameters + network.trainable + network.statistics + 2 * head)
    checkpoints = spec.checkpoint.keep_last + spec.verifies_during_training + 1
    return Storage(checkpoint=checkpoint, checkpoints=checkpoints, claim=checkpoint * checkpoints)
