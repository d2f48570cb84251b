"""Data sets that hold networks of one ensemble, wherever their folders lie: each network counts once."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from simulate.settings import comparable
from simulate.store.manifest import digest
from simulate.store.sets import DataSet, pieces, total


def merged(sets: Sequence[DataSet]) -> tuple[list[DataSet], list[str]]:
    """The data sets with the parts that they have now, those of one ensemble as one, and lines that say which.

    Data sets are of one ensemble if their identities and claims are the same; the size of blocks does not matter, since
    the same addresses have the same networks.
    """
    groups: dict[tuple[str, str], list[DataSet]] = {}
    for data in sets:
        claim = json.dumps(data.settings.get("claim"), sort_keys=True)
        groups.setdefault((_ensemble(data), claim), []).append(data.snapshot())
    common = Counter(data.path.parent for data in sets)
    whole, notes = {}, []
    for group in groups.values():
        home = max(group, key=lambda data: common[data.path.parent])  # next to the other points of its sweep
        whole[home.path], twice = _one(home, group)
        if len(group) > 1:
            names = ", ".join(str(data.path) for data in group)
            count = f"{twice:,} networks of which lie in several of them and count once" if twice else "taken together"
            notes.append(f"{names}: one ensemble, {count}")
    return [whole[data.path] for data in sets if data.path in whole], notes


def _ensemble(data: DataSet) -> str:
    identity = comparable(data.manifest["identity"])
    identity["ensemble"].pop("block", None)
    return digest(identity)


def _one(home: DataSet, group: Sequence[DataSet]) -> tuple[DataSet, int]:
    """The data sets as one, and the number of networks that lie in more than one of them."""
    if len(group) == 1:
        return home, 0
    held = [piece for data in group for piece in data.parts()]
    wanted = [(data.manifest["first"], data.manifest["first"] + data.manifest["networks"]) for data in group]
    chosen, first, networks = pieces(held), min(wanted)[0], total(wanted)
    settings = home.manifest["settings"]
    ensemble = settings["ensemble"] | {"first": first, "networks": networks}
    manifest = home.manifest | {"first": first, "networks": networks, "settings": settings | {"ensemble": ensemble}}
    twice = sum(data.networks for data in group) - sum(piece.high - piece.low for piece in chosen)
    return replace(home, manifest=manifest, chosen=chosen), twice
