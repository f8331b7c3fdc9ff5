from pathlib import Path

from kidney.tracking.runs import Tracking, end_run
from kidney.training.resume import opened, remembered, reopened


def test_a_folder_remembers_its_run_until_the_store_has_lost_it(tmp_path: Path):
    folder = tmp_path / "run"
    tracking = Tracking(f"sqlite:///{tmp_path}/mlflow.db", "kidney")
    assert remembered(folder) == ""
    assert reopened(tracking, folder) == ""
    run_id = opened(tracking, folder, "a fit", {"kind": "member"}, None, {"seed": 3})
    assert remembered(folder) == run_id
    end_run(tracking, run_id, "FAILED")
    assert reopened(tracking, folder) == run_id
    run = tracking.client().get_run(run_id)
    assert run.info.status == "RUNNING"
    assert run.data.params == {"seed": "3"}
    assert reopened(Tracking(f"sqlite:///{tmp_path}/other.db", "kidney"), folder) == ""
