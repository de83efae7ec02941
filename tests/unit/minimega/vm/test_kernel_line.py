"""The kernel's command line: what the user wrote, and what guests under TCG need."""

import pytest

from megatools.minimega.vm.backends.kvm.spec import kernel_line
from megatools.minimega.vm.config import VmConfig


@pytest.mark.parametrize(
    ("config", "accelerator", "line"),
    [
        (VmConfig(kernel="/k"), "tcg", "no_timer_check"),
        (VmConfig(kernel="/k", append=("a", "--", "b c")), "tcg", 'no_timer_check a -- "b c"'),
        (VmConfig(kernel="/k", append=("a", "no_timer_check")), "tcg", "a no_timer_check"),
        (VmConfig(kernel="/k", append=("a",)), "kvm", "a"),
        (VmConfig(append=("a",)), "tcg", "a"),
    ],
)
def test_guests_under_tcg_do_not_check_their_timer(config: VmConfig, accelerator: str, line: str) -> None:
    assert kernel_line(config, accelerator) == line
