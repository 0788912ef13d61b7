"""1:N identification on sets of templates, and all images of a list against all: from embeddings to documents."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from arcface_api.errors import InvalidInput
from arcface_evaluator.evaluation import Finding, SetTask
from arcface_evaluator.protocols import all_pairs, identification, templates
from arcface_evaluator.report import document, provenance, search_entries as entries, searches as types
from arcface_evaluator.sets import galleries, labelled_list, release, release_images
from arcface_faces.embedding.vectors import Embeddings

LOG = logging.getLogger(__name__)


def identification_task(
    opened: release.TemplateSet,
    protocol: galleries.Galleries,
    source: Sequence[Path],
    embed: Callable[[], Embeddings],
    images: release_images.ReleaseImages | None,
) -> SetTask:
    """A set with its galleries, as `verifying.release_task` has a release."""

    def judge() -> Finding:
        found = identify(opened, protocol, embed())
        numbers = document.Numbers(identification=[found])
        return Finding(shown=entries.identification_table(found), measure=lambda: numbers)

    return SetTask(
        name=opened.name,
        images=len(opened.images),
        protocol=types.IdentificationProtocol(),
        inputs=lambda: provenance.hashed([*opened.member_files, *protocol.files], source, images),
        judge=judge,
    )


def list_task(
    listed: labelled_list.LabelledList,
    source: Sequence[Path],
    embed: Callable[[], Embeddings],
    images: labelled_list.ListedImages | None,
) -> SetTask:
    """A list of labelled images."""

    def judge() -> Finding:
        found = compare_list(listed, embed())
        numbers = document.Numbers(all_pairs=found)
        return Finding(shown=entries.all_pairs_table(listed.name, found), measure=lambda: numbers)

    return SetTask(
        name=listed.name,
        images=len(listed.images),
        protocol=types.AllPairsProtocol(),
        inputs=lambda: provenance.hashed([listed.path], source, images),
        judge=judge,
    )


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


def compare_list(listed: labelled_list.LabelledList, embeddings_NVD: Embeddings) -> list[types.AllPairsRates]:
    """Rates of all images, then of each group by itself where the list has groups; unknown ones are told of."""
    found = [entries.all_pairs_rates(listed.name, None, all_pairs.compare_all(embeddings_NVD, listed.labels))]
    for group, members in listed.groups.items():
        try:
            rates = all_pairs.compare_all(embeddings_NVD[members], listed.labels[members])
        except InvalidInput as error:
            LOG.warning("%s: group %s: its rates are unknown: %s", listed.name, group, error)
            rates = all_pairs.count_pairs(listed.labels[members])
        found.append(entries.all_pairs_rates(listed.name, group, rates))
    return found
