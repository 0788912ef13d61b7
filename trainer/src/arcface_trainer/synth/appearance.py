"""How a person looks in one image: pose, expression, age and light, drawn anew for each."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np


@dataclass(frozen=True, slots=True)
class Conditions:
    """How far images may stray; 0 is a passport photograph and 1 the hardest that is still drawn."""

    pose: float
    expression: float
    light: float
    damage: float
    """Occluders, blur and noise."""
    youngest: float = 0.0
    """Age from 0 (smooth) to 1 (wrinkled, thin hair, faded print)."""
    oldest: float = 0.4
    profile: float = 0.0
    """Least turn of the head to a side, as a share of the largest one."""


class Appearance(NamedTuple):
    """One image's share of the conditions."""

    yaw: float
    """Turn of the head in radians, as are pitch and roll."""
    pitch: float
    roll: float
    zoom: float
    right: float
    """Shift in pixels."""
    down: float
    smile: float
    """-1 to 1."""
    gape: float
    """Opening of the mouth in face units."""
    brow_lift: float
    """Face units."""
    squint: float
    """Share by which the eyes close."""
    gaze: float
    """-1 to 1."""
    age: float


MILD = Conditions(pose=0.25, expression=0.4, light=0.4, damage=0.25)
TRAINING = (
    MILD,
    Conditions(pose=0.5, expression=0.6, light=0.6, damage=0.5, oldest=0.6),
    Conditions(pose=0.5, expression=0.6, light=0.7, damage=0.5, profile=0.6),
    Conditions(pose=0.4, expression=0.6, light=0.6, damage=0.5, youngest=0.6, oldest=1.0),
)
"""A training image takes one of these with equal chance."""

VERIFICATION: dict[str, tuple[Conditions, Conditions]] = {
    "lfw": (MILD, MILD),
    "cfp_fp": (MILD, Conditions(pose=0.4, expression=0.4, light=0.4, damage=0.25, profile=0.7)),
    "agedb_30": (
        Conditions(pose=0.3, expression=0.4, light=0.5, damage=0.3, youngest=0.0, oldest=0.3),
        Conditions(pose=0.3, expression=0.4, light=0.5, damage=0.4, youngest=0.7, oldest=1.0),
    ),
    "calfw": (
        Conditions(pose=0.4, expression=0.5, light=0.5, damage=0.3, youngest=0.0, oldest=0.4),
        Conditions(pose=0.4, expression=0.5, light=0.5, damage=0.3, youngest=0.5, oldest=1.0),
    ),
    "cplfw": (
        Conditions(pose=0.6, expression=0.5, light=0.7, damage=0.3),
        Conditions(pose=0.5, expression=0.5, light=0.7, damage=0.3, profile=0.5),
    ),
}
"""What the two images of a pair look like, each set with the difficulty of its namesake."""

LARGEST_YAW = 0.55
LARGEST_PITCH = 0.25
LARGEST_ROLL = 0.2
LARGEST_ZOOM = 0.12
LARGEST_SHIFT = 7.0
LARGEST_GAPE = 0.14
LARGEST_LIFT = 0.05
LARGEST_SQUINT = 0.35


def draw_appearance(conditions: Conditions, random: np.random.Generator) -> Appearance:
    """One image under these conditions."""
    yaw, pitch, roll, zoom, right, down, smile, lift, gaze = random.uniform(-1.0, 1.0, 9).tolist()
    gape, squint, age = random.random(3).tolist()
    pose, expression = conditions.pose, conditions.expression
    turn = np.sign(yaw) * conditions.profile + (1 - conditions.profile) * pose * yaw
    return Appearance(
        yaw=LARGEST_YAW * float(turn),
        pitch=LARGEST_PITCH * pose * pitch,
        roll=LARGEST_ROLL * pose * roll,
        zoom=1 + LARGEST_ZOOM * pose * zoom,
        right=LARGEST_SHIFT * pose * right,
        down=LARGEST_SHIFT * pose * down,
        smile=expression * smile,
        # Most mouths are closed.
        gape=LARGEST_GAPE * expression * max(0.0, 2 * gape - 1),
        brow_lift=LARGEST_LIFT * expression * lift,
        squint=LARGEST_SQUINT * expression * squint,
        gaze=gaze,
        age=conditions.youngest + age * (conditions.oldest - conditions.youngest),
    )
