"""The compiled training step, kept for ranks that are started again in the same pod.

MindSpore's compile cache (2.10: `frontend/jit/ps/compile_cache_manager.cc`) knows a graph by its number in the order of
compilation, and looks at nothing but the main script to tell whether that is still the one: after a change of our
sources it computed the step of before. So it is given one graph only, the first step of a process, in a folder named by
all that decides that graph, and none of the others. The folder has its name while no process uses it: a rank that
dies with it, whatever the reason, leaves nothing to the next.

Steps on a CPU were compared (`training.rank`): the graph taken from the cache computes the same numbers to the bit.
Others are compiled each time. MindSpore writes no weights into it: 1 to 2 MB a rank.
"""

import contextlib
import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import mindspore

from arcface_trainer.shared_memory import GRAPH_PREFIX

SOURCES = Path(__file__).parents[1]


class GraphCache:
    """Of one process, for the first step that it launches."""

    def __init__(self, folder: Path | None = None, *facts: object) -> None:
        """Take a folder that outlives the process; None: without a cache.

        Args:
            folder: private to this user.
            facts: what decides the graph beside our sources and MindSpore's release; their representations count.
        """
        self._folder: Path | None = None if folder is None else folder / f"{GRAPH_PREFIX}{_key(facts)}"

    @contextlib.contextmanager
    def first(self, kind: str) -> Iterator[None]:
        """Compile a step of this kind, and run it; every later one is compiled as ever."""
        kept, self._folder = self._folder, None
        if kept is None:
            yield
            return
        kept = kept.with_name(f"{kept.name}-{kind}")
        used = kept.with_name(f".{kept.name}")
        shutil.rmtree(used, ignore_errors=True)
        with contextlib.suppress(OSError):
            kept.rename(used)
        mindspore.set_context(enable_compile_cache=True, compile_cache_path=str(used))
        try:
            yield
        finally:
            mindspore.set_context(enable_compile_cache=False)
        with contextlib.suppress(OSError):  # a cache that cannot be kept costs time alone
            used.rename(kept)


def _key(facts: tuple[object, ...]) -> str:
    """Of facts, MindSpore's release and all sources of the trainer."""
    digest = hashlib.sha256(repr((mindspore.__version__, facts)).encode())
    for path in sorted(SOURCES.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:32]
