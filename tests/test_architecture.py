"""Layers, import directions, lazy imports, one package that prints."""

from __future__ import annotations

import ast
import importlib
import json
import os
import re
import subprocess
import sys
from collections import Counter
from itertools import chain
from pathlib import Path

import pytest

import hyperpeft
from hyperpeft.runs import file_names
from tools.write_pages import (
    ARCHITECTURE,
    all_imports,
    imports_of,
    layer_of,
    modules,
    pages,
)

LAYERS = re.findall(r"^\| `(\w+)` \|", ARCHITECTURE.read_text(encoding="utf-8"), re.MULTILINE)
DATA, MODEL = {"scenes", "splits", "spectral", "spatial"}, {"models", "adapters"}
GROUND = {"errors", "_version", "progress", "metrics", "records", "system"}
MAY_PRINT = {"cli"}
NO_FACE = {"", "system", "training", "runs", "pretraining", "benchmark", "cli"}
OPEN_FACE = {"models", "mapping", "baselines"}  # some of their modules are used directly


MODULES = modules()


def violations(imports: dict[str, set[str]]) -> list[str]:
    """Imports that point down the table of layers, or between data and model."""
    wrong = []
    for module, targets in imports.items():
        own = layer_of(module)
        for target in targets:
            other = layer_of(target)
            if "" in (own, other) or own == other:
                continue
            if own not in LAYERS or other not in LAYERS:
                wrong.append(f"{module} imports {target}: not in the table of {ARCHITECTURE.name}")
            elif LAYERS.index(other) > LAYERS.index(own):
                wrong.append(f"{module} imports {target}, which is below it")
            elif (own in DATA and other in MODEL) or (own in MODEL and other in DATA):
                wrong.append(f"{module} imports {target}: data and model meet in training")
    return sorted(wrong)


def circle(imports: dict[str, set[str]]) -> list[str]:
    """One circle of modules, or an empty list."""
    state: dict[str, int] = {}
    path: list[str] = []

    def visit(name: str) -> list[str]:
        state[name] = 1
        path.append(name)
        for target in sorted(imports.get(name, ())):
            if state.get(target) == 1:
                return [*path[path.index(target) :], target]
            if target not in state and (found := visit(target)):
                return found
        path.pop()
        state[name] = 2
        return []

    for name in imports:
        if name not in state and (found := visit(name)):
            return found
    return []


def test_every_module_is_in_the_table():
    found = {layer_of(name) for name in MODULES} - {""}
    assert found <= set(LAYERS), "give a new package its row in docs/explanation/architecture.md"
    assert len(found) > 15  # the walk found the package


def test_imports_point_upward():
    assert violations(all_imports()) == []


def test_the_figure_is_that_of_the_imports():
    text = ARCHITECTURE.read_text(encoding="utf-8")
    assert pages()[ARCHITECTURE] == text, "run python -m tools.write_pages"


def faces() -> dict[str, set[str]]:
    """Of every package that has a face the names in it: `__all__` of its `__init__`."""
    found = {}
    for name, path in MODULES.items():
        if path.name == "__init__.py" and name.count(".") == 1:
            for node in ast.parse(path.read_text()).body:
                if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
                    found[layer_of(name)] = set(ast.literal_eval(node.value))
    return found


