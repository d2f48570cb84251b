"""The folders of a data set.

DIR/networks/   parts and nothing else, so that any reader of parquet takes the folder as one table
DIR/commits/    lines about the parts, by process that wrote them
DIR/damaged/    damaged files that were set aside; nothing is deleted
DIR/head/       the rows of the first networks, where those of others are not kept
DIR/sums/       what the analysis of a large data set has added up of its parts; it may be deleted
"""

import itertools
import stat
from pathlib import Path

from simulate.store import disk
from simulate.store.files import StoreError, make_folder
from simulate.store.locks import Writer

FOLDERS = NETWORKS, COMMITS, DAMAGED, HEAD, SUMS = "networks", "commits", "damaged", "head", "sums"


def is_folder(path: Path) -> bool:
    """Whether there is a folder, and no link to one."""
    found = disk.status(path)
    return found is not None and stat.S_ISDIR(found.st_mode)


def names(path: Path, folder: str = "") -> list[str]:
    """The names in the data set `path`, or in a folder of it; none where a link stands in the folder's place."""
    return disk.names(path / folder) if not folder or is_folder(path / folder) else []


def own_folder(path: Path, name: str) -> Path:
    """The folder `name` of a data set, made if it is missing. StoreError where it is a link or a file.

    The data set's own folder is on the disk since the run began.
    """
    folder = path / name
    found = disk.status(folder)
    if found is None:
        make_folder(folder, durable=path)
    elif not stat.S_ISDIR(found.st_mode):
        raise StoreError(f"output={path}: {name} is not a folder; move it away")
    return folder


def move(writer: Writer, old: Path, new: Path) -> None:
    """Give a file of the writer's data set another name.

    StoreError where another process is the writer by now, FileNotFoundError where there is no such file any more.
    """
    with writer.fence():
        disk.replace(old, new)
    for folder in (new.parent, old.parent):
        disk.sync_folder(folder)


def set_aside(writer: Writer, name: Path) -> Path:
    """Move a damaged file of the writer's data set out of the way, and return its new path. Raises as `move` does."""
    folder = own_folder(writer.path, DAMAGED)
    candidates = (folder / f"{name.name}.damaged-{k}" for k in itertools.count(1))
    aside = next(candidate for candidate in candidates if not disk.status(candidate))
    move(writer, name, aside)
    return aside


def aside(path: Path) -> list[str]:
    """The names of the files that were set aside, which data sets of format 1 have in DIR itself."""
    return sorted(name for folder in ("", DAMAGED) for name in names(path, folder) if ".damaged-" in name)
