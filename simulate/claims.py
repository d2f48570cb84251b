"""What a claim asks of the jobs of its sweep before anything is drawn: that it can be judged, and which sums."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from simulate.settings import plain
from simulate.settings.ensemble import SUMS
from simulate.settings.reader import SettingsError
from simulate.store.files import StoreError
from simulate.store.head import Head, head_of
from simulate.store.manifest import MANIFEST
from simulate.store.sets import DataSet, open_data_set

if TYPE_CHECKING:
    from simulate.running.jobs import Job, Reduction


def check_claims(jobs: Sequence[Job]) -> None:
    """SettingsError where a test of a claim could not be judged with the data sets of these jobs and those that lie in
    the same folder with the same claim."""
    claimed = [job for job in jobs if job.settings.claim]
    if not claimed:
        return
    from analysis import claims  # late: most runs have no claim
    from analysis.points import Planned, Point

    groups: dict[tuple[Path, str], list[Job]] = {}
    for job in claimed:
        assert job.settings.claim is not None
        groups.setdefault((job.path.parent, job.settings.claim["name"]), []).append(job)
    for (folder, name), group in groups.items():
        paths = {job.path for job in group}
        points = [Point(data) for data in _with_claim(folder, name) if data.path not in paths]
        for job in group:
            s, samples = job.settings, (job.samples.x, job.samples.y, job.samples.train)
            points.append(Point(Planned(job.path, plain(s), job.layout, samples)))
        assert group[0].settings.claim is not None
        for reason in claims.check(group[0].settings.claim, points):
            raise SettingsError("", None, f"{reason} (claim=null makes the data without a claim)")


def _with_claim(folder: Path, name: str) -> Iterator[DataSet]:
    """Data sets in a folder that carry a claim of that name; what cannot be read is for the analysis to report."""
    for manifest in sorted(folder.glob(f"*/{MANIFEST}")):
        with contextlib.suppress(StoreError):
            data = open_data_set(manifest.parent)
            if (data.settings.get("claim") or {}).get("name") == name:
                yield data


def reducing(jobs: Sequence[Job]) -> list[Job]:
    """The jobs, those with ensemble.keep=sums with what makes sums of rows. SettingsError where a test of the claim
    needs the rows, StoreError where the data set that is there has other sums."""
    return [job if job.layout.keeps_rows else replace(job, reduction=_reduction(job)) for job in jobs]


def _reduction(job: Job) -> Reduction:
    """By the head that the data set has; else the first networks of the seed are drawn to make one."""
    from analysis import reduced  # late: most runs keep rows
    from analysis.points import Planned, Point
    from analysis.walks import TRIED, cell_of
    from simulate.running.compute import compute_rows
    from simulate.running.process import one_thread

    s, x = job.settings, job.samples
    assert s.claim is not None
    data = Planned(job.path, plain(s), job.layout, (x.x, x.y, x.train))
    tests, begun = s.claim["tests"], None
    with contextlib.suppress(StoreError):  # what is missing or damaged is made again
        begun = head_of(open_data_set(job.path))
    try:
        if begun is not None:
            plan, head = reduced.continued(begun, tests), None
        else:
            with one_thread():
                values, status, _ = compute_rows(job, 0, TRIED, {})
            plan = reduced.planned(Point(reduced.drawn(data, 0, values, status)), tests)
            head = Head(values, status, plan.text)
    except ValueError as error:
        raise SettingsError("ensemble.keep", SUMS, str(error)) from None
    return reduced.Reduction(data, plan.text, cell_of(s.ensemble.networks), head)
