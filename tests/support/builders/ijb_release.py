"""Small IJB releases: images of noise whose landmarks lie where the template has them."""

from pathlib import Path

from arcface_faces.images import LANDMARKS
from support.builders.verification_set import encoded_image

PERSONS, IMAGES_EACH = 12, 4
ALIGNED = " ".join(f"{number}" for point in LANDMARKS for number in point)


def write_release(folder: Path, name: str = "IJBC") -> Path:
    """A release of twelve persons, each in two templates of two images; every template meets every later one.

    A person's images are one image under different names, so that a network that tells images apart is right.
    """
    root = folder / "IJB_release" / name
    (root / "loose_crop").mkdir(parents=True)
    (root / "meta").mkdir()
    members, marks = [], []
    for person in range(PERSONS):
        for number in range(IMAGES_EACH):
            row = person * IMAGES_EACH + number
            (root / "loose_crop" / f"{row}.jpg").write_bytes(encoded_image(person))
            members.append(f"{row}.jpg {10 * person + number // 2} {row}")
            marks.append(f"{row}.jpg {ALIGNED} 0.9")
    templates = [10 * person + half for person in range(PERSONS) for half in range(2)]
    pairs = [
        f"{one} {other} {int(one // 10 == other // 10)}"
        for place, one in enumerate(templates)
        for other in templates[place + 1 :]
    ]
    prefix = name.lower() if name.startswith("IJB") else name
    lines = {"face_tid_mid": members, "name_5pts_score": marks, "template_pair_label": pairs}
    for kind, rows in lines.items():
        (root / "meta" / f"{prefix}_{kind}.txt").write_text("\n".join(rows) + "\n")
    return root
