"""What ranks exchange in one step."""

from typing import Literal

from arcface_api.model import Model
from arcface_api.resource.spec import ArcFaceTrainingJobSpec
from arcface_operator.preflight.layers import FLOAT32, NetworkSize

SUMMARY = 4
"""Numbers that travel with the gradients beside one a rank: three votes, the squared norm of the centres' gradient."""


class Collective(Model):
    """One message of a step."""

    name: str
    """What is exchanged."""
    operation: Literal["allGather", "allReduce"]
    """How."""
    handed_over: int
    """Bytes that a rank gives."""
    received: int
    """Bytes that it has afterwards: of an all-gather those of all ranks."""


def collectives(spec: ArcFaceTrainingJobSpec, network: NetworkSize) -> list[Collective]:
    """All messages of a step in their order; none with one rank. Centres stay where they are."""
    world_size, batch = spec.workers.world_size, spec.training.batch_size
    if world_size == 1:
        return []
    joined = batch * world_size
    embeddings = joined * spec.model.embedding_size
    return [
        _all_gather("embeddings", batch * spec.model.embedding_size, world_size),
        _all_gather("labels", batch, world_size),
        # Every rank's greatest logit of every image: the one message that grows with the square of the ranks.
        _all_gather("peaks", joined, world_size),
        _all_reduce("sums", 2 * joined),
        _all_reduce("embeddingGradients", embeddings),
        _all_reduce("gradients", network.trainable + world_size + SUMMARY),
    ]


def _all_gather(name: str, numbers: int, world_size: int) -> Collective:
    own = FLOAT32 * numbers
    return Collective(name=name, operation="allGather", handed_over=own, received=own * world_size)


def _all_reduce(name: str, numbers: int) -> Collective:
    own = FLOAT32 * numbers
    return Collective(name=name, operation="allReduce", handed_over=own, received=own)
