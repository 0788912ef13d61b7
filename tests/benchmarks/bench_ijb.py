"""IJB-C's size from embeddings to figures, in fresh processes: `python bench_ijb.py`.

Random embeddings of 469,375 images in 23,124 templates of which 3,531 are compared with 19,593 others in 15,658,489
pairs, as in IJB-C: ours and the reference's algorithm in plain NumPy, 1:N identification in both galleries, and what
`--json` and `--report` need besides. Then all pairs of 100,000 embeddings. The rates are held against the published
script's steps on the whole curve and on scikit-learn's without intermediate points, computed pair by pair without NumPy
(minutes, some 6 GiB), as the scores are and with three decimals, where thousands are equal.

Each measurement has a process of its own, and each size one that only loads the same arrays: memory is the difference
of their peaks (VmHWM), which nothing but the measured work has raised. It ends with an error where one choice is not
ten times as fast as plain NumPy, or all eight cost more than four times one or 0.7 GiB.
"""

import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from arcface_evaluator.metrics.roc import FARS, tar_at_far
from arcface_evaluator.protocols import all_pairs, identification
from arcface_evaluator.protocols.template_pairs import TemplatePairs
from arcface_evaluator.protocols.templates import ALL_CHOICES, PoolingChoice, Templates, pool
from arcface_evaluator.report import document, entries, outcomes, provenance, search_entries
from arcface_evaluator.report.figures import Measured, figures_of
from arcface_evaluator.verifying import VerifiedTemplates, verify_templates
from arcface_faces.scores import Scores

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from support.published_rates import nearest_rate, roc_points

IMAGES, TEMPLATES, GALLERY, PAIRS, GENUINE, SIZE = 469_375, 23_124, 3_531, 15_658_489, 19_557, 512
ALL, PERSONS = 100_000, 15_000
CHUNK = 100_000
ROUNDS = 3
LEAST_FASTER, MOST_RATIO, MOST_MEMORY = 10, 4, 0.7 * 1024
ALL_CHOICES_REPORTED = "all choices, report"


