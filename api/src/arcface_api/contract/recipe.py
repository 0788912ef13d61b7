"""What decides the weights of a training, by name: checkpoints go on with the recipe that they were made by.

A recipe holds what differs from the defaults, which an API version never changes. So one more field in a newer release
changes no recipe of those who do not use it, and where two differ, the field can be named.
"""

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from pydantic import BaseModel, JsonValue

from arcface_api.resource.spec import ArcFaceTrainingJobSpec

Recipe = Mapping[str, JsonValue]
SECTIONS = ("model", "loss", "data", "training")
NOT_DECISIVE = frozenset(
    {
        "data.claimName",  # the same images may lie elsewhere
        "model.initFrom.claimName",  # and so may the same checkpoint
        "training.batchSize",
        "training.gradientAccumulation",
        "training.optimizer.learningRate",
        "training.precision",
    }
)
"""Places, and what the three names with values of their own are made of."""
HASHED_ALWAYS = {
    "model": "backbone width stem_stride embedding_size dropout init_from freeze_epochs",
    "loss": "type scale margin m1 m2 m3 gradient sample_rate interclass_filter",
    "data": "claim_name path min_images_per_identity augmentation",
    "training": "epochs optimizer momentum weight_decay schedule type warmup_epochs milestones gamma clip_norm seed",
}
"""Fields of the first release, which hashed all of them."""
NEVER_HASHED = frozenset({"batch_size", "gradient_accumulation", "learning_rate", "precision"})
TOTAL_BATCH_SIZE, LEARNING_RATE, PRECISION = "totalBatchSize", "learningRate", "precision"


def recipe(spec: ArcFaceTrainingJobSpec) -> dict[str, JsonValue]:
    """What decides the weights: network, loss, images, optimisation and total batch, by outside names.

    The number of ranks is not part of it, so that a run may be resumed by another gang with the same total batch.
    """
    given = {name: value for section in SECTIONS for name, value in _given(getattr(spec, section), section)}
    return {
        **{name: value for name, value in given.items() if name not in NOT_DECISIVE},
        TOTAL_BATCH_SIZE: spec.total_batch_size,
        LEARNING_RATE: spec.learning_rate,
        PRECISION: spec.precision,
    }


def _given(part: BaseModel, path: str) -> Iterator[tuple[str, JsonValue]]:
    """Fields of a part of the spec that differ from their defaults, with their dotted names."""
    for name, field in type(part).model_fields.items():
        value, at = getattr(part, name), f"{path}.{field.alias or name}"
        if isinstance(value, BaseModel):
            yield from _given(value, at)
        elif field.is_required() or value != field.get_default(call_default_factory=True):
            yield at, value


def difference(stored: Recipe, wanted: Recipe) -> str | None:
    """The first field in which two recipes differ, with both values; None where they are one."""
    for name in sorted(stored.keys() | wanted.keys()):
        if stored.get(name) != wanted.get(name):
            return f"{name} was {_in_words(stored, name)} and is {_in_words(wanted, name)} now"
    return None


def _in_words(found: Recipe, name: str) -> str:
    """A value of a recipe."""
    return json.dumps(found[name]) if name in found else "its default"


def spec_hash(spec: ArcFaceTrainingJobSpec) -> str:
    """SHA-256 by which the release without recipes tells runs apart, and its checkpoints are told by.

    It covers that release's fields, and later ones where they differ from their defaults.
    """
    decisive = {section: _hashed(getattr(spec, section), HASHED_ALWAYS[section].split()) for section in SECTIONS}
    decisive["training"] |= {
        "learning_rate": spec.learning_rate,
        "precision": spec.precision,
        "total_batch_size": spec.total_batch_size,
    }
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()


def _hashed(part: BaseModel, always: Collection[str]) -> dict[str, Any]:
    """Fields of a part of the spec that are hashed."""
    found: dict[str, Any] = {}
    for name, field in type(part).model_fields.items():
        value = getattr(part, name)
        content = _hashed(value, always) if isinstance(value, BaseModel) else value
        is_default = content == {} if isinstance(value, BaseModel) else value == field.get_default()
        if name not in NEVER_HASHED and (name in always or not is_default):
            found[name] = content
    return found
