"""A compiled step that is kept: what takes it, what must not, and what is left of one that was cut off."""

import subprocess
import sys

import pytest

from arcface_trainer.step import graph_cache
from arcface_trainer.step.graph_cache import GraphCache

STEP = """
import os, sys
from pathlib import Path
import mindspore
from mindspore import Tensor, nn
from arcface_trainer.step.graph_cache import GraphCache

class Step(nn.Cell):
    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def construct(self, x):
        return x * self.factor

mindspore.set_device("CPU")
mindspore.set_context(mode=mindspore.GRAPH_MODE)
cache = GraphCache(Path(sys.argv[1]), sys.argv[3])
for factor in map(float, sys.argv[2].split(",")):
    step = Step(factor)
    with cache.first("Step"):
        print(step(Tensor([1.0])).asnumpy()[0], flush=True)
os._exit(0)
"""


def computed(folder, factors, fact):
    """What a process computes that keeps its first step in the folder, and whether it took it from there."""
    script = folder / "step.py"  # MindSpore reads it
    script.write_text(STEP)
    done = subprocess.run(
        [sys.executable, script, folder, factors, fact],
        env={"GLOG_v": "2", "PATH": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    return list(map(float, done.stdout.split())), "Use the compilation cache" in done.stderr + done.stdout


def test_the_first_step_is_kept_for_the_same_facts_and_no_other(tmp_path):
    """MindSpore itself would take any: it is told the graph by its number alone, which the last case proves."""
    assert computed(tmp_path, "2", "two") == ([2.0], False)
    assert computed(tmp_path, "2,5", "two") == ([2.0, 5.0], True)
    assert computed(tmp_path, "7", "two") == ([2.0], True)


@pytest.fixture
def contexts(monkeypatch):
    """What MindSpore is told of its cache."""
    told = []
    monkeypatch.setattr(graph_cache.mindspore, "set_context", lambda **setting: told.append(setting))
    return told


def test_other_facts_other_sources_and_another_release_have_other_folders(tmp_path, monkeypatch, contexts):
    def folder(*facts):
        with GraphCache(tmp_path, *facts).first("Step"):
            pass
        return contexts[-2]["compile_cache_path"]

    usual = folder(0, "a")
    assert folder(0, "a") == usual
    (tmp_path / "sources").mkdir()
    (tmp_path / "sources/changed.py").write_text("changed = True\n")
    others = {folder(1, "a"), folder(0, "b")}
    monkeypatch.setattr(graph_cache, "SOURCES", tmp_path / "sources")
    others.add(folder(0, "a"))
    monkeypatch.setattr(graph_cache.mindspore, "__version__", "2.10.1")
    others.add(folder(0, "a"))
    assert len(others | {usual}) == 5


def test_what_a_rank_leaves_that_dies_with_its_step_is_used_by_none(tmp_path, contexts):
    def use(*, dies):
        with GraphCache(tmp_path, 0).first("Step"):
            used = tmp_path / contexts[-1]["compile_cache_path"]
            there = used.is_dir()
            used.mkdir(exist_ok=True)
            if dies:
                raise KeyboardInterrupt
        return there

    with pytest.raises(KeyboardInterrupt):
        use(dies=True)
    assert [use(dies=False), use(dies=False)] == [False, True]
    with pytest.raises(KeyboardInterrupt):
        use(dies=True)
    assert use(dies=False) is False


def test_later_steps_and_a_process_without_a_folder_have_no_cache(tmp_path, contexts):
    cache = GraphCache(tmp_path, 0)
    for _ in range(2):
        with cache.first("Step"):
            pass
    with GraphCache().first("Step"):
        pass
    assert [setting["enable_compile_cache"] for setting in contexts] == [True, False]
