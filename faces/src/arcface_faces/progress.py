"""How far something long is: a bar on a terminal, elsewhere a line every ten seconds, and to whoever watches."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from time import monotonic

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

Advance = Callable[[int], object]
"""Takes the number of items done since the last call."""
EVERY = 10.0
"""Seconds between lines."""
_WATCHER: ContextVar[Advance] = ContextVar("watcher", default=lambda _: None)


@contextmanager
def watched_by(watcher: Advance) -> Iterator[None]:
    """Tell it, too, of every item that is done inside, whatever is done with it."""
    token = _WATCHER.set(watcher)
    try:
        yield
    finally:
        _WATCHER.reset(token)


@contextmanager
def progress_bar(name: str, total: int) -> Iterator[Advance]:
    """A bar with the time left, or lines, on stderr."""
    watcher = _WATCHER.get()
    with _shown(name, total) as show:

        def advance(number: int) -> None:
            show(number)
            watcher(number)

        yield advance


@contextmanager
def _shown(name: str, total: int) -> Iterator[Advance]:
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Lines(name, total, console, monotonic()).advance
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(name, total=total)
        yield lambda number: bar.advance(task, number)


class _Lines:
    """What a log shows; nothing of what is done sooner."""

    def __init__(self, name: str, total: int, console: Console, began: float) -> None:
        self.name, self.total, self.console = name, total, console
        self.done, self.began, self.told = 0, began, began

    def advance(self, number: int) -> None:
        """Some more items."""
        self.done += number
        now = monotonic()
        if now - self.told >= EVERY and self.done:
            self.told = now
            left = (now - self.began) * (self.total - self.done) / self.done
            line = f"{self.name}: {self.done} of {self.total}, {left:.0f} s left"
            self.console.print(line, markup=False, highlight=False, soft_wrap=True)
