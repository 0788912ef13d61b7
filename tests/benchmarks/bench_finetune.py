"""Few images of other people: fine-tuning beside training from scratch, by epoch: `python bench_finetune.py [FACES]`.

The source is the quickstart's network, trained on 8,000 drawn faces of 400 people. The target has 1,000 faces of 100
others, drawn with another seed, and is verified on pairs of 200 others again. Both ways have the network, the images
and the steps of examples/finetune.yaml; from scratch it has the learning rate and the warm-up of the quickstart, which
suit a fresh network. With FACES, a folder with train.rec and lfw_dev.bin, all are real faces: of the identities with at
least two images one in four is the target and the others are the source, which has SOURCE_EPOCHS of them.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

from arcface_api.resource.spec import VERIFICATION_SETS
from arcface_faces.checkpoint import checkpoints, newest_complete, read_manifest
from arcface_faces.datasets.dataset import open_dataset
from arcface_faces.records.files import RecordWriter

ROOT = Path(__file__).resolve().parents[2]
ARCFACE = Path(sys.executable).with_name("arcface")
WORK = ROOT / "work" / "bench-finetune"
DRAWN = ("--identities", "100", "--images-per-identity", "10")
EPOCHS = 4
SOURCE_EPOCHS = 10
ONE_IN = 4
REAL_SETS = ["lfw_dev"]


def main(real_faces: Path | None) -> None:
    kind = "real" if real_faces else "drawn"
    if real_faces:
        theirs, faces = (part_of(real_faces, name) for name in ("source", "target"))
        sets, source_job = REAL_SETS, real_source()
    else:
        theirs, faces = draw(WORK / "faces", 0), draw(WORK / "others", 1, DRAWN)
        sets, source_job = VERIFICATION_SETS, load("quickstart")
    source = train_source(source_job, theirs, WORK / f"{kind}-source")
    tuned, fresh = (load("finetune") for _ in range(2))
    for job in (tuned, fresh):
        job["spec"] |= {"evaluation": {"claimName": "faces", "sets": [*sets]}}
        job["spec"]["training"] |= {"epochs": EPOCHS}
        job["spec"]["checkpoint"] |= {"everySteps": steps_per_epoch(faces, job), "keepLast": 100}
    del fresh["spec"]["model"]["initFrom"], fresh["spec"]["model"]["freezeEpochs"]
    fresh["spec"]["training"] |= {key: load("quickstart")["spec"]["training"][key] for key in ("optimizer", "schedule")}
    curves = {
        "source alone": {0: accuracy(source, faces, sets)},
        "from scratch": curve(fresh, faces, sets, f"{kind}-scratch"),
        "fine-tuned": curve(
            tuned, faces, sets, f"{kind}-tuned", "--volume", f"checkpoints={with_source(kind, source)}"
        ),
    }
    print(f"mean accuracy on {', '.join(sets)} after each epoch; 0 is before the first step")
    print(f"{'epoch':14}" + "".join(f"{epoch:8}" for epoch in range(EPOCHS + 1)))
    for name, found in curves.items():
        cells = (f"{found[epoch]:8.4f}" if epoch in found else " " * 8 for epoch in range(EPOCHS + 1))
        print(f"{name:14}{''.join(cells)}")


def load(example: str) -> dict[str, Any]:
    return yaml.safe_load((ROOT / "examples" / f"{example}.yaml").read_text())


def draw(folder: Path, seed: int, options: tuple[str, ...] = ()) -> Path:
    if not (folder / "train.rec").is_file():
        subprocess.run([ARCFACE, "data", "synth", folder, "--seed", str(seed), *options], check=True)
    return folder


def part_of(faces: Path, name: str) -> Path:
    """Records of every fourth person, the target, or of all others; verified on the pairs of FACES."""
    folder = WORK / f"real-{name}-faces"
    if not (folder / "train.rec").is_file():
        opened = open_dataset(faces, 2, WORK)
        with RecordWriter(folder) as writer:
            last = -1
            for index, label in enumerate(opened.labels.tolist()):
                if (label % ONE_IN == 0) != (name == "target"):
                    continue
                if label != last:
                    writer.start_identity()
                last = label
                writer.add(opened.image_bytes(index))
        for pairs in REAL_SETS:
            (folder / f"{pairs}.bin").symlink_to(faces / f"{pairs}.bin")
    return folder


def real_source() -> dict[str, Any]:
    job = load("quickstart")
    job["spec"]["training"] |= {"epochs": SOURCE_EPOCHS}
    job["spec"]["evaluation"] = {"claimName": "faces", "sets": REAL_SETS}
    return job


def train_source(job: dict[str, Any], faces: Path, work: Path) -> Path:
    """The newest checkpoint of the source, of this benchmark's own run."""
    claim = work / "volumes" / "checkpoints" / job["metadata"]["name"]
    if newest_complete(claim) is None:
        work.mkdir(parents=True, exist_ok=True)
        (work / "job.yaml").write_text(yaml.safe_dump(job))
        run(work / "job.yaml", faces, work)
    found = newest_complete(claim)
    assert found is not None
    return found


def with_source(kind: str, source: Path) -> Path:
    """A claim that the fine-tuning reads the source from and writes its own checkpoints to, as the example has it."""
    claim = WORK / f"claim-{kind}"
    claim.mkdir(parents=True, exist_ok=True)
    link = claim / "quickstart"
    if not link.exists():
        link.symlink_to(source.parent)
    return claim


def curve(job: dict[str, Any], faces: Path, sets: list[str], name: str, *volumes: str | Path) -> dict[int, float]:
    """Mean accuracy over the sets by epoch."""
    job["metadata"]["name"] = name
    file = WORK / f"{name}.yaml"
    file.write_text(yaml.safe_dump(job))
    started = time.monotonic()
    run(file, faces, WORK / name, *volumes)
    print(f"{name}: {time.monotonic() - started:.0f} s")
    claims = [Path(str(volumes[1]).partition("=")[2]) if volumes else WORK / name / "volumes" / "checkpoints"]
    folders = checkpoints(claims[0] / name)
    return {read_manifest(folder).epoch: accuracy(folder, faces, sets) for folder in folders}


def run(job: Path, faces: Path, work: Path, *volumes: str | Path) -> None:
    subprocess.run([ARCFACE, "run", "-f", job, "--volume", f"faces={faces}", "--workdir", work, *volumes], check=True)


def steps_per_epoch(faces: Path, job: dict[str, Any]) -> int:
    spec = job["spec"]
    stats = subprocess.run([ARCFACE, "data", "stats", faces, "--json"], check=True, capture_output=True).stdout
    return json.loads(stats)["images"] // (spec["training"]["batchSize"] * spec["workers"]["replicas"])


def accuracy(checkpoint: Path, faces: Path, sets: list[str]) -> float:
    with tempfile.NamedTemporaryFile(suffix=".json") as out:
        command = [ARCFACE, "evaluate", "pairs", "--checkpoint", checkpoint, "--json", out.name, "--bin"]
        subprocess.run([*command, *(faces / f"{name}.bin" for name in sets)], check=True, capture_output=True)
        results = json.loads(Path(out.name).read_text())["results"]
    return sum(result["accuracy"] for result in results) / len(results)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else None)
