"""An evaluation's numbers as the document that `--json` writes and the report shows."""

from collections.abc import Sequence
from pathlib import Path

from arcface_evaluator.ijb import ProtocolResult, usual_scores
from arcface_evaluator.ijb_report import IjbProtocol, described, ijb_result_of, intervals_of, rates_of
from arcface_evaluator.pair_protocol import Embeddings, PairReport
from arcface_evaluator.report import EvaluationFile, details_of, input_file, result_of
from arcface_evaluator.score_curves import curves_of
from arcface_evaluator.template_files import IjbSet


def pairs_document(reports: Sequence[PairReport], checkpoint: Path | None, inputs: Sequence[Path]) -> EvaluationFile:
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
    embeddings: Embeddings,
    results: Sequence[ProtocolResult],
    checkpoint: Path | None,
    inputs: Sequence[Path],
) -> EvaluationFile:
    """Of an IJB release, whose first result is that of the usual protocol."""
    usual, *others = results
    scores = usual_scores(opened, embeddings, usual.protocol)
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
