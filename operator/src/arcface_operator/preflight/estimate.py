"""What a job takes before anything is taken: memory, traffic, storage, steps, first loss. All pure."""

from arcface_api.initial_loss import expected_initial_loss
from arcface_api.model import Model
from arcface_api.resource.spec import ArcFaceTrainingJobSpec
from arcface_operator.preflight.counts import Counts, steps_per_epoch
from arcface_operator.preflight.layers import network_size
from arcface_operator.preflight.memory import Card, DeviceMemory, HostMemory, cards_for, device_memory, host_memory
from arcface_operator.preflight.storage import Storage, storage
from arcface_operator.preflight.traffic import Collective, collectives


class Estimate(Model):
    """What a run of a job needs; sizes in bytes."""

    counts: Counts
    """The training set."""
    parameters: int
    """Of the backbone."""
    steps_per_epoch: int
    """Updates in an epoch."""
    total_steps: int
    """Updates in all."""
    learning_rate: float
    """At the total batch."""
    initial_loss: float
    """That a fresh network starts with."""
    memory: DeviceMemory
    """Of a rank's device."""
    cards: list[Card]
    """Beside the devices that there are."""
    host: HostMemory
    """Of pod 0."""
    collectives: list[Collective]
    """Of one step."""
    storage: Storage
    """On the claim of the checkpoints."""


def estimate(spec: ArcFaceTrainingJobSpec, counts: Counts) -> Estimate:
    """Estimate of a job on a training set of this size; InvalidInput where that does not do."""
    per_epoch = steps_per_epoch(spec, counts)
    network = network_size(spec.model)
    memory = device_memory(spec, counts, network)
    return Estimate(
        counts=counts,
        parameters=network.parameters,
        steps_per_epoch=per_epoch,
        total_steps=per_epoch * spec.training.epochs,
        learning_rate=spec.learning_rate,
        initial_loss=expected_initial_loss(spec.loss, counts.identities, spec.model.embedding_size),
        memory=memory,
        cards=cards_for(spec, memory.total),
        host=host_memory(spec, counts, network, memory),
        collectives=collectives(spec, network),
        storage=storage(spec, counts, network),
    )
