"""What every backbone takes: the facts that checkpoints and exports carry with them. Imports no MindSpore."""

from typing import Final

from arcface_api import architectures

IMAGE_SIZE: Final = architectures.IMAGE_SIZE
"""Height and width in pixels."""
PIXEL_MEAN: Final = 127.5
PIXEL_SCALE: Final = 127.5
"""A network sees (pixel - mean) / scale, channels in the order red, green, blue."""
LANDMARKS: Final = (
    (38.2946, 51.6963),
    (73.5318, 51.5014),
    (56.0252, 71.7366),
    (41.5493, 92.3655),
    (70.7299, 92.2041),
)
"""Where eyes, nose and corners of the mouth lie (x, y) in an aligned image (InsightFace's template for 112x112)."""
