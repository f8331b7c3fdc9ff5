"""What an export tells people about the file that it wrote."""

from pathlib import Path

from kidney.artifact.card import ModelCard


def summary(path: Path, card: ModelCard) -> str:
    """Return one line on a file and what was measured of it."""
    measured = card.benchmark
    return (
        f"{path}: {measured['size_mb']:.1f} MB, {measured['milliseconds']:.1f} ms a slice of "
        f"{' x '.join(map(str, measured['slice']))} with {measured['threads']} threads, "
        f"{measured['peak_memory_mb']:.0f} MB of memory"
    )


def verified(card: ModelCard) -> str:
    """Return one line on how well a float32 file agrees with torch."""
    found = card.verification
    largest = ", ".join(
        f"{name} {found['largest'][name]:.0e}"
        for name in ("probabilities", "evidence", "decomposition")
    )
    return (
        f"onnxruntime agrees with torch on {found['slices']} slices, {len(found['sizes'])} sizes "
        f"and batches of {', '.join(map(str, found['batches']))}: {largest}"
    )
