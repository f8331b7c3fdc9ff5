"""The model at work behind the routes: which one answers, and when."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from loky import cpu_count  # type: ignore[import-untyped]
from numpy.typing import NDArray

from kidney.artifact.card import ModelCard
from kidney.artifact.predictor import Answer, Predictor
from kidney.errors import KidneyError
from kidney.serving.guards.admission import LATE, until
from kidney.serving.inference.turns import LateError, Turns
from kidney.serving.problems import RequestError
from kidney.serving.settings import Settings

_log = logging.getLogger("kidney.serving")

Slices = Sequence[NDArray[np.uint8]]

# Runs of the graph at a time: while one is at its parts that know no threads, or its request is
# decoded and answered, the other one has the cores.
LANES = 2
# Slices in one run. More do not pay on a CPU, where the threads of a run share out one slice as
# well as several; and between two runs it is the next request's turn.
CHUNK = 1
WARM_UP = (512, 512)  # pixels of the slice that a new model answers first


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
        settings: model, model_sha256, threads and workers are used.
        on_read: told of every reading, with the slices that were read.

    Attributes:
        ready: whether the model that answers has passed its first prediction.
        since: when that model was opened, in seconds since 1970.
        swaps: how often another one has taken over.
        refusals: how often another one was refused.
        refused: why the file that was looked at last does not answer; empty: it does.
        on_change: told whether it was done when another one was to take over.

    Raises:
        ArtifactError: as for `Predictor`.
    """

    def __init__(
        self, settings: Settings, on_read: Callable[[Slices, Reading], None] | None = None
    ) -> None:
        self._settings = settings
        self._threads = settings.threads or max(1, cpu_count() // settings.workers)
        self._on_read = on_read
        self._turns = Turns(LANES)
        self.swaps = self.refusals = 0
        self.refused = ""
        self.on_change: Callable[[bool], None] = lambda _: None
        self._take_over(self._open())
        try:
            _warm_up(self._current[1])
            self.ready = True
        except Exception:  # whatever it was, the process has to live on to say so at /readyz
            _log.exception("The model failed its first prediction.")
            self.ready = False

    @property
    def model(self) -> Served:
        """The model that would answer now."""
        return self._current[0]

    def read(self, slices: Slices) -> Reading:
        """Answer for every slice, uint8 (H, W) each, of any and of different sizes.

        All answers are of one model, also where another one takes over meanwhile. A request with
        many slices lets others pass between them.

        Raises:
            RequestError: the time of the current request was up before (503).
        """
        model, predictor = self._current
        answers: list[Answer] = []
        try:
            for start in range(0, len(slices), CHUNK):
                with self._turns.turn(until()):
                    answers += predictor.predict(slices[start : start + CHUNK])
        except LateError:
            raise RequestError(LATE) from None
        reading = Reading(model, answers)
        if self._on_read:
            self._on_read(slices, reading)
        return reading

    def swap(self) -> bool:
        """Let the file that is at `settings.model` now answer from here on, if it can.

        It is checked as at the start and has answered once before it takes over. Requests that are
        being answered end with the old one. Where it fails, the old one stays and the log says why.

        Returns:
            Whether the file answers now.
        """
        try:
            predictor = self._open()
            if predictor.sha256 != self.model.sha256:
                _warm_up(predictor)
                self._take_over(predictor)
                self.swaps += 1
                self.ready = True
                self.on_change(True)
                _log.warning(
                    "The model %s of run %s answers now.", self.model.sha256, self.model.card.run
                )
        except Exception as error:  # a new model must not end what the old one does
            reason = error.problem if isinstance(error, KidneyError) else repr(error)
            self.refuse(reason)
            return False
        self.refused = ""
        return True

    def refuse(self, reason: str) -> None:
        """Note that another model was to take over and cannot, once for each reason."""
        if reason != self.refused:
            self.refused = reason
            self.refusals += 1
            self.on_change(False)
            _log.error("The model stays %s. A new one was refused: %s", self.model.sha256, reason)

    def _open(self) -> Predictor:
        settings = self._settings
        return Predictor(settings.model, self._threads, sha256=settings.model_sha256)

    def _take_over(self, predictor: Predictor) -> None:
        # In one assignment: a request sees either model with its own card.
        self._current = Served(predictor.card, predictor.sha256), predictor
        self.since = time.time()


def _warm_up(predictor: Predictor) -> None:
    """Predict one black slice; the first run of a graph allocates and is slow."""
    predictor.predict([np.zeros(WARM_UP, dtype=np.uint8)])
