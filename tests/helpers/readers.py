"""Running a reader as ingest does, and sorting what it found."""

from collections.abc import Sequence

from kidney.data.readers.interface import RawSlice, Refused, Task


def run(tasks: Sequence[Task]) -> tuple[list[RawSlice], list[Refused]]:
    """Run the tasks in order; return slices and refused files."""
    found = [item for task in tasks for item in task()]
    slices = [item for item in found if isinstance(item, RawSlice)]
    return slices, [item for item in found if isinstance(item, Refused)]
