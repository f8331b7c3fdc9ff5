from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from kidney.data.sampler import ScanSampler


class Items:
    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count


def sampler(scans: list[str], slices_per_scan: int, ranks: int = 1, rank: int = 0, seed: int = 0):
    return ScanSampler(Items(len(scans)), scans, slices_per_scan, ranks, rank, seed)


SCANS = st.lists(st.sampled_from("abcde"), min_size=1, max_size=40)


@given(scans=SCANS, slices_per_scan=st.integers(1, 12), epoch=st.integers(0, 3))
def test_every_scan_is_drawn_equally_often_and_its_slices_evenly(scans, slices_per_scan, epoch):
    drawn = sampler(scans, slices_per_scan)
    drawn.set_epoch(epoch)
    items = list(drawn)
    assert len(items) == len(drawn)
    assert Counter(scans[item] for item in items) == dict.fromkeys(set(scans), slices_per_scan)
    for scan in set(scans):
        times = Counter(items)
        of_scan = [times[item] for item, name in enumerate(scans) if name == scan]
        assert max(of_scan) - min(of_scan) <= 1


@given(scans=SCANS, slices_per_scan=st.integers(1, 5), ranks=st.integers(2, 3))
def test_processes_share_an_epoch_in_equal_parts(scans, slices_per_scan, ranks):
    parts = [list(sampler(scans, slices_per_scan, ranks, rank)) for rank in range(ranks)]
    assert {len(part) for part in parts} == {-(-len(set(scans)) * slices_per_scan // ranks)}
    together = Counter(item for part in parts for item in part)
    alone = Counter(sampler(scans, slices_per_scan))
    assert sum((together - alone).values()) < ranks  # filled up to equal parts
    assert not alone - together


def test_the_order_depends_on_seed_and_epoch_alone():
    scans = list("aaaabbbbcccc")
    np.random.seed(1)  # noqa: NPY002  the global state must not matter
    first = list(sampler(scans, 3))
    np.random.seed(2)  # noqa: NPY002
    again = sampler(scans, 3)
    assert list(again) == first
    again.set_epoch(1)
    assert list(again) != first
    assert list(sampler(scans, 3, seed=1)) != first
