"""Accuracy of the quickstart on drawn people it was never trained on, for three seeds: `python bench_quickstart.py`.

Beside it what chance, raw pixels (cosine after taking the mean off) and an untrained network of the same kind reach.
"""

import os

# Read when MindSpore is loaded.
os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX2")
os.environ.setdefault("GLOG_v", "3")

import json
import subprocess
import sys
import time
from pathlib import Path

import mindspore
import numpy as np
import yaml

from arcface_api.resource.spec import VERIFICATION_SETS
from arcface_evaluator.verifying import embed_all, verify_pairs
from arcface_faces.embedding.embedder import InProcessEmbedder, Network
from arcface_faces.pairs.pair_set import PairSet, open_sets
from arcface_operator.preflight.job_file import read_job
from arcface_trainer.network.backbones import as_function, build_backbone

ROOT = Path(__file__).resolve().parents[2]
ARCFACE = Path(sys.executable).with_name("arcface")
SEEDS = (0, 1, 2)


def main() -> None:
    rows = [row for seed in SEEDS for row in measure(seed, ROOT / "work" / "bench-quickstart" / str(seed))]
    print(f"{'':24}" + "".join(f"{name:>10}" for name in VERIFICATION_SETS))
    print(f"{'chance':24}" + f"{0.5:10.3f}" * len(VERIFICATION_SETS))
    for name, accuracies in rows:
        print(f"{name:24}" + "".join(f"{accuracy:10.3f}" for accuracy in accuracies))


def measure(seed: int, work: Path) -> list[tuple[str, list[float]]]:
    faces, job_file = work / "faces", work / "job.yaml"
    if not (faces / "train.rec").is_file():
        subprocess.run([ARCFACE, "data", "synth", faces, "--seed", str(seed)], check=True)
    job = yaml.safe_load((ROOT / "examples" / "quickstart.yaml").read_text())
    job["spec"]["training"]["seed"] = seed
    job_file.write_text(yaml.safe_dump(job))
    started = time.monotonic()
    subprocess.run([ARCFACE, "run", "-f", job_file, "--volume", f"faces={faces}", "--workdir", work], check=True)
    print(f"seed {seed}: {time.monotonic() - started:.0f} s")
    sets = open_sets(faces / f"{name}.bin" for name in VERIFICATION_SETS)
    mindspore.set_seed(seed)
    untrained = as_function(build_backbone(read_job(job_file).spec.model))
    return [
        (f"seed {seed}: raw pixels", accuracies_of(sets, raw_pixels)),
        (f"seed {seed}: untrained", accuracies_of(sets, untrained)),
        (f"seed {seed}: trained", trained(work / "volumes" / "checkpoints" / job["metadata"]["name"], faces, work)),
    ]


def accuracies_of(sets: list[PairSet], network: Network) -> list[float]:
    embedder = InProcessEmbedder(lambda: network, 64)
    return [verify_pairs(each, embed_all(each, lambda: embedder)).folds.mean for each in sets]


def raw_pixels(images: np.ndarray) -> np.ndarray:
    flat = images.reshape(len(images), -1).astype(np.float32)
    return flat - flat.mean(axis=1, keepdims=True)


def trained(checkpoints: Path, faces: Path, work: Path) -> list[float]:
    files = [faces / f"{name}.bin" for name in VERIFICATION_SETS]
    out = work / "results.json"
    command = [ARCFACE, "evaluate", "pairs", "--checkpoint", checkpoints, "--json", out, "--bin", *files]
    subprocess.run(command, check=True)
    return [result["accuracy"] for result in json.loads(out.read_text())["results"]]


if __name__ == "__main__":
    main()
