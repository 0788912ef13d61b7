"""Searches against the definitions, probe by probe and candidate by candidate."""

import math
from fractions import Fraction

import numpy as np
import pytest

from arcface_evaluator.metrics.intervals import share_interval
from arcface_evaluator.protocols.identification import (
    NOBODY,
    Gallery,
    cumulative_matches,
    reference_rates,
    search,
)
from arcface_evaluator.report.search_entries import gallery_rates


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def slowly(gallery, subjects, probes, names):
    """The definitions: scores one by one, equal ones ahead of the mate, thresholds tried one after the other."""
    ranks, mates, strangers = [], [], []
    for probe, name in zip(probes, names, strict=True):
        scores = [round(math.fsum(a * b for a, b in zip(probe, one, strict=True)), 12) for one in gallery]
        own = [score for score, who in zip(scores, subjects, strict=True) if who == name]
        others = [score for score, who in zip(scores, subjects, strict=True) if who != name]
        if own:
            mates.append(max(own))
            ranks.append(1 + sum(score >= max(own) for score in others))
        else:
            strangers.append(max(others))
    matches = {rank: sum(r <= rank for r in ranks) / len(ranks) for rank in (1, 5, 10)}
    rates = []
    for fpir in (Fraction(1, 10), Fraction(1, 100)):
        allowed = [t for t in strangers if Fraction(sum(s > t for s in strangers), len(strangers)) <= fpir]
        if fpir * len(strangers) < 1:
            rates.append((None, None))
            continue
        found = [(mate > min(allowed), rank) for mate, rank in zip(mates, ranks, strict=True)]
        rates.append((sum(f for f, _ in found) / len(found), sum(f and r == 1 for f, r in found) / len(found)))
    return matches, rates


def a_world(seed, probes, gallery=60, size=6, decimals=None):
    """Subjects 0 to 39 of whom 25 are enrolled, some twice; distractors; vectors of few digits repeat themselves."""
    random = np.random.default_rng(seed)
    centres = random.standard_normal((40, size))
    subjects = np.concatenate([np.arange(25), random.integers(0, 25, gallery - 45), np.full(20, NOBODY)])
    names = random.integers(0, 40, probes)

    def near(whom, noise):
        drawn = centres[whom] * (whom >= 0)[:, None] + noise * random.standard_normal((len(whom), size))
        return unit(drawn if decimals is None else drawn.round(decimals) + 1e-9)

    return near(subjects, 1.2), subjects, near(names, 1.2), names


@pytest.mark.parametrize("decimals", [None, 0])
@pytest.mark.parametrize("probes", [30, 500])
def test_ranks_and_rates_are_those_of_the_definitions(probes, decimals, monkeypatch):
    monkeypatch.setattr("arcface_evaluator.protocols.identification.CELLS", 700)
    gallery, subjects, vectors, names = a_world(probes, probes, decimals=decimals)
    found = search(Gallery(gallery, subjects), vectors, names)
    matches, rates = slowly(gallery, subjects, vectors, names)
    assert cumulative_matches(found) == pytest.approx(matches, abs=1e-15)
    told = gallery_rates("G1", len(gallery), found)
    for fpir, expected in zip(("1e-1", "1e-2"), rates, strict=True):
        assert (told.tpir.get(fpir), told.tpir_rank1.get(fpir)) == expected
        assert (fpir in told.unresolved) == (expected[0] is None)
    assert reference_rates(found) is None  # a subject that is enrolled twice


def test_few_searches_without_a_mate_cannot_tell():
    gallery, subjects, vectors, names = a_world(3, 200)
    kept = np.flatnonzero((names < 25) | (np.cumsum(names >= 25) <= 99))
    told = gallery_rates("G1", len(gallery), search(Gallery(gallery, subjects), vectors[kept], names[kept]))
    strangers = int(np.sum(names[kept] >= 25))
    assert 10 <= strangers < 100
    assert told.unresolved == ["1e-2"]


def test_twenty_nine_of_2900_searches_are_one_in_a_hundred():
    angles = np.arange(2900) / 2900
    strangers = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    mate = np.array([[1.0, 0.0]])
    found = search(Gallery(mate, np.array([7])), np.concatenate([strangers, mate]), np.array([*[8] * 2900, 7]))
    threshold = gallery_rates("G1", 1, found).thresholds["1e-2"]
    assert threshold == pytest.approx(math.cos(29 / 2900))
    assert (strangers[:, 0] > threshold).sum() == 29


def test_a_network_that_tells_nobody_apart_finds_nobody():
    alike = unit(np.ones((50, 512)) / 3)
    found = search(Gallery(alike, np.arange(50)), np.repeat(alike, 5, axis=0)[:201], np.arange(201))
    assert cumulative_matches(found) == {1: 0, 5: 0, 10: 0}
    told = gallery_rates("G1", 50, found)
    assert (told.tpir, told.thresholds) == ({"1e-1": 0, "1e-2": 0}, {"1e-1": 1, "1e-2": 1})


def test_a_probe_whose_gallery_is_itself_alone_is_found():
    found = search(Gallery(np.eye(2)[:1], np.array([4])), np.eye(2)[:1], np.array([4]))
    assert cumulative_matches(found) == {1: 1, 5: 1, 10: 1}
    told = gallery_rates("G1", 1, found)
    assert (told.tpir, told.intervals, told.unresolved) == ({}, {}, ["1e-1", "1e-2"])


def test_the_reference_puts_its_threshold_at_the_highest_scores_of_all_probes(monkeypatch):
    monkeypatch.setattr("arcface_evaluator.protocols.identification.CELLS", 300)
    random = np.random.default_rng(5)
    centres = random.standard_normal((30, 4))
    names = random.integers(0, 30, 155)
    gallery = unit(centres + 0.3 * random.standard_normal((30, 4)))
    probes = unit(centres[names] + 0.3 * random.standard_normal((155, 4)))
    similarity = np.array([[math.fsum(a * b for a, b in zip(p, g, strict=True)) for g in gallery] for p in probes])
    mates = similarity[np.arange(155), names]
    similarity[np.arange(155), names] = -2
    others = sorted(similarity[similarity > -2].tolist(), reverse=True)
    expected = {0.1: np.mean(mates > others[16 - 1]), 0.01: np.mean(mates > others[2 - 1])}  # ceil(15.5), ceil(1.55)
    assert reference_rates(search(Gallery(gallery, np.arange(30)), probes, names)) == pytest.approx(expected)


def test_searches_for_one_person_tell_less_than_those_for_many():
    """Of 20 enrolled persons half are found in each of their five probes; of 400 strangers there is one each."""
    gallery, person = Gallery(np.eye(21)[:20], np.arange(20)), np.repeat(np.arange(20), 5)
    mated = np.where((person % 2 == 0)[:, None], np.eye(21)[person], np.eye(21)[np.full(100, 20)])
    strangers = unit(np.eye(21)[np.full(400, 20)] + np.linspace(0.1, 0.2, 400)[:, None] * np.eye(21)[0])
    probes, names = np.concatenate([mated, strangers]), np.concatenate([person, np.arange(100, 500)])
    told = gallery_rates("G1", 20, search(gallery, probes, names))
    assert told.tpir["1e-1"] == 0.5
    expected = share_interval(0.5, 20)  # a hundred searches that tell as much as twenty
    assert told.intervals["1e-1"] == pytest.approx(expected, abs=0.02)