def draw(folder: Path) -> None:
    """Write the arrays of both sizes."""
    random = np.random.default_rng(0)
    subject = np.arange(TEMPLATES) % GALLERY
    template = np.sort(np.concatenate([np.arange(TEMPLATES), random.integers(0, TEMPLATES, IMAGES - TEMPLATES)]))
    centres = random.standard_normal((GALLERY, SIZE), dtype=np.float32)
    embeddings = random.standard_normal((IMAGES, 2, SIZE), dtype=np.float32) * 8
    for start in range(0, IMAGES, CHUNK):
        embeddings[start : start + CHUNK] += centres[subject[template[start : start + CHUNK]]][:, None]
    media = random.integers(0, IMAGES // 2, IMAGES)
    first = random.integers(0, GALLERY, PAIRS, dtype=np.int32)
    second = random.integers(GALLERY, TEMPLATES, PAIRS, dtype=np.int32)
    probes = np.arange(GENUINE, dtype=np.int32)
    second[:GENUINE] = GALLERY + probes
    first[:GENUINE] = subject[second[:GENUINE]]
    (folder / "ijb").mkdir()
    arrays = {"embeddings": embeddings, "confidence": random.uniform(0.5, 1, IMAGES), "template": template}
    arrays |= {"media": media, "first": first, "second": second, "is_same": subject[first] == subject[second]}
    for name, array in arrays.items():
        np.save(folder / "ijb" / name, array)
    labels = np.sort(random.integers(0, PERSONS, ALL))
    faces = random.standard_normal((PERSONS, 1, SIZE), dtype=np.float32)[labels]
    (folder / "all").mkdir()
    np.save(folder / "all" / "embeddings", faces + random.standard_normal((ALL, 1, SIZE), dtype=np.float32))
    np.save(folder / "all" / "labels", labels)


def load(folder: Path) -> dict[str, np.ndarray]:
    return {path.stem: np.load(path) for path in sorted(folder.iterdir())}


def ours(arrays: dict[str, np.ndarray], choices: tuple[PoolingChoice, ...], *, reported: bool = False) -> list[float]:
    templates = Templates(np.arange(TEMPLATES), arrays["template"], arrays["media"])
    pairs = TemplatePairs(arrays["first"], arrays["second"], arrays["is_same"])
    found = verify_templates(arrays["embeddings"], arrays["confidence"], templates, pairs, choices)
    if reported:
        return report(found)
    return [rate.nearest for rate in found.choices[0].rates]


def report(found: VerifiedTemplates) -> list[float]:
    """Seconds of a core for the document, and for the page, whose plots matplotlib is loaded for."""
    began = time.process_time()
    usual, *others = found.choices
    measured = Measured.of(found.scores)
    intervals = entries.intervals_of(usual.rates, measured)
    rates = entries.rates_of("IJBC", usual, intervals)
    written = document.EvaluationFile(
        inputs=[provenance.InputFile(path="embeddings.npy", sha256="0" * 64)],
        ijb=[document.IjbTar(dataset="IJBC", tar_at_far=rates.nearest)],
        ijb_details=[rates, *(entries.rates_of("IJBC", each) for each in others)],
        curves=[entries.curves_of("IJBC", entries.choice_name(usual.choice), measured)],
        figures=[figures_of("IJBC", measured, usual.rates, intervals)],
        outcomes=list(outcomes.outcomes_of("IJBC", found.scores, usual.rates)),
    )
    face = np.zeros((112, 112, 3), np.uint8)
    hardest = entries.hardest_pairs("IJBC", found.scores, lambda _, score: entries.HardPair(score, (face, face)))
    with tempfile.TemporaryDirectory() as made:
        written.write(Path(made) / "ijbc.json")
        told = time.process_time()
        from arcface_evaluator.report.pages import evaluation_page  # noqa: PLC0415

        evaluation_page.write_page(Path(made), {"ijbc": written}, hardest)
    return [told - began, time.process_time() - told]


def plainly(arrays: dict[str, np.ndarray]) -> list[float]:
    """The reference's steps: loops over templates and media, dot products in chunks, a full sort."""
    features = arrays["embeddings"].sum(axis=1) * arrays["confidence"][:, None].astype(np.float32)
    pooled = np.zeros((TEMPLATES, SIZE))
    bounds = np.searchsorted(arrays["template"], np.arange(TEMPLATES + 1))
    for index in range(TEMPLATES):
        rows = slice(bounds[index], bounds[index + 1])
        members, media = features[rows], arrays["media"][rows]
        for medium in np.unique(media):
            pooled[index] += members[media == medium].mean(axis=0)
    pooled /= np.linalg.norm(pooled, axis=1, keepdims=True)
    similarity = np.zeros(PAIRS)
    for start in range(0, PAIRS, CHUNK):
        part = slice(start, start + CHUNK)
        similarity[part] = np.sum(pooled[arrays["first"][part]] * pooled[arrays["second"][part]], axis=-1)
    order = np.argsort(-similarity, kind="mergesort")
    hits = arrays["is_same"][order]
    tpr, fpr = np.cumsum(hits) / hits.sum(), np.cumsum(~hits) / (~hits).sum()
    return [float(tpr[::-1][np.argmin(np.abs(fpr[::-1] - far))]) for far in FARS]


def identify(arrays: dict[str, np.ndarray]) -> list[float]:
    """Both galleries apart and as one; every probe has a mate in one of them."""
    templates = Templates(np.arange(TEMPLATES), arrays["template"], arrays["media"])
    (vectors,) = pool(arrays["embeddings"], arrays["confidence"], templates, [PoolingChoice()])
    subjects = np.arange(TEMPLATES) % GALLERY
    found = []
    for enrolled in (slice(GALLERY // 2), slice(GALLERY // 2, GALLERY), slice(GALLERY)):
        gallery = identification.Gallery(vectors[enrolled], subjects[enrolled])
        searches = identification.search(gallery, vectors[GALLERY:], subjects[GALLERY:])
        rates = search_entries.gallery_rates("gallery", len(gallery.subjects), searches)
        found += [rates.matches["1"], *rates.tpir.values()]
    return found


def compare_all(arrays: dict[str, np.ndarray]) -> list[float]:
    return [rate.tar for rate in all_pairs.compare_all(arrays["embeddings"], arrays["labels"]).rates]


def compare_curves(arrays: dict[str, np.ndarray], decimals: int | None) -> list[float]:
    """The rates on the whole curve and on scikit-learn's, ours and slowly; exits where any differs."""
    templates = Templates(np.arange(TEMPLATES), arrays["template"], arrays["media"])
    pairs = TemplatePairs(arrays["first"], arrays["second"], arrays["is_same"])
    found = verify_templates(arrays.pop("embeddings"), arrays["confidence"], templates, pairs, ALL_CHOICES[:1])
    scores = found.scores if decimals is None else Scores(found.scores.score.round(decimals), found.scores.is_same)
    rates = tar_at_far(scores)
    ours = [[rate.nearest for rate in rates], [rate.published for rate in rates]]
    listed = scores.score.tolist(), scores.is_same.tolist()
    slowly = []
    for drop_intermediate in (False, True):
        points = roc_points(*listed, drop_intermediate=drop_intermediate)
        slowly.append([nearest_rate(points, far) for far in FARS])
        del points
    if ours != slowly:
        sys.exit(f"the rates differ: {ours} but slowly {slowly}")
    return [*ours[0], *ours[1]]


WORKS = {
    "loading": ("ijb", lambda _: []),
    "one choice": ("ijb", lambda arrays: ours(arrays, ALL_CHOICES[:1])),
    "all choices": ("ijb", lambda arrays: ours(arrays, ALL_CHOICES)),
    ALL_CHOICES_REPORTED: ("ijb", lambda arrays: ours(arrays, ALL_CHOICES, reported=True)),
    "plain NumPy": ("ijb", plainly),
    "identification": ("ijb", identify),
    "curves": ("ijb", lambda arrays: compare_curves(arrays, decimals=None)),
    "curves, 3 decimals": ("ijb", lambda arrays: compare_curves(arrays, decimals=3)),
    "loading all": ("all", lambda _: []),
    "all against all": ("all", compare_all),
}


def work(folder: Path, name: str) -> None:
    """What a process of its own does: prints seconds, the peak of its memory in MiB, and what was found."""
    size, run = WORKS[name]
    arrays = load(folder / size)
    began = time.perf_counter()
    found = run(arrays)
    seconds = time.perf_counter() - began
    peak = int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text()).group(1)) / 1024
    print(json.dumps([seconds, peak, found]))


def measured(folder: Path, name: str, control: float = 0.0) -> tuple[float, float, list[float]]:
    answer = subprocess.run([sys.executable, __file__, folder, name], check=True, capture_output=True)
    seconds, peak, found = json.loads(answer.stdout)
    print(f"{name:22s} {seconds:7.2f} s, peak {peak - control:7.0f} MiB" + " above loading" * bool(control), flush=True)
    return seconds, peak, found


def beyond_bounds(faster: float, ratio: float, memory: float) -> list[str]:
    """What the figures miss: times as fast, what all choices cost beside one, MiB of all above the arrays."""
    bounds = (
        (faster >= LEAST_FASTER, f"one choice is {faster:.1f} times as fast as plain NumPy, below {LEAST_FASTER}"),
        (ratio <= MOST_RATIO, f"all choices cost {ratio:.2f} times one, above {MOST_RATIO}"),
        (memory <= MOST_MEMORY, f"all choices take {memory:.0f} MiB above the arrays, above {MOST_MEMORY:.0f}"),
    )
    return [missed for is_kept, missed in bounds if not is_kept]


def main(folder: Path) -> None:
    draw(folder)
    control = measured(folder, "loading")[1]
    one, every = [], []
    for _ in range(ROUNDS):
        one.append(measured(folder, "one choice", control))
        every.append(measured(folder, "all choices", control))
    plain = measured(folder, "plain NumPy", control)
    seconds = statistics.median(each[0] for each in one)
    ratio = statistics.median(b[0] / a[0] for a, b in zip(one, every, strict=True))
    print(f"{plain[0] / seconds:.1f} times as fast; all {len(ALL_CHOICES)} choices cost {ratio:.2f} times one")
    for far, rate, other in zip(FARS, one[0][2], plain[2], strict=True):
        print(f"TAR at {far:g}: {rate:.6f}, plainly {other:.6f}")
    for name in ("curves", "curves, 3 decimals"):
        rates = measured(folder, name, control)[2]
        whole, dropped = rates[: len(FARS)], rates[len(FARS) :]
        print(f"  nearest {whole} and published {dropped}: as slowly")
    reported = measured(folder, ALL_CHOICES_REPORTED, control)
    told, drawn = reported[2]
    print(f"  the document {told:.2f} s, the page {drawn:.2f} s of a core; {reported[1] - every[-1][1]:.0f} MiB more")
    measured(folder, "identification", control)
    measured(folder, "all against all", measured(folder, "loading all")[1])
    if not np.allclose(one[0][2], plain[2], atol=1e-9):
        sys.exit("the rates differ")
    memory = max(each[1] for each in every) - control
    if missed := beyond_bounds(plain[0] / seconds, ratio, memory):
        sys.exit("; ".join(missed))


if __name__ == "__main__":
    if len(sys.argv) == 3:
        work(Path(sys.argv[1]), sys.argv[2])
    else:
        with tempfile.TemporaryDirectory() as made:
            main(Path(made))
