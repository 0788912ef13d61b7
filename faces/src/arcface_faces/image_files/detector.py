"""Landmarks found by a detector of the form of YuNet, an ONNX file that the user has: none is part of this software.

OpenCV's FaceDetectorYN runs it. For each of the strides 8, 16 and 32 the network answers with `cls`, `obj`, `bbox` and
`kps`, and a detection is x, y, width, height, five points and a score. The points begin with the right eye of the
person, which is the left one in the image. (docs.opencv.org, `cv::FaceDetectorYN::detect`)
"""

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arcface_api.errors import InvalidInput, explained
from arcface_faces.images import Image, cv2
from arcface_faces.positioned_file import open_regular

LONGEST_SIDE = 640
"""Pixels to which larger images are scaled: the network finds faces of 10 to 300."""
LEAST_SCORE = 0.6
MOST_OVERLAP = 0.3
"""Of two boxes, above which the better one stays."""
MOST_BOXES = 1000
STRIDES = (8, 16, 32)
COLUMNS = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}
"""Numbers that each output has for a cell of the grid of a stride."""
TRIED = (64, 96)
"""Height and width that a network is tried with."""
FORM = "it is no detector of YuNet's form; take face_detection_yunet from OpenCV's model zoo"


@dataclass(frozen=True, slots=True)
class FaceDetector:
    """The network in a file; threads and processes that detect open it for themselves."""

    path: Path

    def landmarks(self, image: Image, where: str) -> NDArray[np.float64]:
        """Points (5, 2) of the face that the image shows: of several the large and central one.

        Raises:
            InvalidInput: where there is no face, naming `where`.
        """
        height, width = image.shape[:2]
        scale = min(1.0, LONGEST_SIDE / max(height, width))
        size = max(1, round(width * scale)), max(1, round(height * scale))
        shown = cv2.resize(image, size, interpolation=cv2.INTER_AREA) if scale < 1 else image
        faces_F15 = self._detect(np.ascontiguousarray(shown[:, :, ::-1]))
        if not len(faces_F15):
            raise InvalidInput(f"{where}: {self.path.name} finds no face in it: give --landmarks or leave it out")
        best = faces_F15[np.argmax(_prominence(faces_F15, size))]
        points: NDArray[np.float64] = best[4:14].reshape(5, 2) * (width / size[0], height / size[1])
        return points

    def _detect(self, image: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Detections (F, 15) in a BGR image."""
        network = _opened(self.path)
        try:
            network.setInputSize((image.shape[1], image.shape[0]))
            found = network.detect(image)[1]
        except cv2.error as error:
            raise InvalidInput(f"{self.path}: OpenCV cannot run it ({_reason(error)}): {FORM}") from None
        faces: NDArray[np.float64] = np.zeros((0, 15)) if found is None else np.asarray(found, np.float64)
        finite: NDArray[np.float64] = faces[np.isfinite(faces).all(axis=1)]
        return finite


def open_detector(path: Path) -> FaceDetector:
    """Open a detector and try it; InvalidInput where it is none of this form."""
    with explained(path, "cannot be read", "correct --detector"):
        open_regular(path).close()
    height, width = TRIED
    cells = {stride: (height // stride) * (width // stride) for stride in STRIDES}
    sizes = {f"{kind}_{stride}": cells[stride] * columns for kind, columns in COLUMNS.items() for stride in STRIDES}
    try:
        # FaceDetectorYN reads its outputs without looking at their sizes.
        network = cv2.dnn.readNetFromONNX(str(path))
        network.setInput(np.zeros((1, 3, height, width), np.float32))
        answers = network.forward(list(sizes))
    except cv2.error as error:
        raise InvalidInput(f"{path}: OpenCV cannot run it ({_reason(error)}): {FORM}") from None
    if [answer.size for answer in answers] != list(sizes.values()):
        raise InvalidInput(f"{path}: answers with other sizes than a detector: {FORM}")
    return FaceDetector(path)


_THREADS = threading.local()


def _opened(path: Path) -> Any:
    """This thread's own: the state of a detector is that of one image."""
    opened = _THREADS.__dict__
    if str(path) not in opened:
        opened[str(path)] = cv2.FaceDetectorYN.create(str(path), "", TRIED, LEAST_SCORE, MOST_OVERLAP, MOST_BOXES)
    return opened[str(path)]


def _prominence(faces_F15: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.float64]:
    """(F,) area less twice the squared distance from the centre, as InsightFace's `FaceAnalysis` weighs them."""
    x, y, width, height = faces_F15[:, :4].T
    distances = (x + width / 2 - size[0] / 2) ** 2 + (y + height / 2 - size[1] / 2) ** 2
    weighed: NDArray[np.float64] = width * height - 2 * distances
    return weighed


def _reason(error: Exception) -> str:
    """What OpenCV says, without its places."""
    return str(error).strip().splitlines()[0].rpartition(") ")[2]
