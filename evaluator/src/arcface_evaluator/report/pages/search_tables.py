"""Tables of a page that tell of searches in galleries and of all images against all."""

from collections.abc import Iterator

from arcface_evaluator.metrics.roc import far_name
from arcface_evaluator.protocols import all_pairs, identification
from arcface_evaluator.report import searches
from arcface_evaluator.report.pages import evaluation_tables as tables, page

FPIRS = [far_name(fpir) for fpir in identification.FPIRS]
FARS = [far_name(far) for far in all_pairs.FARS]
RANKS = [str(rank) for rank in identification.RANKS]
GLANCE_FAR = "1e-4"
"""Of the true accept rate that is told at a glance of all images against all."""
SEARCH_HEADINGS = ("run", "gallery", "enrolled", "mated", "others", *(f"rank {rank}" for rank in RANKS),
                   *(f"TPIR at FPIR {fpir}" for fpir in FPIRS))  # fmt: skip
SEARCH_REMARK = (
    "Rates in %. Rank: share of the mated searches with the mate among so many first ones; whoever scores as much as "
    "the mate stands before it. TPIR: share of them whose mate scores above the threshold that only a share of FPIR of "
    "the searches for strangers exceeds. A dash: too few searches to tell."
)
SEARCH_POINT_HEADINGS = ("run", "gallery", "for FPIR", "threshold", "TPIR", "95 % of TPIR",
                         "TPIR with nobody before the mate")  # fmt: skip
LIST_HEADINGS = (
    "run",
    "images of",
    "images",
    "persons",
    "genuine",
    "impostors",
    *(f"TAR at FAR {far}" for far in FARS),
)
LIST_REMARK = (
    "Each image with every other one. TAR: the largest true accept rate, in %, with at most that false accept rate. A "
    "group is judged among its own images. A dash: too few impostors to tell."
)
LIST_POINT_HEADINGS = ("run", "images of", "for FAR", "threshold", "TAR")


def datasets(runs: tables.Runs) -> Iterator[str]:
    """Names of what was searched, as often as it comes."""
    for run in runs.values():
        yield from (found.dataset for found in run.identification)
        yield from (rates.dataset for rates in run.all_pairs)


def glance_rows(runs: tables.Runs) -> Iterator[list[str]]:
    """What is told of each set in the first table: run, set, figure and value."""
    for name, run in runs.items():
        for found in run.identification:
            rate = found.matches.get(RANKS[0])
            yield [name, found.dataset, f"rank {RANKS[0]}, mean of galleries", tables.number(rate)]
        for rates in run.all_pairs:
            if rates.group is None:
                rate = rates.tar_at_far.get(GLANCE_FAR)
                yield [name, rates.dataset, f"TAR at FAR {GLANCE_FAR}, all images", tables.number(rate)]


def tables_of(runs: tables.Runs, dataset: str) -> Iterator[page.Table]:
    """All that is told of one set."""
    searched = [(name, found) for name, run in runs.items() for found in run.identification if found.dataset == dataset]
    if searched:
        rows = [row for name, found in searched for row in _search_rows(name, found)]
        yield tables.by_run(SEARCH_HEADINGS, rows, SEARCH_REMARK, "Identification")
        points = [row for name, found in searched for row in _search_points(name, found)]
        if points:
            yield tables.by_run(SEARCH_POINT_HEADINGS, points, "", "Thresholds of identification")
    compared = [(name, rates) for name, run in runs.items() for rates in run.all_pairs if rates.dataset == dataset]
    if compared:
        rows = [_list_row(name, rates) for name, rates in compared]
        yield tables.by_run(LIST_HEADINGS, rows, LIST_REMARK, "All against all")
        points = [row for name, rates in compared for row in _list_points(name, rates)]
        if points:
            yield tables.by_run(LIST_POINT_HEADINGS, points, "", "Thresholds of all against all")


def _search_rows(run: str, found: searches.IdentificationRates) -> Iterator[list[str]]:
    """Each gallery, their mean where there are several, and all as one."""
    for each in found.galleries:
        counts = [str(each.enrolled), str(each.mated), str(each.non_mated)]
        yield [run, each.gallery, *counts, *_percents(each.matches, RANKS), *_percents(each.tpir, FPIRS)]
    if len(found.galleries) > 1:
        yield [run, "mean", "", "", "", *_percents(found.matches, RANKS), *_percents(found.tpir, FPIRS)]
    if found.joined_matches:
        rates = [*_percents(found.joined_matches, RANKS), *_percents(found.joined_rates, FPIRS)]
        yield [run, "as ijb_1n.py: all as one", "", "", "", *rates]


def _search_points(run: str, found: searches.IdentificationRates) -> Iterator[list[str]]:
    for each in found.galleries:
        for fpir, threshold in each.thresholds.items():
            bounds = each.intervals.get(fpir)
            interval = "-" if bounds is None else f"{100 * bounds[0]:.2f} to {100 * bounds[1]:.2f}"
            rates = [*_percents(each.tpir, [fpir]), interval, *_percents(each.tpir_rank1, [fpir])]
            yield [run, each.gallery, fpir, f"{threshold:.4f}", *rates]


def _list_row(run: str, rates: searches.AllPairsRates) -> list[str]:
    counts = (rates.images, rates.labels, rates.genuine, rates.impostors)
    return [run, rates.group or "all", *map(str, counts), *_percents(rates.tar_at_far, FARS)]


def _list_points(run: str, rates: searches.AllPairsRates) -> Iterator[list[str]]:
    for far, threshold in rates.thresholds.items():
        yield [run, rates.group or "all", far, f"{threshold:.4f}", *_percents(rates.tar_at_far, [far])]


def _percents(rates: searches.Rates, names: list[str]) -> list[str]:
    return [tables.percent(rates.get(name)) for name in names]
