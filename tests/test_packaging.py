"""What is built and installed: one import package with its data, and an sdist that is all of the checkout."""

import json
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SDIST_FOLDERS = ("tests", "benchmarks", "docs", "data", ".ci", "polyphony")
DATA_OF_WHEEL = ("town", "reference", "demo")
HEAVY = ("torch", "numpy", "pandas", "transformers", "sqlalchemy", "typer", "streamlit", "scipy", "sklearn", "networkx")
IMPORT = """
import json, sys, time
began = time.process_time()
import polyphony
print(json.dumps([time.process_time() - began, sorted(sys.modules)]))
"""


def files_below(folder: Path) -> set[str]:
    """Files of a folder of the checkout, through links, as paths within the checkout; no bytecode."""
    return {
        str((Path(place) / name).relative_to(ROOT))
        for place, _, names in os.walk(folder, followlinks=True)
        for name in names
        if "__pycache__" not in place
    }


def build(source: Path, out: Path, *kinds: str) -> None:
    # The tests' own environment has what building needs, so that nothing is downloaded.
    command = [sys.executable, "-m", "build", "--no-isolation", *kinds, "--outdir", str(out), str(source)]
    subprocess.run(command, check=True, capture_output=True)


def files_of_wheel(folder: Path) -> set[str]:
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert len(names) == len(set(names))
    return set(names)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the sdist of this checkout."""
    pytest.importorskip("hatchling", reason="the dev extra is not installed")
    out = tmp_path_factory.mktemp("built")
    build(ROOT, out, "--wheel", "--sdist")
    return out


def test_the_wheel_holds_one_import_package_with_its_data(built: Path) -> None:
    files = files_of_wheel(built)
    tops = {name.split("/")[0] for name in files}
    assert "polyphony" in tops and len(tops) == 2
    (metadata,) = tops - {"polyphony"}
    assert metadata.startswith("polyphony_sim-") and metadata.endswith(".dist-info")
    data = {f"polyphony/{name}" for folder in DATA_OF_WHEEL for name in files_below(ROOT / "data" / folder)}
    assert {name for name in files if name.startswith("polyphony/")} == files_below(ROOT / "polyphony") | data
    for name in ("py.typed", "adapters/model/decode_kernel.c", "personas/town/topics/birds.toml"):
        assert f"polyphony/{name}" in files


def test_the_sdist_is_complete_and_builds_an_equal_wheel(built: Path, tmp_path: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        files = {member.name.partition("/")[2] for member in archive if member.isfile()}
        assert all(member.isfile() or member.isdir() for member in archive), "a link needs a file system that has them"
        # Python before 3.11.4 knows no filters.
        archive.extractall(tmp_path, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
    expected = {name for folder in SDIST_FOLDERS for name in files_below(ROOT / folder)}
    expected |= {path.name for path in ROOT.iterdir() if path.is_file() and path.name != ".git"}
    assert files == expected | {"PKG-INFO"}
    (unpacked,) = tmp_path.iterdir()
    build(unpacked, tmp_path / "again", "--wheel")
    assert files_of_wheel(tmp_path / "again") == files_of_wheel(built)


def test_importing_the_package_is_quick_and_brings_nothing_heavy() -> None:
    done = subprocess.run([sys.executable, "-c", IMPORT], capture_output=True, text=True, check=True)
    seconds, modules = json.loads(done.stdout)
    assert [name for name in HEAVY if name in modules] == []
    assert seconds < 0.3


@pytest.mark.slow
def test_an_installed_wheel_stands_beside_adapterhub_s_adapters(built: Path, tmp_path: Path) -> None:
    environment = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    (packages,) = environment.glob("lib/python*/site-packages")
    assert list(packages.iterdir()) == []
    (wheel,) = built.glob("*.whl")
    install(environment, wheel)
    assert {path.name for path in packages.iterdir() if not path.name.endswith(".dist-info")} == {"polyphony"}
    if install(environment, "adapters", check=False).returncode:
        pytest.skip("AdapterHub's adapters cannot be installed here")
    # Dependencies come from the tests' environment, but not the checkout: links to it in .pth files are not followed.
    (packages / "dependencies.pth").write_text(f"{Path(pytest.__file__).parent.parent}\n")
    code = (
        "import importlib.util, polyphony, polyphony.adapters.model.lora as lora\n"
        "print(importlib.util.find_spec('adapters').origin, polyphony.__file__, lora.__file__, sep='\\n')"
    )
    places = output(environment, tmp_path, "python", "-c", code).splitlines()
    assert places == [
        str(packages / name)
        for name in ("adapters/__init__.py", "polyphony/__init__.py", "polyphony/adapters/model/lora.py")
    ]
    output(
        environment, tmp_path, "simulate", "run", "--policy", "null", "--agents", "4", "--steps", "2", "--out", "x.db"
    )
    assert len(output(environment, tmp_path, "simulate", "digest", "x.db").strip()) == 64


def install(environment: Path, what: object, *, check: bool = True) -> "subprocess.CompletedProcess[str]":
    """Install a distribution without its dependencies."""
    python = environment / "bin" / "python"
    command = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", what]
    return subprocess.run([str(part) for part in command], check=check, capture_output=True, text=True)


def output(environment: Path, folder: Path, program: str, *options: str) -> str:
    """What a program of the environment prints, started elsewhere and without the checkout on its path."""
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [str(environment / "bin" / program), *options]
    return subprocess.run(command, cwd=folder, env=variables, check=True, capture_output=True, text=True).stdout
