"""Rules of the house that a machine can hold."""

from __future__ import annotations

import ast
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

import cagul
from cagul import errors

ROOT = Path(__file__).parent.parent
SOURCES = sorted((ROOT / "src").rglob("*.py"))


def test_public_names_load():
    assert cagul.__all__
    for name in cagul.__all__:
        assert getattr(cagul, name).__doc__
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        cagul.nothing  # noqa: B018


@pytest.mark.parametrize("script", sorted((ROOT / "benchmarks").glob("*.py")), ids=lambda path: path.stem)
def test_what_a_benchmark_imports_is_there(script):
    """Nobody runs the benchmarks at every change."""
    for node in ast.walk(ast.parse(script.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("cagul"):
            module = importlib.import_module(node.module)
            missing = [
                one.name
                for one in node.names
                if not hasattr(module, one.name)
                and importlib.util.find_spec(f"{node.module}.{one.name}") is None
            ]
            assert not missing, f"{node.module} has no {missing}"


@pytest.mark.parametrize(
    "code",
    [
        "import cagul",
        "from cagul.cli.app import app",
        "import cagul.evaluation.metrics.text_metrics, cagul.data.records",
        "import cagul.report.html, cagul.evaluation.summary",
    ],
)
def test_no_torch_where_none_is_needed(code):
    check = f"{code}; import sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0


def test_no_function_has_more_than_sixty_lines():
    """Docstrings count. The signature of a command does not: every option with its help is a parameter of
    it.
    """
    long = []
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                start = node.body[0].lineno if path.parent.name == "cli" else node.lineno
                if (lines := node.end_lineno - start + 1) > 60:
                    long.append(f"{path.name}: {node.name} has {lines} lines")
    assert not long


def test_every_anchor_leads_somewhere():
    sections = set(re.findall(r"^## (\S+)$", (ROOT / "docs" / "errors.md").read_text(), re.MULTILINE))
    classes = [c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, errors.CagulError)]
    used = {c.anchor for c in classes}
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Call)
                and getattr(node.func, "id", "") in {c.__name__ for c in classes}
                and len(node.args) == 3
            ):
                used.add(ast.literal_eval(node.args[2]))
    assert len(classes) >= 8
    assert len(used) >= 20
    assert used <= sections
    for error in classes:
        assert error.__name__ in (errors.__doc__ or "")


def test_every_raise_has_its_section():
    sections = re.findall(r"^## (\S+)$", (ROOT / "docs" / "errors.md").read_text(), re.MULTILINE)
    tree = {
        name: c
        for name, c in vars(errors).items()
        if isinstance(c, type) and issubclass(c, errors.CagulError)
    }
    raised = []
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Raise)
                and isinstance(node.exc, ast.Call)
                and getattr(node.exc.func, "id", "") in tree
            ):
                given = [*node.exc.args[2:], *(k.value for k in node.exc.keywords if k.arg == "anchor")]
                anchor = ast.literal_eval(given[0]) if given else tree[node.exc.func.id].anchor
                raised.append((f"{path.name}:{node.lineno}", anchor))
    assert len(raised) > 20
    assert [(where, anchor) for where, anchor in raised if anchor not in sections] == []
    text = "".join(path.read_text() for path in SOURCES)
    assert [s for s in sections if f'"{s}"' not in text] == []  # no section that nothing leads to
    assert len(sections) == len(set(sections))


def test_every_section_has_symptom_cause_and_remedy():
    parts = re.split(r"^## (\S+)$", (ROOT / "docs" / "errors.md").read_text(), flags=re.MULTILINE)[1:]
    pages = dict(zip(parts[::2], parts[1::2], strict=True))
    assert len(pages) > 20
    for name, page in pages.items():
        assert [w for w in ("Symptom", "Cause", "Remedy") if f"**{w}.**" not in page] == [], name


def test_the_page_of_metrics_is_the_registry():
    from cagul.evaluation.metrics.registry import markdown

    assert markdown() in (ROOT / "docs" / "metrics.md").read_text()


def test_exit_codes_are_those_of_the_docs():
    codes = {
        "UsageError": 2,
        "DataError": 3,
        "HostError": 4,
        "PatchError": 5,
        "StoreError": 6,
        "WriteError": 7,
        "CagulError": 1,
    }
    assert {name: getattr(errors, name).exit_code for name in codes} == codes


def test_the_version_is_one():
    assert cagul.__version__ in (ROOT / "CITATION.cff").read_text()
    assert cagul.__version__ in (ROOT / "CHANGELOG.md").read_text()


README = (ROOT / "README.md").read_text()


def test_the_readme_begins_in_a_hundred_words():
    introduction = README.split("```")[0].partition("\n")[2]
    assert 30 <= len(introduction.split()) <= 100


def test_the_readmes_tree_is_the_disk():
    tree = README.split("src/cagul/\n")[1].split("```")[0]
    shown = {line.split()[0].rstrip("/") for line in tree.splitlines() if line.startswith("  ")}
    home = ROOT / "src" / "cagul"
    disk = {p.name for p in home.iterdir() if not p.name.startswith("_") and p.suffix in ("", ".py")}
    assert shown == disk


@pytest.mark.no_cover
def test_the_readmes_lines_of_python_run(tiny_folder, tiny_records, tmp_path, monkeypatch, capsys):
    code = README.split("```python\n")[1].split("```")[0]
    places = {
        "path/to/llava": tiny_folder,
        "people/records.jsonl": tiny_records,
        "people/p003_4.png": tiny_records.parent / "p0_0.png",
    }
    for name, place in places.items():
        assert f'"{name}"' in code
        code = code.replace(f'"{name}"', repr(str(place)))
    code = code.replace('"p003", "p007"', '"p0"').replace(
        'load_config("default")', 'load_config("default", ["training.steps=2"])'
    )
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {})  # the page's own code
    assert "Decision(" in capsys.readouterr().out
    assert (tmp_path / "forget-two" / "config.json").exists()
