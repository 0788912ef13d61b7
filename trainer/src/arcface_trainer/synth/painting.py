"""Paints a face: colours, background, light and the damage a camera does, all drawn anew for each image."""

from typing import cast

import numpy as np

from arcface_faces.images import Image, cv2
from arcface_trainer.synth.geometry import PIXELS_PER_UNIT, SIZE, Ink, face_shapes, projected
from arcface_trainer.synth.person import Appearance, Conditions, Identity, draw_appearance

Colour = tuple[float, float, float]

SUBPIXEL_BITS = 4
JPEG_QUALITY = 92
LEAST_CONTRAST = 45.0
"""Grey levels between skin and dark hair."""
FAIR_CHANCE = 0.25
"""Images with hair lighter than the skin; brows are always darker."""
DOWN, RIGHT = np.meshgrid(
    np.linspace(-1, 1, SIZE, dtype=np.float32), np.linspace(-1, 1, SIZE, dtype=np.float32), indexing="ij"
)


def draw_face(identity: Identity, conditions: Conditions, random: np.random.Generator) -> Image:
    """RGB image (112, 112, 3) of a person; all that is not the person comes from `random`."""
    appearance = draw_appearance(conditions, random)
    palette = _palette(appearance, random)
    image = _background(random)
    shapes = face_shapes(identity, appearance)
    for shape, points in zip(shapes, projected(shapes, appearance), strict=True):
        fixed = np.rint(points * (1 << SUBPIXEL_BITS)).astype(np.int32)
        colour = palette[shape.ink]
        if shape.width:
            width = max(1, round(shape.width * PIXELS_PER_UNIT * appearance.zoom))
            cv2.polylines(
                image, [fixed], isClosed=False, color=colour, thickness=width, lineType=cv2.LINE_AA, shift=SUBPIXEL_BITS
            )
        else:
            cv2.fillPoly(image, [fixed], colour, cv2.LINE_AA, SUBPIXEL_BITS)
    _occlude(image, conditions, random)
    return _photographed(image, appearance, conditions, random)


def encode_face(image: Image) -> bytes:
    """JPEG of an RGB image."""
    _, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), (cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY))
    return data.tobytes()


def _palette(appearance: Appearance, random: np.random.Generator) -> dict[Ink, Colour]:
    """Colours of one image; nothing in them tells who it is."""
    skin_level = random.uniform(100, 215)
    darkest, lightest = skin_level - LEAST_CONTRAST, skin_level + 0.5 * LEAST_CONTRAST
    is_fair = random.random() < FAIR_CHANCE
    hair_level = random.uniform(lightest, 250) if is_fair else random.uniform(5, darkest)
    brow_level = random.uniform(5, darkest)
    hair_level += 0.5 * appearance.age * (190 - hair_level)
    skin = _tinted(skin_level, (1.10, 0.94, 0.82), 0.10, random)
    shade = random.uniform(0.45, 0.70)
    return {
        "skin": skin,
        "hair": _tinted(hair_level, (1.05, 0.97, 0.90), 0.15, random),
        "clothes": _tinted(random.uniform(20, 235), (1, 1, 1), 0.4, random),
        "white": _tinted(random.uniform(200, 245), (1, 1, 1), 0.05, random),
        "iris": _tinted(random.uniform(30, 120), (1, 1, 1), 0.4, random),
        "pupil": _tinted(random.uniform(5, 35), (1, 1, 1), 0.1, random),
        "brow": _tinted(brow_level, (1.05, 0.97, 0.90), 0.1, random),
        "lip": _tinted(skin_level * random.uniform(0.55, 0.85), (1.25, 0.85, 0.85), 0.15, random),
        "mouth": _tinted(random.uniform(15, 60), (1.2, 0.9, 0.9), 0.1, random),
        "line": cast("Colour", tuple(shade * level for level in skin)),
    }


def _tinted(level: float, tint: Colour, spread: float, random: np.random.Generator) -> Colour:
    red, green, blue = (level * np.array(tint) * random.uniform(1 - spread, 1 + spread, 3)).tolist()
    return (min(red, 255.0), min(green, 255.0), min(blue, 255.0))


def _background(random: np.random.Generator) -> Image:
    """Smooth patches of colour, coarse or fine."""
    cells = int(random.integers(2, 6))
    levels = random.uniform(30, 225) + random.uniform(5, 40) * random.standard_normal((cells, cells, 3), np.float32)
    patches = np.clip(levels, 0, 255).astype(np.uint8)
    return cast("Image", cv2.resize(patches, (SIZE, SIZE), interpolation=cv2.INTER_LINEAR))


def _occlude(image: Image, conditions: Conditions, random: np.random.Generator) -> None:
    """Sometimes something stands before the face."""
    if random.random() > 0.5 * conditions.damage:
        return
    center, half = random.uniform(10, SIZE - 10, 2), random.uniform(5, 14, 2)
    corners = cv2.boxPoints((center.tolist(), (2 * half).tolist(), float(random.uniform(0, 180))))
    colour = random.uniform(0, 255, 3).tolist()
    cv2.fillPoly(image, [np.rint(corners).astype(np.int32)], colour, cv2.LINE_AA)


def _photographed(image: Image, appearance: Appearance, conditions: Conditions, random: np.random.Generator) -> Image:
    """Light from a side, colour cast, faded print of old images, blur and noise."""
    right, down, tone, *cast_rgb = random.uniform(-1, 1, 6).tolist()
    slope = np.float32(0.6 * conditions.light)
    light = 1 + slope * (np.float32(right) * RIGHT + np.float32(down) * DOWN)
    gain = (1 + 0.3 * conditions.light * tone) * (1 + 0.2 * conditions.light * np.array(cast_rgb, np.float32))
    contrast = 1 - 0.3 * appearance.age
    sigma = 1 + 6 * conditions.damage * random.random() + 4 * appearance.age
    grain = sigma * random.standard_normal((SIZE, SIZE), np.float32)
    lit = image * light[:, :, None] * (contrast * gain).astype(np.float32)
    lit += (grain + (1 - contrast) * 130)[:, :, None]
    photo: Image = np.clip(lit, 0, 255).astype(np.uint8)
    if random.random() < conditions.damage:
        photo = cast("Image", cv2.GaussianBlur(photo, (0, 0), random.uniform(0.4, 0.9)))
    return photo
