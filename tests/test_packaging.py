"""What is installed is what is needed: declared dependencies, a lock that fits them, a wheel with everything in it."""

import ast
import importlib.metadata
import importlib.util
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parent.parent
PACKAGES = ("swarm", "gossip", "node")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
DECLARED = {canonicalize_name(r.name): r for r in map(Requirement, PROJECT["project"]["dependencies"])}
EXTRA = {
    canonicalize_name(r.name): r
    for extra in PROJECT["project"]["optional-dependencies"].values()
    for r in map(Requirement, extra)
}


def locked(name: str) -> dict[str, Version]:
    lines = [line.split("#")[0].strip() for line in (ROOT / name).read_text().splitlines()]
    pairs = [line.split("==") for line in lines if line]
    assert all(len(pair) == 2 for pair in pairs), "every line pins one version"
    return {canonicalize_name(package): Version(version) for package, version in pairs}


def imported(folder: str) -> dict[str, set[str]]:
    """Top-level names of everything a folder imports, with the files that do."""
    found: dict[str, set[str]] = {}
    for path in sorted((ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                names = [node.module]
            for name in names:
                found.setdefault(name.split(".")[0], set()).add(str(path.relative_to(ROOT)))
    return found


PROVIDERS = importlib.metadata.packages_distributions()  # takes a second: once


def distributions_of(module: str) -> set[str]:
    return {str(canonicalize_name(name)) for name in PROVIDERS.get(module, [])}


@pytest.mark.parametrize("folder", [*PACKAGES, "experiments"])
def test_every_import_is_a_declared_dependency(folder):
    missing = {}
    for module, files in imported(folder).items():
        if module in sys.stdlib_module_names or module in PACKAGES:
            continue
        if not distributions_of(module) & (set(DECLARED) | set(EXTRA)):
            missing[module] = files
    assert not missing


def test_every_declared_dependency_is_used():
    used = {name for folder in (*PACKAGES, "experiments") for m in imported(folder) for name in distributions_of(m)}
    by_name_only = {"sympy", "cmaes"}  # source text that is read; what Optuna imports for its CMA-ES
    assert set(DECLARED) - used <= by_name_only


def test_the_lock_has_every_declared_dependency_in_its_range():
    lock = locked("requirements.lock") | {"torch": torch_of_the_makefile()}
    for name, requirement in DECLARED.items():
        assert name in lock, f"{name} is not locked"
        assert requirement.specifier.contains(lock[name]), f"{requirement} does not allow {lock[name]}"


def torch_of_the_makefile() -> Version:
    found = re.search(r"^TORCH\s*:=\s*torch==(\S+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert found
    return Version(found[1])


def test_the_two_locks_do_not_contradict_each_other():
    run, dev = locked("requirements.lock"), locked("requirements-dev.lock")
    assert not {name for name in run.keys() & dev.keys() if run[name] != dev[name]}


def test_what_is_installed_here_is_what_is_locked():
    different = {}
    for name, version in (locked("requirements.lock") | locked("requirements-dev.lock")).items():
        installed = Version(importlib.metadata.version(name))
        if installed.public != version.public:
            different[name] = (str(installed), str(version))
    assert not different


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> set[str]:
    """Names of all files in the wheel, built from a copy so that the checkout stays as it is."""
    copy, out = tmp_path_factory.mktemp("copy"), tmp_path_factory.mktemp("wheel")
    for name in (*PACKAGES, "experiments", "configs"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy / name)
    script = "import sys; from hatchling.build import build_wheel; print(build_wheel(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", script, str(out)], cwd=copy, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(out / done.stdout.split()[-1]) as archive:
        (points,) = [name for name in archive.namelist() if name.endswith("entry_points.txt")]
        assert "swarm = node.cli:main" in archive.read(points).decode()
        return set(archive.namelist())


def test_the_wheel_has_every_module(wheel):
    for package in PACKAGES:
        ours = {str(path.relative_to(ROOT)) for path in (ROOT / package).rglob("*.py")}
        assert ours <= wheel


def test_the_wheel_has_what_the_node_looks_for_beside_itself(wheel):
    for folder in ("configs", "experiments"):
        ours = [path for path in (ROOT / folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts]
        assert ours
        assert {f"node/shipped/{path.relative_to(ROOT)}" for path in ours} <= wheel


def test_the_wheel_puts_nothing_else_among_peoples_packages(wheel):
    tops = {name.split("/")[0] for name in wheel}
    assert {top for top in tops if not top.endswith(".dist-info")} == set(PACKAGES)


def test_no_folder_of_another_purpose_is_a_package():
    for name in ("docs", "examples", "interop", "newsfragments", "stubs", "tests", "typings", "configs", "experiments"):
        assert not (ROOT / name / "__init__.py").exists(), f"{name} would be importable"
    for package in PACKAGES:
        assert importlib.util.find_spec(package).origin == str(ROOT / package / "__init__.py")
