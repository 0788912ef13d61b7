"""Accuracy on real faces of people never trained on, by epoch: `python bench_lfw.py FOLDER`.

Trains examples/lfw.yaml on FOLDER/train.rec with a checkpoint every five epochs, then evaluates each on
FOLDER/lfw_dev.bin.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
ARCFACE = Path(sys.executable).with_name("arcface")
EPOCHS_BETWEEN = 5


def main(faces: Path) -> None:
    work = ROOT / "work" / "bench-lfw"
    job = yaml.safe_load((ROOT / "examples" / "lfw.yaml").read_text())
    steps = steps_per_epoch(faces, job)
    job["spec"]["checkpoint"] |= {"everySteps": EPOCHS_BETWEEN * steps, "keepLast": 100}
    job_file = work / "job.yaml"
    work.mkdir(parents=True, exist_ok=True)
    job_file.write_text(yaml.safe_dump(job))
    started = time.monotonic()
    subprocess.run([ARCFACE, "run", "-f", job_file, "--volume", f"faces={faces}", "--workdir", work], check=True)
    print(f"trained and evaluated in {(time.monotonic() - started) / 60:.1f} minutes")
    print("epoch  accuracy")
    for folder in sorted((work / "volumes" / "checkpoints" / job["metadata"]["name"]).glob("step-*")):
        epoch = int(folder.name.partition("-")[2]) // steps
        print(f"{epoch:5d}  {accuracy(folder, faces / 'lfw_dev.bin'):.4f}")


def steps_per_epoch(faces: Path, job: dict) -> int:
    spec = job["spec"]
    least = str(spec["data"]["minImagesPerIdentity"])
    output = subprocess.run(
        [ARCFACE, "data", "stats", faces, "--min-images", least, "--json"], check=True, capture_output=True
    ).stdout
    return json.loads(output)["images"] // (spec["training"]["batchSize"] * spec["workers"]["replicas"])


def accuracy(checkpoint: Path, pairs: Path) -> float:
    with tempfile.NamedTemporaryFile(suffix=".json") as out:
        command = [ARCFACE, "evaluate", "pairs", "--checkpoint", checkpoint, "--bin", pairs, "--json", out.name]
        subprocess.run(command, check=True, capture_output=True)
        return json.loads(Path(out.name).read_text())["results"][0]["accuracy"]


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
