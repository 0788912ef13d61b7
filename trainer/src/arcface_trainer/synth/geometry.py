"""The lines of a face: shapes in face units, back to front, and where they fall in the image.

Coordinates are those of `identity`. Depth tells how far a point lies in front of the plane of the outline, as a share
of the head's roundness: 0 for the outline, 1 for the skin, more for what stands out of it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, cast

import numpy as np
from numpy.typing import NDArray

from arcface_trainer.synth.person import Appearance, Identity

Points = NDArray[np.float64]
Ink = Literal["hair", "skin", "clothes", "white", "iris", "pupil", "brow", "lip", "mouth", "line"]

SIZE = 112
CENTER = (56.0, 57.0)
PIXELS_PER_UNIT = 45.0
ROUNDNESS = 0.72
NOSE_DEPTH = 1.35

CIRCLE = np.linspace(0.0, 2 * np.pi, 28, endpoint=False)
COS, SIN = np.cos(CIRCLE), np.sin(CIRCLE)
ARC = np.linspace(-1.0, 1.0, 9)
"""Runs along open curves."""
BULGE = 1 - ARC * ARC
SIDES = (-1.0, 1.0)


@dataclass(frozen=True, slots=True)
class Shape:
    """A filled polygon, or an open line where `width` is positive."""

    ink: Ink
    points: Points
    """(N, 2)."""
    depth: float = 1.0
    width: float = 0.0


def face_shapes(identity: Identity, appearance: Appearance) -> list[Shape]:
    """All shapes of a face in the order in which they cover each other."""
    return [
        *_behind(identity, appearance),
        Shape("skin", _outline(identity), depth=0.0),
        *_wrinkles(identity, appearance),
        *_eyes(identity, appearance),
        *_nose(identity),
        *_mouth(identity, appearance),
        _fringe(identity, appearance),
    ]


def _points(x: NDArray[np.float64] | list[float], y: NDArray[np.float64] | list[float]) -> Points:
    return np.stack((np.asarray(x, np.float64), np.asarray(y, np.float64)), axis=1)


def _outline(identity: Identity) -> Points:
    is_lower = SIN > 0
    exponent = np.where(is_lower, identity.jaw_roundness, 0.9)
    height = np.where(is_lower, identity.chin_height, identity.crown_height)
    x = identity.head_width * np.sign(COS) * np.abs(COS) ** exponent
    return _points(x, height * SIN)


def _behind(identity: Identity, appearance: Appearance) -> Iterator[Shape]:
    """Hair behind the head, neck, clothes and ears."""
    width = identity.head_width * identity.hair_volume * (1 - 0.08 * appearance.age)
    top = identity.crown_height * (1 + 0.5 * (identity.hair_volume - 1))
    y = np.where(SIN < 0, SIN * top, np.minimum(SIN * 1.4, 1.0) * max(identity.hair_length, 0.02))
    low = np.minimum(y, identity.hair_length) if identity.hair_length < 0 else y
    yield Shape("hair", _points(width * np.sign(COS) * np.abs(COS) ** 0.7, low), depth=0.0)
    neck = 0.45 * identity.head_width
    yield Shape("skin", _points([-neck, neck, neck * 1.1, -neck * 1.1], [0.4, 0.4, 1.8, 1.8]), depth=0.0)
    yield Shape("clothes", _points([-1.5, -0.5, 0.0, 0.5, 1.5, 1.5, -1.5], [1.45, 1.25, 1.4, 1.25, 1.45, 2, 2]), 0.0)
    for side in SIDES:
        x = side * identity.head_width + 0.6 * identity.ear_size * COS
        yield Shape("skin", _points(x, identity.ear_height + 1.3 * identity.ear_size * SIN), depth=0.0)


def _fringe(identity: Identity, appearance: Appearance) -> Shape:
    """Hair over the forehead, between the crown and the hairline."""
    across = ARC * identity.head_width * 1.02
    edge = identity.hairline + identity.fringe_arch * np.abs(ARC - identity.parting) * 0.8 - 0.12 * appearance.age
    crown = -identity.crown_height * 1.04 * np.sqrt(np.clip(1 - 0.92 * ARC * ARC, 0, 1))
    lower = np.maximum(edge, crown)
    return Shape("hair", _points(np.concatenate((across, across[::-1])), np.concatenate((lower, crown[::-1]))), 0.35)


def _eyes(identity: Identity, appearance: Appearance) -> Iterator[Shape]:
    """Both eyes with their lids and brows."""
    width = identity.eye_width
    openness = width * identity.eye_openness * (1 - appearance.squint)
    for side in SIDES:
        center = np.array([side * identity.eye_spacing, identity.eye_height])
        along = np.concatenate((ARC, ARC[-2:0:-1]))
        bulge = np.concatenate((-BULGE, 0.75 * BULGE[-2:0:-1]))
        almond = _turned(_points(width * along, openness * bulge), side * identity.eye_tilt) + center
        yield Shape("white", almond)
        radius = identity.iris_size * width * 0.55
        iris = center + _points(0.3 * width * appearance.gaze + radius * COS, np.minimum(radius, openness) * 0.85 * SIN)
        yield Shape("iris", iris)
        yield Shape("pupil", center + 0.45 * (iris - center))
        yield Shape("line", almond[: len(ARC)], width=0.035)
        lift = identity.brow_height + appearance.brow_lift
        brow = _points(identity.brow_length * ARC, -identity.brow_arch * BULGE)
        place = center + np.array([side * 0.03, -lift])
        yield Shape("brow", _turned(brow, side * identity.brow_tilt) + place, width=identity.brow_thickness)


def _turned(points: Points, angle: float) -> Points:
    cosine, sine = np.cos(angle), np.sin(angle)
    return cast("Points", points @ np.array([[cosine, sine], [-sine, cosine]]))


def _nose(identity: Identity) -> Iterator[Shape]:
    tip = identity.eye_height + identity.nose_length
    wings = _points(identity.nose_width * ARC, tip - 0.07 + 0.11 * BULGE)
    yield Shape("line", wings, NOSE_DEPTH, width=0.04)
    for side in SIDES:
        bridge = side * np.array([identity.bridge_width, identity.bridge_width, 0.6 * identity.nose_width])
        heights = [identity.eye_height, tip - 0.6 * identity.nose_length, tip - 0.12]
        yield Shape("line", _points(bridge, heights), depth=1.15, width=0.022)


def _mouth(identity: Identity, appearance: Appearance) -> Iterator[Shape]:
    """Two lips, and what opens between them; a smile pulls the corners up."""
    x = identity.mouth_width * (1 + 0.12 * appearance.smile) * ARC
    middle = identity.mouth_height - 0.10 * appearance.smile * ARC * ARC + 0.02
    upper = middle - 0.5 * appearance.gape * BULGE
    lower = middle + 0.5 * appearance.gape * BULGE
    bow = identity.upper_lip * BULGE * (1 - 0.35 * np.exp(-30 * ARC * ARC))
    both = np.concatenate((x, x[::-1]))
    yield Shape("mouth", _points(both, np.concatenate((upper, lower[::-1]))))
    yield Shape("lip", _points(both, np.concatenate((upper - bow, upper[::-1]))))
    yield Shape("lip", _points(both, np.concatenate((lower, (lower + identity.lower_lip * BULGE)[::-1]))))
    yield Shape("mouth", _points(x, upper), width=0.025)


def _wrinkles(identity: Identity, appearance: Appearance) -> Iterator[Shape]:
    """Lines that come with age: forehead, beside the nose, under the eyes."""
    if appearance.age < 0.35:
        return
    width = 0.03 * appearance.age
    forehead = identity.eye_height - identity.brow_height
    for rise in (0.14, 0.24):
        yield Shape("line", _points(0.34 * ARC, forehead - rise - 0.03 * BULGE), width=width)
    tip = identity.eye_height + identity.nose_length
    for side in SIDES:
        fold = _points(side * np.array([0.18, 0.27, 0.32]), [tip - 0.02, tip + 0.12, tip + 0.28])
        yield Shape("line", fold, width=width)
        bag = _points(side * identity.eye_spacing + 0.14 * ARC, identity.eye_height + 0.13 + 0.03 * BULGE)
        yield Shape("line", bag, width=width)


def projected(shapes: list[Shape], appearance: Appearance) -> list[Points]:
    """Pixel coordinates of every shape's points: turn and nod of a rounded head, then roll, zoom and shift."""
    points = np.concatenate([shape.points for shape in shapes])
    counts = [len(shape.points) for shape in shapes]
    depths = np.repeat([shape.depth for shape in shapes], counts)
    x, y = points[:, 0], points[:, 1]
    z = depths * ROUNDNESS * np.sqrt(np.clip(1 - 0.8 * x * x - 0.6 * y * y, 0.0, 1.0))
    # The outline of a ball stays round while it turns; what lies on it is foreshortened.
    turned_x = x * (1 - np.minimum(depths, 1) * (1 - np.cos(appearance.yaw))) + z * np.sin(appearance.yaw)
    turned_y = y + z * np.sin(appearance.pitch)
    scale = PIXELS_PER_UNIT * appearance.zoom
    in_image = scale * _turned(_points(turned_x, turned_y), appearance.roll)
    in_image += (CENTER[0] + appearance.right, CENTER[1] + appearance.down)
    return np.split(in_image, np.cumsum(counts)[:-1])