def past_a_face(source: str, module: str, known: dict[str, set[str]]) -> list[str]:
    """Imports of a module that name what the face of another package does not."""
    wrong = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            named = [(alias.name, "") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            named = [(node.module or "", alias.name) for alias in node.names]
        else:
            continue
        for place, name in named:
            package = layer_of(place) if place.startswith("hyperpeft.") else ""
            if package == layer_of(module) or package not in known:
                continue
            if place != f"hyperpeft.{package}" or name not in known[package]:
                wrong.append(f"{module}:{node.lineno}: {name or place} past the face of {package}")
    return wrong


def test_nobody_imports_past_a_face():
    """A package without names in its `__init__` has none: its modules are what others use."""
    known = {package: names for package, names in faces().items() if package not in OPEN_FACE}
    without = {layer_of(name) for name, path in MODULES.items() if path.name == "__init__.py"}
    assert without - faces().keys() <= NO_FACE
    wrong = (past_a_face(path.read_text(), name, known) for name, path in MODULES.items())
    assert list(chain.from_iterable(wrong)) == []


def test_the_names_of_a_face_are_there():
    for package, names in faces().items():
        module = importlib.import_module(f"hyperpeft.{package}")
        for name in names:
            if not hasattr(module, name):  # a module of the package
                importlib.import_module(f"hyperpeft.{package}.{name}")


def test_the_check_of_faces_sees_what_it_must():
    known = {"scenes": {"open_scene"}}
    seen = "from hyperpeft.scenes import open_scene\nfrom hyperpeft.system.files import replacing\n"
    assert past_a_face(seen, "hyperpeft.runs.load", known) == []
    inside = "from hyperpeft.scenes.open import x"
    assert past_a_face(inside, "hyperpeft.scenes.sources", known) == []
    for line in ("from hyperpeft.scenes.open import open_scene", "import hyperpeft.scenes.open",
                 "from hyperpeft.scenes import open"):  # fmt: skip
        assert len(past_a_face(line, "hyperpeft.runs.load", known)) == 1


def module_list_faults(paths: list[Path]) -> list[str]:
    """Folders of too many modules, names of actions and long modules among files of a package."""
    folders = Counter(path.parent for path in paths)
    faults = [f"{folder}: {count} modules" for folder, count in folders.items() if count > 24]
    for path in paths:
        # A package is named by its field (training, mapping); a module by what is in it.
        if path.stem.endswith("ing"):
            faults.append(f"{path}: name a module by a noun")
        if path.is_file() and len(path.read_text().splitlines()) > 400:
            faults.append(f"{path}: more than 400 lines")
    return sorted(faults)


def test_modules_are_few_in_a_folder_short_and_named_by_nouns():
    assert module_list_faults(list(MODULES.values())) == []


def test_the_check_of_modules_sees_what_it_must(tmp_path):
    (tmp_path / "long.py").write_text("\n" * 401)
    paths = [tmp_path / "long.py", tmp_path / "a" / "scoring.py"]
    paths += [tmp_path / "b" / f"m{i}.py" for i in range(25)]
    faults = module_list_faults(paths)
    assert len(faults) == 3
    assert all(any(word in f for f in faults) for word in ("25 modules", "noun", "400 lines"))


def test_no_circle():
    assert circle(all_imports()) == []


def test_package_imports_nothing_when_loaded():
    code = "import hyperpeft, sys; print(*sorted(m for m in sys.modules if 'hyperpeft.' in m))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["hyperpeft._version"]


def names_not_there(source: str) -> list[str]:
    """Names that a script imports from the package, in functions too, and that it lacks."""
    missing = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("hyperpeft"):
            for name in (alias.name for alias in node.names):
                try:
                    if not hasattr(importlib.import_module(node.module), name):
                        importlib.import_module(f"{node.module}.{name}")
                except ModuleNotFoundError:
                    missing.append(f"{node.module}.{name}")
    return missing


def test_scripts_import_what_is_there():
    """No test runs all of them, and a module that is moved would leave them behind."""
    root = Path(__file__).parents[1]
    scripts = [*root.glob("tools/**/*.py"), *root.glob("benchmarks/*.py")]
    assert len(scripts) > 10
    assert {p.name: m for p in scripts if (m := names_not_there(p.read_text()))} == {}
    says = "def f():\n    from hyperpeft.metrics import no_name\n    from hyperpeft import runs"
    assert names_not_there(says) == ["hyperpeft.metrics.no_name"]


def test_adapter_methods_know_the_contract_only():
    """A method's file is one in which a subclass of Adapter is registered."""
    imports, methods = all_imports(), []
    for name, path in MODULES.items():
        if layer_of(name) == "adapters" and "@register(" in path.read_text():
            methods.append(name)
            allowed = {"hyperpeft.adapters.base", "hyperpeft.errors"}
            assert imports[name] <= allowed, name
    assert "hyperpeft.adapters.kronecker" in methods


@pytest.mark.parametrize("package", ["splits", "spectral", "spatial"])
def test_packages_of_arrays_know_the_ground_only(package):
    for name, targets in all_imports().items():
        if layer_of(name) == package:
            assert {layer_of(t) for t in targets} <= GROUND | {package}, name


@pytest.mark.parametrize(
    ("module", "source", "says"),
    [
        ("hyperpeft.metrics", "from hyperpeft.scenes import open_scene", "below it"),
        ("hyperpeft.records", "from hyperpeft.models.spectralgpt import PATCH", "below it"),
        ("hyperpeft.models", "def f():\n    import hyperpeft.splits", "data and model"),
        ("hyperpeft.training.loop", "from hyperpeft.runs import bundle", "below it"),
        ("hyperpeft.runs.bundle", "from ..cli import console", "below it"),
        ("hyperpeft.adapters.base", "from ..training.optim import cosine", "below it"),
        ("hyperpeft.scenes.open", "from hyperpeft import newcomer", "not in the table"),
        (
            "hyperpeft.errors",
            "if TYPE_CHECKING:\n    from hyperpeft.records import Scene",
            "below it",
        ),
    ],
)
def test_the_check_sees_what_it_must(module, source, says):
    known = {*MODULES, "hyperpeft.newcomer"}
    found = violations({module: imports_of(source, module, known, is_package=False)})
    assert len(found) == 1
    assert says in found[0]


def test_the_check_sees_a_circle():
    imports = {"a": {"b"}, "b": {"c"}, "c": {"b"}}
    assert circle(imports) == ["b", "c", "b"]
    assert circle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


@pytest.mark.parametrize("name", sorted(MODULES))
def test_every_module_imports(name):
    importlib.import_module(name)


@pytest.mark.parametrize("name", sorted(m for m in MODULES if layer_of(m) not in MAY_PRINT))
def test_only_the_command_line_prints(name):
    for node in ast.walk(ast.parse(MODULES[name].read_text())):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in {"print", "sys.stdout.write", "sys.stderr.write"}, node.lineno
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [getattr(node, "module", None) or "", *(alias.name for alias in node.names)]
            assert not any(n.split(".")[0] in ("rich", "typer", "click") for n in names), (
                node.lineno
            )


def loaded_after(code: str) -> tuple[set[str], float]:
    """Top-level modules loaded by code in a fresh interpreter, and the seconds it took there."""
    script = (
        "import sys, time; before = set(sys.modules); start = time.perf_counter()\n"
        f"{code}\n"
        "spent = time.perf_counter() - start\n"
        "import json; print(json.dumps([sorted(set(sys.modules) - before), spent]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    modules, seconds = json.loads(done.stdout.splitlines()[-1])
    return {name.split(".")[0] for name in modules}, seconds


def test_import_costs_nothing():
    runs = [loaded_after("import hyperpeft") for _ in range(3)]
    assert not runs[0][0] & {"torch", "numpy", "xarray", "rasterio", "typer", "rich"}
    assert min(seconds for _, seconds in runs) < 0.1


def _children() -> float:
    """Processor seconds of all child processes that have ended."""
    times = os.times()
    return times.children_user + times.children_system


def test_help_loads_nothing_heavy_and_answers_at_once(tmp_path):
    code = (
        "import io, contextlib; sys.argv = ['hyperpeft', '--help']\n"
        "from hyperpeft.cli import main\n"
        "with contextlib.redirect_stdout(io.StringIO()) as text: main()\n"
        "assert 'Usage' in text.getvalue()"
    )
    modules, _ = loaded_after(code)
    assert "typer" in modules
    assert not modules & {"torch", "numpy", "xarray", "rasterio", "scipy", "pydantic", "matplotlib"}
    script = [sys.executable, "-c", "from hyperpeft.cli import main; main()", "--help"]
    # Bytecode is kept, as it is where a user works: the first of the five writes it.
    kept = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    kept["PYTHONPYCACHEPREFIX"] = str(tmp_path)
    seconds = []
    for _ in range(5):  # the best of five, of the processor: other tests run beside this one
        start = _children()
        subprocess.run(script, capture_output=True, check=True, env=kept)
        seconds.append(_children() - start)
    assert min(seconds) < 0.4


@pytest.mark.parametrize("command", ["train", "evaluate", "map", "bench", "pretrain", "report"])
def test_the_help_of_a_command_loads_no_torch(command):
    modules, _ = loaded_after(
        f"sys.argv = ['hyperpeft', '{command}', '--help']\n"
        "from hyperpeft.cli import main\n"
        "import io, contextlib\n"
        "with contextlib.redirect_stdout(io.StringIO()) as text: main()\n"
        "assert 'Usage' in text.getvalue()"
    )
    assert not modules & {"torch", "sklearn", "xarray", "rasterio", "matplotlib"}


def test_a_report_is_made_without_what_computes():
    modules, _ = loaded_after("import hyperpeft.report")
    assert not modules & {"torch", "xarray", "rasterio", "sklearn", "distributed", "matplotlib"}


def indented_imports(path: Path) -> list[tuple[int, str]]:
    """Line and text of the imports inside functions and conditions, but for type checkers."""
    tree = ast.parse(path.read_text())
    checked = {
        id(node)
        for branch in ast.walk(tree)
        if isinstance(branch, ast.If) and ast.unparse(branch.test) == "TYPE_CHECKING"
        for part in branch.body
        for node in ast.walk(part)
    }
    return [
        (node.lineno, ast.unparse(node))
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        if node.col_offset > 0 and id(node) not in checked
    ]


def test_imports_inside_functions_are_few_and_have_a_reason():
    """It stands on the line, above it or, for a whole module, in the module's docstring."""
    count, without = 0, []
    for name, path in MODULES.items():
        lines = path.read_text().splitlines()
        page = ast.get_docstring(ast.parse(path.read_text())) or ""
        for number, text in indented_imports(path):
            count += 1
            above = number - 1
            while above and lines[above - 1].strip().startswith(("import ", "from ")):
                above -= 1
            near = lines[above - 1 : number]
            if not any("#" in line for line in near) and "import" not in page:
                without.append(f"{name}:{number}: {text}")
    assert count < 70
    assert without == []


def calls_of(function: str) -> set[str]:
    """Modules in which a function is called by this name."""
    return {
        name
        for name, path in MODULES.items()
        if any(
            isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] == function
            for node in ast.walk(ast.parse(path.read_text()))
        )
    }


def test_one_guard_serves_every_output_folder():
    """A cell of a benchmark waits for the process that computes it, which is no output's lock."""
    guard = "hyperpeft.system.output_folder"
    assert calls_of("locked") == {guard, "hyperpeft.benchmark.cells"}
    assert calls_of("sweep") == {guard}
    assert calls_of("output_folder") == {
        "hyperpeft.runs.folder", "hyperpeft.pretraining.run", "hyperpeft.benchmark.run",
        "hyperpeft.report.page", "hyperpeft.mapping.work_folder",
        "hyperpeft.explorer.label_store",
    }  # fmt: skip


def test_the_names_of_run_files_are_spelled_once():
    names = {v for v in vars(file_names).values() if isinstance(v, str) and "." in v}
    names = {name for name in names if name.count("\n") == 0 and "hyperpeft" not in name}
    assert {"run.json", "split.npz", "map.tif", "bench.json"} <= names
    for module, path in MODULES.items():
        if module == "hyperpeft.runs.file_names":
            continue
        spelled = {
            node.value
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        }
        assert not spelled & names, module


def test_public_names():
    assert set(hyperpeft.__all__) <= set(dir(hyperpeft))
    for name in hyperpeft.__all__:
        assert getattr(hyperpeft, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'trane'"):
        _ = hyperpeft.trane
