"""The promotion gate through its command: the alias moves, stays with a reason, and goes back."""

import sys

import pytest
from mlflow import MlflowClient

from tests.helpers.evaluated_artifact import write_evaluated


@pytest.mark.slow
def test_the_gate_from_the_first_champion_to_the_way_back(make_checkout):
    checkout = make_checkout()

    def command(*settings: str, check: bool = True):
        margins = "registry.max_ece_rise=0.1"
        return checkout.run(sys.executable, "scripts/promote.py", margins, *settings, check=check)

    def promote(run: str, check: bool = True):
        settings = (f"artifact={run}/kidney.onnx", f"registry.evaluation={run}")
        return command(*settings, check=check)

    write_evaluated(checkout.folder / "first", "first", skill=1.0)
    write_evaluated(checkout.folder / "better", "better", skill=2.5)
    out = promote("first").stdout
    assert "Version 1 of kidney is the champion now, instead of none" in out
    out = promote("better").stdout
    assert "Version 2 of kidney is the champion now, instead of version 1" in out
    assert "The macro AUROC is better" in out

    refused = promote("first", check=False)
    assert refused.returncode == 1
    assert "Version 1 of kidney is not promoted, the champion stays version 2" in refused.stderr
    assert "The macro AUROC is not better" in refused.stderr
    assert "Traceback" not in refused.stderr

    back = command("registry.roll_back=true").stdout
    assert "Version 1 of kidney is the champion again; version 2 is withdrawn" in back
    client = MlflowClient(f"sqlite:///{checkout.folder}/mlflow.db")
    assert int(client.get_model_version_by_alias("kidney", "champion").version) == 1
    assert not (checkout.folder / "mlruns").exists()
