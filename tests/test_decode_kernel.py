"""The kernel of few tokens a row against plain products, and what happens where it does not serve."""

import hashlib
import os
import shutil
import subprocess

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


PLANTED = """
#include <stdio.h>
__attribute__((constructor)) static void planted(void) { FILE *f = fopen("%s", "w"); if (f) fclose(f); }
void add_low_rank_float(void) {}
"""


@pytest.fixture
def planted(tmp_path):
    """A library that says so in a file when it is loaded, and that file."""
    source, library, mark = tmp_path / "planted.c", tmp_path / "planted.so", tmp_path / "was-loaded"
    source.write_text(PLANTED % mark)
    subprocess.run(["cc", "-shared", "-fPIC", source, "-o", library], check=True)
    return library.read_bytes(), mark


@pytest.fixture
def kernels(forgotten, monkeypatch, tmp_path):
    """The folder of the kernels in a cache of its own, which has one."""
    monkeypatch.setenv("POLYPHONY_CACHE", str(tmp_path / "cache"))
    assert kernel_built()
    forgotten()
    return tmp_path / "cache" / "kernels"


def computes():
    stack, x, y = drawn(torch.float32, 1)
    return add_low_rank(y, x, stack, torch.tensor([0]), 1, 1.0)


needs_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler here")


@needs_compiler
def test_a_second_process_loads_what_the_first_has_built(kernels, monkeypatch):
    names = sorted(path.name for path in kernels.iterdir())
    monkeypatch.setattr(decode_kernel, "_build", lambda *_: pytest.fail("built again"))
    assert computes() and sorted(path.name for path in kernels.iterdir()) == names
    assert kernels.stat().st_mode & 0o777 == 0o700 and len(names) == 2


@needs_compiler
def test_a_planted_library_is_never_loaded(kernels, planted):
    content, mark = planted
    for path in list(kernels.iterdir()):
        if path.suffix == ".so":
            path.write_bytes(content)
        else:  # the name that libraries once had
            path.with_suffix(".so").write_bytes(content)
    assert computes() and not mark.exists()


@needs_compiler
@pytest.mark.parametrize("mode", [0o777, 0o770])
def test_what_others_could_have_put_there_is_built_anew(kernels, planted, mode):
    content, mark = planted
    library = next(path for path in kernels.iterdir() if path.suffix == ".so")
    digest = hashlib.sha256(content).hexdigest()
    (kernels / f"{digest}.so").write_bytes(content)
    next(path for path in kernels.iterdir() if path.suffix == ".sha256").write_text(digest)
    kernels.chmod(mode)
    assert computes() and not mark.exists()
    assert kernels.stat().st_mode & 0o777 == 0o700 and library.is_file()


@needs_compiler
@pytest.mark.parametrize("place", ["link", "file", "another's"])
def test_a_folder_that_is_not_the_user_s_own_is_not_used(kernels, planted, monkeypatch, tmp_path, place):
    _, mark = planted
    if place == "another's":
        monkeypatch.setattr(os, "geteuid", lambda: 12345)
    else:
        kernels.rename(tmp_path / "elsewhere")
        kernels.symlink_to(tmp_path / "elsewhere") if place == "link" else kernels.touch()
    assert not computes() and not kernel_built() and not mark.exists()


@needs_compiler
@pytest.mark.parametrize(
    "damage", [lambda p: p.write_bytes(b""), lambda p: p.chmod(0o777), os.unlink, lambda p: pipe(p)]
)
def test_a_damaged_library_is_built_anew(kernels, damage):
    damage(next(path for path in kernels.iterdir() if path.suffix == ".so"))
    assert computes()


def pipe(path):
    path.unlink()
    os.mkfifo(path)


@needs_compiler
def test_a_library_that_cannot_be_loaded_is_the_slow_path(forgotten, monkeypatch, tmp_path):
    monkeypatch.setenv("POLYPHONY_CACHE", str(tmp_path))
    monkeypatch.setattr(decode_kernel, "_build", lambda compiler, library: library.write_bytes(b"no library"))
    assert not computes() and not kernel_built()
    monkeypatch.setattr(decode_kernel, "_build", lambda compiler, library: build_empty(library))
    forgotten()
    assert not computes() and not kernel_built(), "a library without the functions"


def build_empty(library):
    source = library.with_suffix(".c")
    source.write_text("int nothing;")
    subprocess.run(["cc", "-shared", "-fPIC", source, "-o", library], check=True)
