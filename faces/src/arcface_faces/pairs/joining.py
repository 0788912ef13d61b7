"""Several pair sets as one, of which each becomes a group: how RFW's four tell whom a network is worst for."""

from collections.abc import Sequence

import numpy as np

from arcface_api.errors import InvalidInput
from arcface_faces.pairs import groups, pair_set, protocol


def join(sets: Sequence[pair_set.PairSet]) -> tuple[list[bytes], list[bool], list[str]]:
    """Images, truth values and groups of all pairs, fold by fold.

    The first tenth of each set makes the first tenth of the whole, and so on: contiguous folds then hold each group in
    the same share, so that no group is judged with a threshold that was chosen on the others alone.

    Raises:
        InvalidInput: where a set has groups already, or an image cannot be read.
    """
    groups.check_names("the sets", [each.name for each in sets])
    for each in sets:
        if each.groups is not None:
            raise InvalidInput(f"{groups.groups_file(each.path)}: its set has groups already; join sets without")
    ends = [np.cumsum([0, *protocol.fold_sizes(len(each.is_same))]).tolist() for each in sets]
    pairs = [
        (each, pair)
        for fold in range(protocol.FOLDS)
        for each, bounds in zip(sets, ends, strict=True)
        for pair in range(bounds[fold], bounds[fold + 1])
    ]
    images = [each.stored_image(2 * pair + side)[0] for each, pair in pairs for side in (0, 1)]
    return images, [bool(each.is_same[pair]) for each, pair in pairs], [each.name for each, _ in pairs]
