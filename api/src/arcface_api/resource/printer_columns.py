"""The columns of `kubectl get arcfacejobs`; NAME stands before them by itself."""

from pydantic import JsonValue

from arcface_api.resource.spec import VERIFICATION_SETS

Column = dict[str, JsonValue]

WIDE = 1
"""Priority of the columns that only `-o wide` shows."""


def printer_columns() -> list[Column]:
    """All columns from left to right."""
    first, *others = (_accuracy(name) for name in VERIFICATION_SETS)
    return [
        _column("Phase", "string", ".status.phase"),
        _column("Ready", "string", ".status.workers.summary"),
        _column("Epoch", "string", ".status.progress.epochs"),
        _column("Loss", "number", ".status.progress.loss"),
        _column("Img/s", "number", ".status.progress.imagesPerSecond"),
        _column("Step-ms", "number", ".status.progress.stepMilliseconds"),
        first,
        _column("Restarts", "integer", ".status.restarts"),
        *(_wide(other) for other in others),
        *(_wide(_tar_at_1e_4(name)) for name in ("IJBB", "IJBC")),
        _wide(_column("Checkpoint", "integer", ".status.checkpoint.step")),
        # A date column would print the time since, which is "<invalid>" for a time to come.
        _wide(_column("ETA", "string", ".status.progress.estimatedCompletionTime")),
        _column("Age", "date", ".metadata.creationTimestamp"),
    ]


def _accuracy(dataset: str) -> Column:
    """Accuracy on a pair set."""
    return _column(dataset.upper(), "number", f'.status.evaluation.results[?(@.dataset=="{dataset}")].accuracy')


def _tar_at_1e_4(dataset: str) -> Column:
    """True accept rate of an IJB set at the false accept rate that papers compare."""
    return _column(dataset, "number", f".status.evaluation.ijb[?(@.dataset==\"{dataset}\")].tarAtFar['1e-4']")


def _column(name: str, kind: str, path: str) -> Column:
    """A column that is always shown."""
    return {"name": name, "type": kind, "jsonPath": path}


def _wide(shown: Column) -> Column:
    """The column, shown by `-o wide` only."""
    return {**shown, "priority": WIDE}
