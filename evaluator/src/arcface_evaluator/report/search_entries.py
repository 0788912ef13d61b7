"""From searches, and from all images against all, to entries of the document and to tables for people."""

from collections.abc import Iterable, Sequence
from statistics import fmean

import numpy as np
from rich.table import Table

from arcface_evaluator.metrics import intervals, roc
from arcface_evaluator.protocols import all_pairs, identification
from arcface_evaluator.report import searches as types


def gallery_rates(name: str, enrolled: int, searches: identification.Searches) -> types.GalleryRates:
    """The entry of one gallery."""
    mated, scores = int(searches.is_mated.sum()), searches.scores
    has_both = 0 < mated < len(searches.rank)
    rates = roc.tar_at_far(scores, identification.FPIRS) if has_both else []
    bounds = {roc.far_name(far): (low, high) for far, (low, high, _) in intervals.tar_intervals(scores, rates).items()}
    thresholds = {roc.far_name(rate.far): rate.above for rate in rates if rate.above is not None}
    is_first = (searches.rank == 1)[searches.is_mated]
    return types.GalleryRates(
        gallery=name,
        enrolled=enrolled,
        mated=mated,
        non_mated=len(searches.rank) - mated,
        matches=match_rates(searches),
        tpir={roc.far_name(rate.far): rate.conservative for rate in rates if rate.conservative is not None},
        tpir_rank1={fpir: float(np.mean(is_first & (scores.genuine > above))) for fpir, above in thresholds.items()},
        intervals=bounds,
        thresholds=thresholds,
        unresolved=[fpir for fpir in map(roc.far_name, identification.FPIRS) if fpir not in thresholds],
    )


def match_rates(searches: identification.Searches) -> types.Rates:
    """By rank; empty where no search is mated."""
    return {str(rank): rate for rank, rate in (identification.cumulative_matches(searches) or {}).items()}


def identification_rates(
    dataset: str, galleries: Sequence[types.GalleryRates], joined: identification.Searches | None
) -> types.IdentificationRates:
    """The entry of a set; `joined` are the searches in all galleries as one, where there are several."""
    reference = None if joined is None else identification.reference_rates(joined)
    return types.IdentificationRates(
        dataset=dataset,
        galleries=list(galleries),
        matches=_mean([rates.matches for rates in galleries]),
        tpir=_mean([rates.tpir for rates in galleries]),
        tpir_rank1=_mean([rates.tpir_rank1 for rates in galleries]),
        joined_matches={} if joined is None or reference is None else match_rates(joined),
        joined_rates={roc.far_name(rate): found for rate, found in (reference or {}).items()},
    )


def _mean(parts: Sequence[types.Rates]) -> types.Rates:
    """Of the rates that all have."""
    return {key: fmean(part[key] for part in parts) for key in parts[0] if all(key in part for part in parts)}


def all_pairs_rates(dataset: str, group: str | None, found: all_pairs.AllPairs) -> types.AllPairsRates:
    """The entry of a list, or of a group of its images."""
    return types.AllPairsRates(
        dataset=dataset,
        group=group,
        images=found.images,
        labels=found.labels,
        genuine=found.genuine,
        impostors=found.impostors,
        tar_at_far={roc.far_name(rate.far): rate.tar for rate in found.rates if rate.tar is not None},
        thresholds={roc.far_name(rate.far): rate.threshold for rate in found.rates if rate.threshold is not None},
        unresolved=[roc.far_name(rate.far) for rate in found.rates if rate.tar is None],
    )


def identification_table(found: types.IdentificationRates) -> Table:
    """types.Rates in percent, a row a gallery, their mean, and the reference's way."""
    fpirs = [roc.far_name(fpir) for fpir in identification.FPIRS]
    table = Table(title=f"{found.dataset}: identification, rates in %")
    headings = [*(f"rank {rank}" for rank in identification.RANKS), *(f"TPIR@{fpir}" for fpir in fpirs)]
    for heading in ("gallery", "mated", "others", *headings):
        table.add_column(heading, justify="left" if heading == "gallery" else "right")
    rows = [(each.gallery, str(each.mated), str(each.non_mated), each.matches, each.tpir) for each in found.galleries]
    if len(found.galleries) > 1:
        rows.append(("mean", "", "", found.matches, found.tpir))
    for name, mated, others, matches, rates in rows:
        table.add_row(name, mated, others, *_percent(matches, map(str, identification.RANKS)), *_percent(rates, fpirs))
    if found.joined_matches:
        table.caption = "as ijb_1n.py: " + ", ".join(
            [f"rank {rank} {100 * rate:.2f}" for rank, rate in found.joined_matches.items()]
            + [f"far {far} {100 * rate:.2f}" for far, rate in found.joined_rates.items()]
        )
    return table


def all_pairs_table(dataset: str, found: Sequence[types.AllPairsRates]) -> Table:
    """types.Rates in percent, a row a group."""
    fars = [roc.far_name(far) for far in all_pairs.FARS]
    table = Table(title=f"{dataset}: all against all, TAR in % at FAR")
    for heading in ("images of", "images", "persons", "genuine", "impostors", *fars):
        table.add_column(heading, justify="left" if heading == "images of" else "right")
    for rates in found:
        counts = (rates.images, rates.labels, rates.genuine, rates.impostors)
        table.add_row(rates.group or "all", *map(str, counts), *_percent(rates.tar_at_far, fars))
    return table


def _percent(rates: types.Rates, names: Iterable[str]) -> list[str]:
    """Two digits, or a dash where a rate could not be told."""
    return [f"{100 * rates[name]:.2f}" if name in rates else "-" for name in names]
