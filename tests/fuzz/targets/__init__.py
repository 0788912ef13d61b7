"""Readers of outside bytes, by whose files they are."""

from fuzz.target import Target
from fuzz.targets import (
    checkpoints,
    contract,
    evaluations,
    images,
    launchers,
    lists,
    models,
    operator,
    pairs,
    records,
    templates,
)


def all_targets() -> list[Target]:
    """Every reader."""
    readers = (records, pairs, images, lists, templates, checkpoints, models, evaluations)
    rooms = (*readers, contract, operator, launchers)
    return [target for room in rooms for target in room.targets()]
