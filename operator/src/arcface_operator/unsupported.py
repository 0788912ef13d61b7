"""What the resource allows and this release does not do yet, in one place."""

from arcface_api.spec import ArcFaceTrainingJobSpec, EvaluationSpec, ModelSpec


def unsupported(spec: ArcFaceTrainingJobSpec) -> list[str]:
    """One sentence for each field that asks for something this release cannot do."""
    found = [*unsupported_model(spec.model)]
    if spec.loss.sample_rate < 1:
        found.append("spec.loss.sampleRate: sampling of classes is not supported yet; leave it at 1")
    if spec.loss.interclass_filter is not None:
        found.append("spec.loss.interclassFilter: the filter is not supported yet; leave it out")
    if spec.training.gradient_accumulation > 1:
        found.append(
            "spec.training.gradientAccumulation: accumulation is not supported yet; raise batchSize or the ranks"
        )
    return found if spec.evaluation is None else [*found, *unsupported_evaluation(spec.evaluation)]


def unsupported_model(model: ModelSpec) -> list[str]:
    """Sentences about the network."""
    found = []
    if model.init_from is not None:
        found.append("spec.model.initFrom: fine-tuning is not supported yet; leave it out")
    if model.freeze_epochs:
        found.append("spec.model.freezeEpochs: freezing is not supported yet; leave it out")
    return found


def unsupported_evaluation(evaluation: EvaluationSpec) -> list[str]:
    """Sentences about the evaluation."""
    found = []
    if evaluation.ijb:
        found.append("spec.evaluation.ijb: IJB sets are not supported yet; leave it empty")
    if evaluation.every_epochs is not None:
        found.append("spec.evaluation.everyEpochs: verification during the training is not supported yet; leave it out")
    return found
