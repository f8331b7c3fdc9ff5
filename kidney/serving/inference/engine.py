"""The model of one process: which file answers, who computes next, and the change of models."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from loky import cpu_count  # type: ignore[import-untyped]
from numpy.typing import NDArray

from kidney.artifact.card import ModelCard
from kidney.artifact.predictor import Prediction, Predictor
from kidney.errors import KidneyError
from kidney.serving.guards.admission import LATE, deadline
from kidney.serving.problems import RequestError
from kidney.serving.settings import Settings

_log = logging.getLogger("kidney.serving")

Slices = Sequence[NDArray[np.uint8]]

# Runs of the graph at a time: while one is at its parts that know no threads, or its request is
# decoded and encoded, the other one has the cores.
LANES = 2


@dataclass(frozen=True, eq=False)
class Served:
    """A model that answers requests; a request keeps the one that it started with."""

    predictor: Predictor

    @property
    def card(self) -> ModelCard:
        """The card of its file."""
        return self.predictor.card

    @property
    def sha256(self) -> str:
        """The SHA-256 of its file."""
        return self.predictor.sha256


def _predict_black(predictor: Predictor) -> None:
    predictor.predict([np.zeros((512, 512), dtype=np.uint8)])


OnPredict = Callable[[Served, Slices, Sequence[Prediction]], None]


class Engine:
    """The model of one process. `predict` may be called from several threads at once.

    Args:
        settings: model, model_sha256, threads and workers are used.
        on_predict: called with the model, the slices and the predictions of each request.
        warm_up: what a model has to pass before it answers.

    Attributes:
        model: the model that the next request gets.
        ready: whether it has passed its warm-up.
        swaps: how often another one has taken over.
        refusals: how often another one was refused.
        refused: why the newest file does not answer; empty: it does.
        on_change: called with True when another model takes over, with False when it is refused.

    Raises:
        ArtifactError: as for `Predictor`.
    """

    def __init__(
        self,
        settings: Settings,
        on_predict: OnPredict | None = None,
        warm_up: Callable[[Predictor], None] = _predict_black,
    ) -> None:
        self._settings = settings
        self._threads = settings.threads or max(1, cpu_count() // settings.workers)
        self._on_predict = on_predict
        self._warm_up = warm_up
        self._lanes = ThreadPoolExecutor(LANES, thread_name_prefix="lane")
        self.swaps = self.refusals = 0
        self.refused = ""
        self.on_change: Callable[[bool], None] = lambda _: None
        self.model = Served(self._open())
        try:
            self._warm_up(self.model.predictor)
            self.ready = True
        except Exception:  # whatever it was, the process has to live on to report it at /readyz
            _log.exception("The model failed its first prediction.")
            self.ready = False

    def predict(self, model: Served, slices: Slices) -> list[Prediction]:
        """Predict every slice, uint8 (H, W) each, of any and of different sizes.

        Slices queue one by one: on a CPU the threads of a run share out one slice as well as
        several, and a request with many lets others pass between them.

        Raises:
            RequestError: the deadline of the current request has passed (503).
        """
        predictions = [self._in_turn(model.predictor, slice_) for slice_ in slices]
        if self._on_predict:
            self._on_predict(model, slices, predictions)
        return predictions

    def _in_turn(self, predictor: Predictor, slice_: NDArray[np.uint8]) -> Prediction:
        """Predict in the order of arrival; a run that started before the deadline is finished."""
        left = deadline() - time.monotonic()
        if left <= 0:
            raise RequestError(LATE)
        run = self._lanes.submit(predictor.predict, [slice_])
        try:
            (prediction,) = run.result(min(left, threading.TIMEOUT_MAX))
        except TimeoutError:
            if run.cancel():
                raise RequestError(LATE) from None
            (prediction,) = run.result()
        return prediction

    def swap(self) -> bool:
        """Let the file that is at `settings.model` now answer from here on, if it can.

        It is checked as at the start and has answered a sample before it takes over. Requests that
        have started end with the old one. Where it fails, the old one stays and the log has the
        reason.

        Returns:
            Whether the file answers now.
        """
        try:
            predictor = self._open()
            if predictor.sha256 != self.model.sha256:
                self._warm_up(predictor)
                self.model = Served(predictor)
                self.swaps += 1
                self.ready = True
                self.on_change(True)
                _log.warning(
                    "The model %s of run %s answers now.", predictor.sha256, predictor.card.run
                )
        except Exception as error:  # a new model must not end what the old one does
            self.refuse(error.problem if isinstance(error, KidneyError) else repr(error))
            return False
        self.refused = ""
        return True

    def refuse(self, reason: str) -> None:
        """Note that another model cannot take over, once for each reason."""
        if reason != self.refused:
            self.refused = reason
            self.refusals += 1
            self.on_change(False)
            _log.error("The model stays %s. A new one was refused: %s", self.model.sha256, reason)

    def _open(self) -> Predictor:
        settings = self._settings
        return Predictor(settings.model, self._threads, sha256=settings.model_sha256)
