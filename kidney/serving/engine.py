"""The model at work behind the routes: which one answers, and when."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kidney.card import ModelCard
from kidney.predictor import Answer, Predictor
from kidney.serving.settings import Settings


@dataclass(frozen=True, eq=False)
class Served:
    """The model that answers.

    Attributes:
        card: its card.
        sha256: of its file.
    """

    card: ModelCard
    sha256: str


@dataclass(frozen=True, eq=False)
class Reading:
    """What one model says about the slices of one request.

    Attributes:
        model: which one it was; it may be another for the next request.
        answers: one for each slice, in the order given.
    """

    model: Served
    answers: list[Answer]


class Engine:
    """The model of one process. `read` may be called from several threads at once.

    Args:
        settings: model, model_sha256 and threads are used.
        on_read: told of every reading, with the slices that were read.

    Raises:
        ArtifactError: as for `Predictor`.
    """

    def __init__(
        self,
        settings: Settings,
        on_read: Callable[[Sequence[NDArray[np.uint8]], Reading], None] | None = None,
    ) -> None:
        self._on_read = on_read
        self._predictor = Predictor(settings.model, settings.threads, sha256=settings.model_sha256)
        self._model = Served(self._predictor.card, self._predictor.sha256)

    @property
    def model(self) -> Served:
        """The model that would answer now."""
        return self._model

    def read(self, slices: Sequence[NDArray[np.uint8]]) -> Reading:
        """Answer for every slice, uint8 (H, W) each, of any and of different sizes."""
        reading = Reading(self._model, self._predictor.predict(slices))
        if self._on_read:
            self._on_read(slices, reading)
        return reading
