import pytest

from kidney.errors import ConfigError
from kidney.training.fit import refuse_distributed_sweep


@pytest.mark.parametrize("strategy", ["ddp", "ddp_find_unused_parameters_true"])
def test_a_sweep_whose_jobs_would_start_the_sweep_again_is_refused(strategy):
    with pytest.raises(ConfigError, match="ddp_spawn"):
        refuse_distributed_sweep(strategy)


@pytest.mark.parametrize("strategy", ["auto", "ddp_spawn"])
def test_a_sweep_of_single_processes_is_not(strategy):
    refuse_distributed_sweep(strategy)
