"""1:N identification on sets of templates, and all images of a list against all: from embeddings to documents."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from arcface_api.errors import InvalidInput
from arcface_evaluator.protocols import all_pairs, identification, templates
from arcface_evaluator.report import document, search_entries as entries, searches as types
from arcface_evaluator.sets import galleries, labelled_list, release
from arcface_faces.embedding.vectors import Embeddings


def identify(
    opened: release.TemplateSet, protocol: galleries.Galleries, embeddings_NVD: Embeddings
) -> types.IdentificationRates:
    """Look for every probe in each gallery, and in all of them as one.

    Images are pooled as the verification of a job pools them: norm kept, times detector's score, mirrored view added.
    """
    if len(embeddings_NVD) != len(opened.images):
        raise InvalidInput(
            f"{opened.name}: {len(embeddings_NVD)} embeddings for {len(opened.images)} images; give a row for each"
        )
    choice = templates.PoolingChoice(flip=embeddings_NVD.shape[1] == 2)
    (vectors,) = templates.pool(embeddings_NVD, opened.scores, opened.templates, [choice])

    def searches(enrolled: galleries.Subjects) -> identification.Searches:
        gallery = identification.Gallery(vectors[enrolled.templates], enrolled.subjects)
        return identification.search(gallery, vectors[protocol.probes.templates], protocol.probes.subjects)

    rates = [
        entries.gallery_rates(name, len(enrolled.subjects), searches(enrolled))
        for name, enrolled in protocol.galleries.items()
    ]
    joined = searches(_joined(list(protocol.galleries.values()))) if len(rates) > 1 else None
    return entries.identification_rates(opened.name, rates, joined)


def _joined(parts: Sequence[galleries.Subjects]) -> galleries.Subjects:
    """All galleries as one, each template once."""
    places, first = np.unique(np.concatenate([each.templates for each in parts]), return_index=True)
    return galleries.Subjects(places, np.concatenate([each.subjects for each in parts])[first])


def identification_document(
    found: types.IdentificationRates, checkpoint: Path | None, inputs: Sequence[Path]
) -> document.EvaluationFile:
    """The numbers of a set; `inputs` are the files that they depend on."""
    return document.EvaluationFile(
        checkpoint=None if checkpoint is None else str(checkpoint),
        identification=[found],
        protocol=types.IdentificationProtocol(),
        inputs=[document.InputFile.of(path) for path in inputs],
    )


def compare_list(listed: labelled_list.LabelledList, embeddings_NVD: Embeddings) -> list[types.AllPairsRates]:
    """Rates of all images, then of each group by itself where the list has groups."""
    found = [entries.all_pairs_rates(listed.name, None, all_pairs.compare_all(embeddings_NVD, listed.labels))]
    for group, members in listed.groups.items():
        rates = all_pairs.compare_all(embeddings_NVD[members], listed.labels[members])
        found.append(entries.all_pairs_rates(listed.name, group, rates))
    return found


def all_pairs_document(
    found: list[types.AllPairsRates], checkpoint: Path | None, inputs: Sequence[Path]
) -> document.EvaluationFile:
    """The numbers of a list; `inputs` are the files that they depend on."""
    return document.EvaluationFile(
        checkpoint=None if checkpoint is None else str(checkpoint),
        all_pairs=found,
        protocol=types.AllPairsProtocol(),
        inputs=[document.InputFile.of(path) for path in inputs],
    )
