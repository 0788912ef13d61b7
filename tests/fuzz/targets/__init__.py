"""Readers of outside bytes, by whose files they are."""

from fuzz.target import Target
from fuzz.targets import checkpoints, contract, images, lists, models, operator, pairs, records, templates


def all_targets() -> list[Target]:
    """Every reader."""
    rooms = (records, pairs, images, lists, templates, checkpoints, models, contract, operator)
    return [target for room in rooms for target in room.targets()]
