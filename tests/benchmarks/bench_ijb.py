"""IJB-C's size from arrays to the table: `python bench_ijb.py`, beside the reference's algorithm in plain NumPy.

Random embeddings of 469,375 images in 23,124 templates of which 3,531 are compared with 19,593 others in 15,658,489
pairs, as in IJB-C. Both sides get the same arrays; memory is the peak above them.
"""

import resource
import sys
import time
from collections.abc import Callable

import numpy as np

from arcface_evaluator.evaluation import verify_templates
from arcface_evaluator.metrics.roc import FARS
from arcface_evaluator.protocols.template_pairs import TemplatePairs
from arcface_evaluator.protocols.templates import ALL_CHOICES, PoolingChoice, Templates

IMAGES, TEMPLATES, GALLERY, PAIRS, GENUINE, SIZE = 469_375, 23_124, 3_531, 15_658_489, 19_557, 512
CHUNK = 100_000


def draw() -> tuple[np.ndarray, np.ndarray, Templates, TemplatePairs]:
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
    pairs = TemplatePairs(first, second, subject[first] == subject[second])
    return embeddings, random.uniform(0.5, 1, IMAGES), Templates(np.arange(TEMPLATES), template, media), pairs


def plainly(embeddings: np.ndarray, scores: np.ndarray, templates: Templates, pairs: TemplatePairs) -> list[float]:
    """The reference's steps: loops over templates and media, dot products in chunks, a full sort."""
    features = embeddings.sum(axis=1) * scores[:, None].astype(np.float32)
    pooled = np.zeros((TEMPLATES, SIZE))
    bounds = np.searchsorted(templates.template, np.arange(TEMPLATES + 1))
    for index in range(TEMPLATES):
        rows = slice(bounds[index], bounds[index + 1])
        members, media = features[rows], templates.media[rows]
        for medium in np.unique(media):
            pooled[index] += members[media == medium].mean(axis=0)
    pooled /= np.linalg.norm(pooled, axis=1, keepdims=True)
    similarity = np.zeros(PAIRS)
    for start in range(0, PAIRS, CHUNK):
        part = slice(start, start + CHUNK)
        similarity[part] = np.sum(pooled[pairs.first[part]] * pooled[pairs.second[part]], axis=-1)
    order = np.argsort(-similarity, kind="mergesort")
    hits = pairs.is_same[order]
    tpr, fpr = np.cumsum(hits) / hits.sum(), np.cumsum(~hits) / (~hits).sum()
    return [float(tpr[::-1][np.argmin(np.abs(fpr[::-1] - far))]) for far in FARS]


def measured(name: str, work: Callable[[], object]) -> tuple[float, object]:
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    result = work()
    seconds = time.perf_counter() - began
    above = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024
    print(f"{name:28s} {seconds:6.1f} s, peak {above:5d} MiB above what was there before", flush=True)
    return seconds, result


def main() -> None:
    arrays = draw()
    ours, results = measured("ours, one choice", lambda: verify_templates(*arrays, [PoolingChoice()]))
    every, _ = measured("ours, all choices", lambda: verify_templates(*arrays, ALL_CHOICES))
    plain, expected = measured("plain NumPy, one choice", lambda: plainly(*arrays))
    print(f"{plain / ours:.1f} times as fast; all {len(ALL_CHOICES)} choices cost {every / ours:.2f} times one")
    rates = [rate.nearest for rate in results.choices[0].rates]
    for far, rate, other in zip(FARS, rates, expected, strict=True):
        print(f"TAR at {far:g}: {rate:.6f}, plainly {other:.6f}")
    if not np.allclose(rates, expected, atol=1e-9):
        sys.exit("the rates differ")


if __name__ == "__main__":
    main()
