"""An evaluation's numbers as the document that `--json` writes and the report shows."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from arcface_evaluator.evaluation.ijb import ProtocolResult
from arcface_evaluator.metrics.score_curves import curves_of
from arcface_evaluator.report.document import EvaluationFile, details_of, input_file, result_of
from arcface_evaluator.report.ijb import IjbProtocol, described, ijb_result_of, intervals_of, rates_of
from arcface_evaluator.sets.release import IjbSet
from arcface_faces.pairs.protocol import PairScores


def pairs_document(reports: Sequence[PairScores], checkpoint: Path | None, inputs: Sequence[Path]) -> EvaluationFile:
    """Of pair sets; `inputs` are the files that the numbers depend on."""
    return EvaluationFile(
        checkpoint=None if checkpoint is None else str(checkpoint),
        results=[result_of(report) for report in reports],
        details=[details_of(report) for report in reports],
        curves=[
            curves_of(report.dataset, "cosine", report.scores, report.is_same)
            for report in reports
            if 0 < report.is_same.sum() < report.pairs
        ],
        inputs=[input_file(path) for path in inputs],
    )


def ijb_document(
    opened: IjbSet,
    results: Sequence[ProtocolResult],
    scores: NDArray[np.float64],
    checkpoint: Path | None,
    inputs: Sequence[Path],
) -> EvaluationFile:
    """Of an IJB release, whose first result is that of the usual protocol, as are the pairs' scores (P,)."""
    usual, *others = results
    intervals = intervals_of(usual, scores, opened.pairs)
    return EvaluationFile(
        checkpoint=None if checkpoint is None else str(checkpoint),
        ijb=[ijb_result_of(opened.name, usual)],
        ijb_details=[
            rates_of(opened.name, usual, intervals),
            *(rates_of(opened.name, result) for result in others),
        ],
        curves=[curves_of(opened.name, described(usual.protocol), scores, opened.pairs.is_same)],
        protocol=IjbProtocol(),
        inputs=[input_file(path) for path in [*inputs, *opened.files]],
    )
