"""A few thousand inputs of `make fuzz` on every run, and all that once broke something."""

import time
from dataclasses import replace
from random import Random

import pytest

from arcface_api.errors import InvalidInput
from fuzz import campaign, mutation, target, targets

INPUTS = 90
"""Of each target; the seconds below are shared by all."""
SECONDS = 8.0
TARGETS = targets.all_targets()


@pytest.fixture(autouse=True)
def time_is_watched():
    with target.watched_time():
        yield


@pytest.mark.parametrize("fuzzed", TARGETS, ids=lambda each: each.name)
def test_every_input_is_read_rightly_or_refused_in_a_line(fuzzed: target.Target) -> None:
    tried = campaign.Campaign.of(fuzzed, "ci")
    over = time.monotonic() + SECONDS / len(TARGETS)
    while tried.inputs < INPUTS and (time.monotonic() < over or not tried.inputs):
        tried.judge_next()
    assert not tried.broken


@pytest.mark.parametrize("fuzzed", TARGETS, ids=lambda each: each.name)
def test_samples_are_read_and_what_broke_something_once_breaks_nothing(fuzzed: target.Target) -> None:
    assert any(target.judge(fuzzed, sample) == "accepted" for sample in fuzzed.samples)
    for data in campaign.corpus_of(fuzzed):
        target.judge(fuzzed, data)


def test_the_corpus_has_its_targets() -> None:
    names = {path.name for path in campaign.CORPUS.iterdir()}
    assert names <= {each.name for each in TARGETS}


def _spin():
    while True:
        pass


def _target(read):
    return target.Target(name="small", samples=[b"1 2"], read=read, agrees=lambda data, value: int(data[:1]) == value)


@pytest.mark.parametrize(
    ("read", "why"),
    [
        pytest.param(lambda data: data[99], "IndexError", id="another exception"),
        pytest.param(lambda _: 7, "says something else", id="another value"),
        pytest.param(lambda _: _spin(), "takes longer than", id="a hang"),
        pytest.param(lambda _: len(b"x" * (200 << 20)), "MiB", id="memory"),
    ],
)
def test_what_breaks_the_property_is_noticed(read, why) -> None:
    broken = replace(_target(read), seconds=0.5)
    with pytest.raises(target.BrokenPropertyError, match=why):
        target.judge(broken, b"1")


def test_a_refusal_of_several_lines_is_none() -> None:
    class ManyLines(InvalidInput):
        def __str__(self) -> str:
            return "one\ntwo"

    def read(_data):
        raise ManyLines("x")

    with pytest.raises(target.BrokenPropertyError, match="no line"):
        target.judge(_target(read), b"1")


def test_the_same_seed_draws_the_same_inputs() -> None:
    drawn = [[mutation.mutate_json(Random(seed), b'{"a": [1, "b"]}', [b"[]"]) for seed in range(50)] for _ in range(2)]
    assert drawn[0] == drawn[1]
    assert len(set(drawn[0])) > 25
