"""Who may import whom, and that our `platform/` folder does not hide the standard library's module."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODEL_LIBRARIES = {"mlx", "mlx_lm", "mlx_vlm", "mlx_audio", "transformers", "tokenizers", "torch"}
WEB = {"django", "rest_framework", "channels", "daphne", "celery"}
PLATFORM = {"atelier", "gateway", "console"}
TOP_LEVEL = {
    "manage.py", "pyproject.toml", "platform", "inference", "accounts", "tests", "templates", "docs",
    "README.md", "LICENSE", "Makefile", "requirements.lock",
}  # fmt: skip


def modules_under(*folders: str) -> list[Path]:
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


def imports_of(path: Path) -> set[str]:
    """Full names of all modules that a file imports, inside functions too."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def offenders(folders: list[str], forbidden: set[str], *, but: tuple[str, ...] = ()) -> dict[str, set[str]]:
    found = {}
    for path in modules_under(*folders):
        name = str(path.relative_to(ROOT))
        if not name.startswith(but):
            bad = {module for module in imports_of(path) if module.split(".")[0] in forbidden}
            if bad:
                found[name] = bad
    return found


def test_the_files_are_found():
    assert len(modules_under("platform", "inference", "accounts")) > 40


def test_accounts_imports_nothing_of_ours():
    assert offenders(["accounts"], PLATFORM | {"inference"}) == {}


def test_inference_does_not_import_the_platform():
    assert offenders(["inference"], PLATFORM) == {}


def test_the_engine_imports_no_web_and_none_of_the_apps():
    assert offenders(["inference/engine"], WEB | PLATFORM | {"accounts"}) == {}
    for path in modules_under("inference/engine"):
        ours = {name for name in imports_of(path) if name.split(".")[0] == "inference"}
        assert all(name.startswith("inference.engine") for name in ours), path


def test_model_libraries_stay_in_the_engine():
    ours = ("inference/engine", "inference/builtin")
    assert offenders(["platform", "inference", "accounts"], MODEL_LIBRARIES, but=ours) == {}


def test_of_the_engine_others_see_only_its_protocol_and_its_options():
    """But for those that run one in their own process."""
    inside = ("inference/engine", "inference/builtin", "inference/direct", "inference/bench")
    for path in modules_under("platform", "inference", "accounts"):
        if not str(path.relative_to(ROOT)).startswith(inside):
            seen = {name for name in imports_of(path) if name.startswith("inference.engine.")}
            assert all(name.split(".")[2] in ("protocol", "options") for name in seen), path


def test_the_gateway_process_loads_no_model_library():
    """Imports are one thing, what they pull in another."""
    code = (
        "import sys, atelier.asgi, inference.supervisor, atelier.celery;"
        f"print(sorted(set(sys.modules) & {MODEL_LIBRARIES!r}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"


def test_the_engine_process_loads_no_django():
    code = "import sys, inference.engine.__main__; print('django' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "False"


def test_the_python_api_is_nobody_elses_part_and_loads_no_django():
    assert offenders(["inference/direct", "inference/bench"], WEB | PLATFORM | {"accounts"}) == {}
    users = [
        str(path.relative_to(ROOT))
        for path in modules_under("platform", "inference", "accounts")
        if any(name.startswith("inference.direct") for name in imports_of(path))
    ]
    others = {user for user in users if not user.startswith(("inference/direct/", "inference/bench/"))}
    assert others == {"platform/atelier/__init__.py"}
    code = "import sys; from atelier import LanguageModel; print('django' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "False"


def test_platform_is_the_standard_librarys():
    code = "import platform; print(platform.system())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() in ("Linux", "Darwin")
    assert not (ROOT / "platform" / "__init__.py").exists()


def test_the_top_level_is_as_agreed():
    listed = subprocess.run(["git", "ls-files"], capture_output=True, text=True, cwd=ROOT, check=False).stdout
    if not listed:
        pytest.skip("not a git checkout, so there is no list of what belongs to it")
    assert {name.split("/")[0] for name in listed.splitlines() if not name.startswith(".")} <= TOP_LEVEL
