import os
import signal
import time

import pytest
import torch
import torch.distributed as dist
from support.processes import RanksFailedError, run_ranks

from dist_erase.distributed.gather import gather, gather_with_grad

ROWS, COMPONENTS = 3, 2


def rows_of(rank: int) -> torch.Tensor:
    return torch.arange(ROWS * COMPONENTS, dtype=torch.float64).view(ROWS, COMPONENTS) + 10 * rank


def gather_on_a_rank(rank: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, bool]:
    x_bD = rows_of(rank).requires_grad_()
    x_BD = gather_with_grad(x_bD)
    weight_BD = (rank + 1) * torch.arange(x_BD.numel(), dtype=torch.float64).view_as(x_BD)
    # The product of transposes gives the backward a gradient that is not contiguous.
    (x_BD.T * weight_BD.T.contiguous()).sum().backward()
    captions_B = gather(torch.tensor([rank, -rank, 2**40 + rank]))
    return x_BD.detach(), x_bD.grad, captions_B, gather(x_bD).requires_grad


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_rows_come_in_rank_order_and_gradients_are_summed_over_ranks(ranks):
    weight_BD = torch.arange(ranks * ROWS * COMPONENTS, dtype=torch.float64).view(-1, COMPONENTS)
    summed_BD = sum(range(1, ranks + 1)) * weight_BD

    for rank, (x_BD, grad_bD, captions_B, tracked) in enumerate(run_ranks(gather_on_a_rank, ranks)):
        assert torch.equal(x_BD, torch.cat([rows_of(r) for r in range(ranks)]))
        assert torch.equal(grad_bD, summed_BD[rank * ROWS : (rank + 1) * ROWS])
        expected = [value for r in range(ranks) for value in (r, -r, 2**40 + r)]
        assert captions_B.tolist() == expected
        assert not tracked


def test_without_a_process_group_it_is_the_tensor_itself():
    x_bD = rows_of(0).requires_grad_()

    assert gather_with_grad(x_bD) is x_bD
    assert not gather(x_bD).requires_grad


def fail_on_rank_one(rank: int) -> None:
    if rank == 1:
        raise RuntimeError("rank one is broken")
    dist.barrier()


def test_a_failing_rank_is_reported_with_the_words_of_every_rank():
    with pytest.raises(RanksFailedError) as failure:
        run_ranks(fail_on_rank_one, 2)

    message = str(failure.value)
    assert "--- rank 0 of 2" in message
    assert "RuntimeError: rank one is broken" in message
    assert "in fail_on_rank_one" in message


def hang_on_rank_zero(rank: int) -> None:
    if rank == 0:
        time.sleep(60)


def test_ranks_that_do_not_end_in_time_are_killed():
    with pytest.raises(RanksFailedError, match="rank 0 of 2: did not end in time"):
        run_ranks(hang_on_rank_zero, 2, timeout_seconds=3.0)


def die_on_rank_one(rank: int) -> None:
    if rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_rank_that_is_killed_is_named():
    with pytest.raises(RanksFailedError, match="rank 1 of 2: died without a word"):
        run_ranks(die_on_rank_one, 2)
