"""Who is drawn, and how a person looks in one image.

An identity is the measures of a face that all images of one person share. Lengths are in face units: half a head is
about one unit high, the origin lies between eyes and nose, y points down. Only shape belongs to a person; colours
change from image to image so that no mean colour gives anyone away. An appearance is pose, expression, age and light,
drawn anew for each image.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np


class Identity(NamedTuple):
    """Measures of one face."""

    head_width: float
    crown_height: float
    chin_height: float
    jaw_roundness: float
    """Exponent of the lower outline: below 1 square, above 1 pointed."""
    ear_size: float
    ear_height: float
    hair_volume: float
    """Width of the hair over that of the head."""
    hair_length: float
    """Where the hair behind the head ends."""
    hairline: float
    parting: float
    """Where the fringe is highest, -1 left to 1 right."""
    fringe_arch: float
    """How much lower the fringe is at the temples; negative is a widow's peak."""
    eye_spacing: float
    eye_height: float
    eye_width: float
    eye_openness: float
    eye_tilt: float
    iris_size: float
    brow_height: float
    brow_length: float
    brow_thickness: float
    brow_tilt: float
    brow_arch: float
    nose_length: float
    nose_width: float
    bridge_width: float
    mouth_height: float
    mouth_width: float
    upper_lip: float
    lower_lip: float


SMALLEST = Identity(
    head_width=0.64,
    crown_height=0.90,
    chin_height=0.92,
    jaw_roundness=0.60,
    ear_size=0.09,
    ear_height=-0.16,
    hair_volume=1.00,
    hair_length=-0.35,
    hairline=-0.80,
    parting=-0.9,
    fringe_arch=-0.22,
    eye_spacing=0.24,
    eye_height=-0.24,
    eye_width=0.11,
    eye_openness=0.40,
    eye_tilt=-0.40,
    iris_size=0.50,
    brow_height=0.15,
    brow_length=0.13,
    brow_thickness=0.035,
    brow_tilt=-0.45,
    brow_arch=-0.02,
    nose_length=0.24,
    nose_width=0.08,
    bridge_width=0.03,
    mouth_height=0.50,
    mouth_width=0.14,
    upper_lip=0.03,
    lower_lip=0.04,
)
LARGEST = Identity(
    head_width=0.88,
    crown_height=1.16,
    chin_height=1.22,
    jaw_roundness=1.20,
    ear_size=0.24,
    ear_height=0.14,
    hair_volume=1.34,
    hair_length=1.05,
    hairline=-0.44,
    parting=0.9,
    fringe_arch=0.34,
    eye_spacing=0.42,
    eye_height=-0.04,
    eye_width=0.22,
    eye_openness=0.95,
    eye_tilt=0.40,
    iris_size=0.95,
    brow_height=0.32,
    brow_length=0.27,
    brow_thickness=0.125,
    brow_tilt=0.45,
    brow_arch=0.12,
    nose_length=0.50,
    nose_width=0.24,
    bridge_width=0.11,
    mouth_height=0.70,
    mouth_width=0.38,
    upper_lip=0.11,
    lower_lip=0.16,
)


def draw_identity(random: np.random.Generator) -> Identity:
    """A person: every measure is independent and uniform between its limits."""
    shares = random.random(len(SMALLEST)).tolist()
    return Identity(*(low + share * (high - low) for share, low, high in zip(shares, SMALLEST, LARGEST, strict=True)))


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
