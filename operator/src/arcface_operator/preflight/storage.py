"""What checkpoints take on their claim."""

from arcface_api.model import Model
from arcface_api.resource.spec import ArcFaceTrainingJobSpec
from arcface_operator.preflight.counts import Counts
from arcface_operator.preflight.layers import FLOAT32, NetworkSize


class Storage(Model):
    """Bytes on the checkpoints' claim."""

    checkpoint: int
    """One checkpoint of all ranks: weights, statistics and momentum of backbone and head."""
    checkpoints: int
    """That are there at once: the newest ones, the best one where ranks verify, and the one that is being written."""
    claim: int
    """All of them."""


def storage(spec: ArcFaceTrainingJobSpec, counts: Counts, network: NetworkSize) -> Storage:
    """Size of a job's checkpoints."""
    head = counts.identities * spec.model.embedding_size
    checkpoint = FLOAT32 * (2 * network.parameters + network.statistics + 2 * head)
    checkpoints = spec.checkpoint.keep_last + spec.verifies_during_training + 1
    return Storage(checkpoint=checkpoint, checkpoints=checkpoints, claim=checkpoint * checkpoints)
