"""What is refused before anything is computed, and that asking changes nothing."""

from copy import deepcopy

import pytest
import torch

from dsnotes.training.fit import fit
from dsnotes.training.preflight import refuse_unfit
from dsnotes.training.settings import Settings

QUIET = {"progress": False, "device": "cpu", "amp": False, "patch": (2, 2), "epochs": 1}


@pytest.mark.parametrize(
    ("norm", "batch", "told"),
    [
        ("batch", 1, r"patch \(2, 2\) with batch=1 .*stride \(2, 2\).* larger patch.*\(4, 4\)\. Or pass batch=2\.$"),
        ("instance", 2, r"patch \(2, 2\) with batch=2 leaves a single voxel .*for instance patch=\(4, 4\)\.$"),
    ],
)
def test_a_patch_that_leaves_a_single_voxel_is_answered_with_the_remedy(tiny, discs, norm, batch, told):
    with pytest.raises(ValueError, match=told):
        fit(tiny(norm=norm), discs(4), batch=batch, **QUIET)
    remedy = {"batch": 2} if norm == "batch" else {"batch": batch, "patch": (4, 4)}
    assert len(fit(tiny(norm=norm), discs(4), **QUIET | remedy)) == 1


def test_asking_whether_a_patch_is_large_enough_changes_nothing_of_the_training(tiny, discs):
    def dropping_out(*_) -> None:
        torch.rand(1)

    system = tiny()
    system.network.register_forward_pre_hook(dropping_out)
    before = deepcopy(system.network.state_dict())
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    refuse_unfit(system, Settings(patch=(2, 2), batch=2), discs(1), None, 0)
    assert torch.equal(torch.rand(2), expected)
    torch.testing.assert_close(system.network.state_dict(), before, rtol=0, atol=0)
