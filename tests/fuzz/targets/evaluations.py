"""Documents of evaluations, which `compare` reads: what is told of them, and the page that is drawn."""

import json
from functools import cache
from typing import Any

from arcface_api.errors import InvalidInput
from arcface_evaluator.commands import outputs
from arcface_evaluator.report import comparison, document
from arcface_evaluator.report.pages import evaluation_page
from fuzz import scratch
from fuzz.mutation import mutate_json
from fuzz.target import Target
from fuzz.targets.contract import is_part

SHA256 = "0" * 64
POINT = {"far": 0.1, "threshold": 0.5, "fmr": 0.1, "fnmr": 0.25, "interval": [0.1, 0.4], "impostorEffect": 1.5}
RATES = {"1e-1": 0.9, "1e-2": 0.8}
GALLERY = {
    "gallery": "G1", "enrolled": 2, "mated": 2, "nonMated": 2, "matches": {"1": 1.0}, "tpir": {"1e-1": 0.5},
    "tpirRank1": {"1e-1": 0.5}, "thresholds": {"1e-1": 0.7}, "unresolved": [],
}  # fmt: skip
DOCUMENT: dict[str, Any] = {
    "results": [{"dataset": "lfw", "accuracy": 0.95, "std": 0.01, "pairs": 20}],
    "ijb": [{"dataset": "IJBC", "tarAtFar": RATES}],
    "details": [
        {"dataset": "lfw", "flip": True, "folds": [0.9, 1.0], "thresholds": [1.2, 1.3], "xnorm": 20.0,
         "interval": [0.8, 0.99]},
    ],
    "ijbDetails": [
        {"dataset": "IJBC", "keepNorm": True, "detectorScore": True, "flip": True, "nearest": RATES,
         "conservative": RATES, "unresolved": [], "intervals": {"1e-1": [0.8, 0.95]}},
    ],
    "identification": [
        {"dataset": "IJBC", "galleries": [GALLERY], "matches": {"1": 1.0}, "tpir": {"1e-1": 0.5},
         "tpirRank1": {"1e-1": 0.5}},
    ],
    "curves": [
        {"dataset": "lfw", "protocol": "cosine", "fpr": [0.0, 0.1, 1.0], "tpr": [0.5, 0.75, 1.0], "lowest": -1.0,
         "highest": 1.0, "genuine": [0, 1, 9], "impostors": [8, 1, 1]},
    ],
    "figures": [
        {"dataset": "lfw", "auc": 0.97, "eer": 0.1, "eerThreshold": 0.5, "points": [POINT],
         "groups": [{"group": "old", "pairs": 9, "accuracy": 0.9, "interval": [0.6, 0.99], "eer": 0.1}]},
    ],
    "outcomes": [
        {"dataset": "lfw", "figure": "accuracy", "pairs": 20, "right": "//+/", "effect": 1.0},
        {"dataset": "lfw", "figure": "tar@1e-1", "pairs": 10, "right": "/wA=", "effect": 2.0,
         "falseAccepts": "AwAAAA==", "persons": "BgAAAAQAAAAFAAAAAwAAAAEAAAABAAAA"},
    ],
    "checkpoint": "runs/step-00000100",
    "inputs": [{"path": "lfw.bin", "sha256": SHA256}],
}  # fmt: skip


def targets() -> list[Target]:
    """Of evaluations."""
    samples = [json.dumps(DOCUMENT).encode(), json.dumps({**DOCUMENT, "curves": [], "figures": []}).encode()]
    return [
        Target(name="evaluation", samples=samples, read=_compared, agrees=_is_that_document, mutate=mutate_json),
        Target(
            name="evaluation-page",
            samples=samples[:1],
            read=_drawn,
            agrees=lambda _data, page: page.startswith("<!doctype html>"),
            mutate=mutate_json,
            mebibytes=256,
            seconds=30.0,
        ),
    ]


def _compared(data: bytes) -> document.EvaluationFile:
    """Beside itself and beside the sample, in a table."""
    found = document.EvaluationFile.read(scratch.write("run.json", data))
    for runs in ({"a": found, "b": found}, {"a": _sample(), "b": found}):
        outputs.text_of(outputs.narrowed(comparison.comparison_table(list(comparison.compare_runs(runs)))))
    return found


@cache
def _sample() -> document.EvaluationFile:
    return document.EvaluationFile.from_json(json.dumps(DOCUMENT), "sample")


def _is_that_document(data: bytes, value: document.EvaluationFile) -> bool:
    """All that is kept of it stands in the JSON, but for defaults."""
    kept, told = json.loads(value.to_json()), json.loads(data)
    return is_part({name: kept[name] for name in kept.keys() & told.keys()}, told)


def _drawn(data: bytes) -> str:
    found = document.EvaluationFile.read(scratch.write("run.json", data))
    try:
        return evaluation_page.write_page(scratch.place("page"), {"a": found}).read_text()
    except OSError as error:  # names of sets that are too long for the file system
        raise InvalidInput(str(error)) from error
