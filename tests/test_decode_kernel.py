"""The kernel of few tokens a row against plain products, and what happens where it does not serve."""

import shutil

import pytest
import torch

from polyphony.adapters.model import decode_kernel
from polyphony.adapters.model.decode_kernel import TURN_OFF, add_low_rank, kernel_built, laid_out

SLOTS, RANK, IN, OUT = 5, 3, 70, 37


@pytest.fixture
def forgotten():
    """Have the kernel looked for anew, before and after."""

    def forget():
        decode_kernel._library.cache_clear()
        decode_kernel._kernel.cache_clear()

    forget()
    yield forget
    forget()


def drawn(dtype, tokens):
    random = torch.Generator().manual_seed(3)
    shapes = [(SLOTS, RANK, IN), (SLOTS, OUT, RANK), (tokens, IN), (tokens, OUT)]
    a, b, x, y = (torch.randn(shape, generator=random).to(dtype) for shape in shapes)
    return (a, laid_out(b)), x, y


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler here")
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 1 / 128)])
@pytest.mark.parametrize("run", [1, 2])
def test_the_kernel_is_the_plain_product_of_each_token(dtype, tolerance, run):
    slots = torch.tensor([4, -1, 0, 0, 2, 3])
    stack, x, y = drawn(dtype, len(slots) * run)
    expected = y.float()
    for token, slot in enumerate(slots.repeat_interleave(run).tolist()):
        if slot >= 0:
            a, b = (factor[slot].float() for factor in stack)
            expected[token] += 0.5 * (b @ (a @ x[token].float()))
    assert add_low_rank(y, x, stack, slots, run, 0.5)
    assert torch.allclose(y.float(), expected, rtol=tolerance, atol=tolerance)


def test_what_it_cannot_read_it_leaves_alone():
    (a, b), x, y = drawn(torch.float32, 2)
    before, slots = y.clone(), torch.tensor([0, 1])
    assert not add_low_rank(y, x, (a.bfloat16(), b.bfloat16()), slots, 1, 1.0), "factors of another type"
    assert not add_low_rank(y, x, (a, b.contiguous()), slots, 1, 1.0), "factors laid out the other way"
    assert not add_low_rank(y.double(), x.double(), (a.double(), b.double()), slots, 1, 1.0), "a type without kernel"
    assert torch.equal(y, before)


@pytest.mark.parametrize("missing", ["compiler", "wish"])
def test_without_a_kernel_nothing_breaks(missing, forgotten, monkeypatch, tmp_path):
    monkeypatch.setenv("POLYPHONY_CACHE", str(tmp_path))
    monkeypatch.setenv(*(("PATH", str(tmp_path)) if missing == "compiler" else (TURN_OFF, "1")))
    stack, x, y = drawn(torch.float32, 1)
    assert not add_low_rank(y, x, stack, torch.tensor([0]), 1, 1.0)
    assert not kernel_built()


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler here")
def test_a_compiler_that_fails_leaves_no_half_built_kernel(forgotten, monkeypatch, tmp_path):
    monkeypatch.setenv("POLYPHONY_CACHE", str(tmp_path))
    broken = tmp_path / "decode_kernel.c"
    broken.write_text("this is no C")
    monkeypatch.setattr(decode_kernel, "SOURCE", broken)
    assert not kernel_built()
    assert not list((tmp_path / "kernels").iterdir())
