"""The promotion gate, wired: artifact and its evaluation -> version -> verdict -> alias."""

import hashlib
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from omegaconf import DictConfig

from kidney.artifact.card import ModelCard
from kidney.errors import ArtifactError
from kidney.evaluation.promotion import Verdict, judge
from kidney.evaluation.result import EvaluationResult
from kidney.files import sha256
from kidney.pipeline.promotion_files import challenger_record, champion_record
from kidney.tracking.registry import (
    WITHDRAWN,
    Version,
    champion,
    crown,
    record,
    register,
    roll_back,
    withdrawn,
)
from kidney.tracking.runs import Tracking


def promote(cfg: DictConfig, artifact: Path, card: ModelCard) -> str:
    """Register the artifact, and make it the champion where the gate lets it through.

    Interrupted, it leaves at most a version without an alias, which the same command takes up
    again.

    Args:
        cfg: the whole configuration.
        artifact: kidney.onnx.
        card: of the artifact.

    Returns:
        What became of it, for people.

    Raises:
        ArtifactError: it does not become the champion; the message says why.
    """
    tracking, name = _tracking(cfg), str(cfg.registry.name)
    with TemporaryDirectory() as temporary:
        after, before = Path(temporary, "challenger"), Path(temporary, "champion")
        challenger, files = challenger_record(cfg, tracking, card, after)
        tags = _identity(artifact, card, challenger.result, files)
        version = register(tracking, name, artifact, files, tags)
        best = champion(tracking, name)
        if best and best.number == version.number:
            return f"Version {version.number} of {name} is the champion already."
        _refuse_withdrawn(tracking, name, version)
        known = champion_record(cfg, tracking, best, before) if best else None
    verdict = judge(
        known, challenger, cfg.registry.max_ece_rise, cfg.registry.max_localisation_fall
    )
    record(tracking, name, version, _as_tags(verdict, best))
    reasons = "".join(f"\n  {reason}" for reason in verdict.reasons)
    stays = f"version {best.number}" if best else "none"
    if not verdict.promote:
        raise ArtifactError(
            f"Version {version.number} of {name} is not promoted, the champion stays {stays}:"
            + reasons,
            "Improve on what it says and try again; the verdict is kept with the version.",
        )
    crown(tracking, name, version, instead_of=best)
    return f"Version {version.number} of {name} is the champion now, instead of {stays}:{reasons}"


def go_back(cfg: DictConfig) -> str:
    """Make the previous champion the champion again, and say so.

    Raises:
        ArtifactError: there is none.
    """
    name = str(cfg.registry.name)
    now, before = roll_back(_tracking(cfg), name)
    return (
        f"Version {now.number} of {name} is the champion again; version {before.number} is "
        "withdrawn and will not be promoted any more."
    )


def _tracking(cfg: DictConfig) -> Tracking:
    return Tracking(cfg.tracking.uri, cfg.tracking.experiment)


def _identity(
    artifact: Path, card: ModelCard, result: EvaluationResult, files: list[Path]
) -> dict[str, str]:
    evaluation = hashlib.sha256("".join(map(sha256, files)).encode()).hexdigest()
    return {
        "sha256": sha256(artifact),
        "run": card.run,
        "code": card.code,
        "evaluation": evaluation,
        "evaluation_run": result.model.run,
        "data": str(result.data.fingerprint),
        "split": str(result.split.fingerprint),
        "split_name": result.split.name,
        "fold": str(result.split.fold),
    }


def _as_tags(verdict: Verdict, best: Version | None) -> dict[str, str]:
    return {
        "verdict": "promote" if verdict.promote else "keep the champion",
        "reasons": "\n".join(verdict.reasons),
        "judged_against": str(best.number) if best else "none",
        "judged": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _refuse_withdrawn(tracking: Tracking, name: str, version: Version) -> None:
    if when := withdrawn(tracking, name, version):
        raise ArtifactError(
            f"The artifact of version {version.number} of {name} was champion and was withdrawn "
            f"at {when}; it is not promoted again.",
            f"Train another, or take the tag {WITHDRAWN!r} off if that was a mistake.",
        )
