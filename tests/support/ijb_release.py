"""Small IJB releases: pictures of noise whose landmarks lie where the template has them."""

from pathlib import Path

from arcface_trainer.backbone_input import LANDMARKS
from support.verification_set import encoded_picture

PERSONS, PICTURES_EACH = 12, 4
ALIGNED = " ".join(f"{number}" for point in LANDMARKS for number in point)


def write_release(folder: Path, name: str = "IJBC") -> Path:
    """A release of twelve persons, each in two templates of two pictures; every template meets every later one.

    A person's pictures are one picture under different names, so that a network that tells pictures apart is right.
    """
    root = folder / "IJB_release" / name
    (root / "loose_crop").mkdir(parents=True)
    (root / "meta").mkdir()
    members, marks = [], []
    for person in range(PERSONS):
        for number in range(PICTURES_EACH):
            row = person * PICTURES_EACH + number
            (root / "loose_crop" / f"{row}.jpg").write_bytes(encoded_picture(person))
            members.append(f"{row}.jpg {10 * person + number // 2} {row}")
            marks.append(f"{row}.jpg {ALIGNED} 0.9")
    templates = [10 * person + half for person in range(PERSONS) for half in range(2)]
    pairs = [
        f"{one} {other} {int(one // 10 == other // 10)}"
        for place, one in enumerate(templates)
        for other in templates[place + 1 :]
    ]
    lines = {"face_tid_mid": members, "name_5pts_score": marks, "template_pair_label": pairs}
    for kind, rows in lines.items():
        (root / "meta" / f"{name.lower()}_{kind}.txt").write_text("\n".join(rows) + "\n")
    return root
