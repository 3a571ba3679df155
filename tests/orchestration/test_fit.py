"""What we take out of Ray Train's trainer."""

from ray.train.torch import TorchTrainer

from dist_erase.orchestration.fit import LEFT_OUT, _Trainer


def test_what_is_left_out_is_there_in_rays_trainer_and_all_else_stays():
    ours, theirs = (
        [type(each).__name__ for each in trainer(print)._create_default_callbacks()]
        for trainer in (_Trainer, TorchTrainer)
    )
    assert set(theirs) > LEFT_OUT
    assert ours == [name for name in theirs if name not in LEFT_OUT]
