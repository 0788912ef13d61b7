"""Types of the document: what searches in galleries, and all images against all, have shown."""

from typing import Literal

from pydantic import Field

from arcface_api.model import Model

Rates = dict[str, float]


class GalleryRates(Model):
    """Searches in one gallery."""

    gallery: str
    """G1 or G2 in IJB-C, S1 or S2 in IJB-B."""
    enrolled: int
    """Templates in it."""
    mated: int
    """Probes whose subject is in it."""
    non_mated: int
    """Probes whose subject is not."""
    matches: Rates
    """Share of the mated searches with the mate among the first 1, 5, 10; empty where there are none."""
    tpir: Rates
    """Share of the mated searches whose mate scores above the threshold of a FPIR."""
    tpir_rank1: Rates
    """Those of them in which nobody scores as much as the mate."""
    intervals: dict[str, tuple[float, float]] = Field(default_factory=dict)
    """95 % intervals of TPIR in truth at a FPIR; earlier releases tell none."""
    thresholds: Rates
    """A candidate is one who scores above it."""
    unresolved: list[str]
    """False positive identification rates for which there are too few searches."""


class IdentificationRates(Model):
    """1:N identification on one set."""

    dataset: str
    """Name of the set."""
    galleries: list[GalleryRates]
    """Each by itself."""
    matches: Rates
    """Mean over the galleries."""
    tpir: Rates
    """Mean over the galleries."""
    tpir_rank1: Rates
    """Mean over the galleries."""
    joined_matches: Rates = Field(default_factory=dict)
    """In all galleries as one, where every probe has one mate there, as `ijb_1n.py` counts."""
    joined_rates: Rates = Field(default_factory=dict)
    """Likewise, by the rate that `ijb_1n.py` calls far."""


class IdentificationProtocol(Model):
    """How probes were looked for."""

    pooling: Literal["meanOverMediaSumOverTemplate"] = "meanOverMediaSumOverTemplate"
    """How images make a template: norm kept, times detector's score, mirrored view added where there is one."""
    score: Literal["cosine"] = "cosine"
    """What a candidate is judged by, to 12 decimals."""
    ties: Literal["beforeTheMate"] = "beforeTheMate"
    """Where those stand who score as much as the mate."""
    candidate: Literal["score > threshold"] = "score > threshold"
    """The threshold is the lowest whose FPIR is at most the target."""


class AllPairsRates(Model):
    """All images of a list against all others."""

    dataset: str
    """Name of the list."""
    group: str | None = None
    """Whose images; absent for all."""
    images: int
    """In the group."""
    labels: int
    """Persons."""
    genuine: int
    """Pairs of one person."""
    impostors: int
    """Pairs of two."""
    tar_at_far: Rates
    """Largest true accept rate with at most that false accept rate."""
    thresholds: Rates
    """A pair is accepted where it scores above it."""
    unresolved: list[str]
    """False accept rates for which there are too few impostors."""


class AllPairsProtocol(Model):
    """How images were compared."""

    pairs: Literal["all"] = "all"
    """Each image with every other one, once."""
    score: Literal["cosine"] = "cosine"
    """Of the sums of both views, to 12 decimals."""
    same: Literal["score > threshold"] = "score > threshold"
    """The threshold is the lowest whose false accept rate is at most the target."""
