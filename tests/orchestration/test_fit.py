"""What we take out of Ray Train's trainer."""

from ray.train.torch import TorchTrainer

from dist_erase.orchestration.fit import PLACES_CLEANER, _Trainer


def test_no_actor_asks_another_cluster_whether_the_run_is_alive():
    """Ray's own trainer still has it, by this name, and all else of it stays."""
    ours, theirs = (
        [type(each).__name__ for each in trainer(print)._create_default_callbacks()]
        for trainer in (_Trainer, TorchTrainer)
    )
    assert PLACES_CLEANER in theirs
    assert ours == [name for name in theirs if name != PLACES_CLEANER]
