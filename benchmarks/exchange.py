"""Functions of the project that others take the place of for a while, in this process."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

Exchange = tuple[Any, str, Any]  # an object or a mapping, the name of what is exchanged, and what takes its place


@contextmanager
def exchanged(entries: Iterable[Exchange]) -> Iterator[None]:
    """While it lasts, all entries are exchanged."""
    with ExitStack() as stack:
        for entry in entries:
            stack.callback(_exchange(*entry))
        yield


def _exchange(place: Any, name: str, value: Any) -> Callable[[], None]:
    """Exchange one entry. Returns what puts the former value back."""
    put = place.__setitem__ if isinstance(place, dict) else lambda k, v: setattr(place, k, v)
    before = place[name] if isinstance(place, dict) else getattr(place, name)
    put(name, value)
    return lambda: put(name, before)
