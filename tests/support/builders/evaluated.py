"""Documents of evaluations, as they are made of the scores of a set."""

from arcface_evaluator.metrics.roc import FARS, tar_at_far
from arcface_evaluator.report.document import EvaluationFile
from arcface_evaluator.report.entries import curves_of, intervals_of
from arcface_evaluator.report.figures import Measured, figures_of
from arcface_evaluator.report.outcomes import outcomes_of
from arcface_evaluator.report.provenance import InputFile
from arcface_faces.scores import Scores


def evaluated(scores: Scores, dataset: str = "lfw", fars: tuple[float, ...] = FARS) -> EvaluationFile:
    """What `--json` keeps of a set for comparisons."""
    rates, measured = tar_at_far(scores, fars), Measured.of(scores)
    return EvaluationFile(
        inputs=[InputFile(path=f"{dataset}.bin", sha256="0" * 64)],
        curves=[curves_of(dataset, "cosine", measured)],
        figures=[figures_of(dataset, measured, rates, intervals_of(rates, measured))],
        outcomes=list(outcomes_of(dataset, scores, rates)),
    )
