"""What `import distmatch as dm` gives."""

import ast
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import distmatch as dm

GROUPS = {
    "verbs": "train load evaluate report Run",
    "draws": "X X_GEN X_LENS X_NEAR X_REC Z_CODE Z_MARGINAL Z_NEAR Z_PRIOR Z_REC",
    "sums": "Objective Term parse Ramp",
    "terms": "NLL KL IWAE TargetRate Match Distance CosineDistance FeatureDistance MMD CodeKL Clamp "
    "AdaptiveContrast MixedBatch",
    "training": "Feed RMSProp SGD Adam Settings Diverged Trainer",
    "measuring": "Metric metric Estimate Critic Model",
    "rooms": "data dirac distributions metrics networks systems testing comparisons penalties",
    "others": "BadInput __version__",
}
NAMES = [name for names in GROUPS.values() for name in names.split()]
SOURCE = Path(dm.__file__).parent


def test_these_names_are_public():
    assert sorted(dir(dm)) == sorted(NAMES)
    assert all(getattr(dm, name) is not None for name in NAMES)
    with pytest.raises(AttributeError, match="has no attribute 'player'"):
        dm.player  # noqa: B018


def test_no_name_is_shadowed_by_another_module():
    """Importing a subpackage sets its name: one that means something else here would then be lost."""
    rooms = {path.name.removesuffix(".py") for path in SOURCE.iterdir() if path.suffix in ("", ".py")}
    for name in set(NAMES) & rooms:
        assert getattr(dm, name).__name__ == f"distmatch.{name}"


def test_every_public_function_and_class_has_an_example():
    for name in NAMES:
        made = getattr(dm, name)
        if isinstance(made, type) or callable(made):
            examples = (made.__doc__ or "") + (getattr(made, "__init__", made).__doc__ or "")
            assert ">>>" in examples, name


def test_no_module_is_shadowed_by_a_function_of_its_package():
    for init in SOURCE.rglob("__init__.py"):
        tree = ast.parse(init.read_text(encoding="utf-8"))
        given = {a.asname or a.name for n in tree.body if isinstance(n, ast.ImportFrom) for a in n.names}
        modules = {p.stem for p in init.parent.iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()}
        assert given & modules == set(), init


def test_the_face_loads_nothing_before_it_is_asked():
    code = "import sys, distmatch; distmatch.__version__; dir(distmatch); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_room_of_the_face_is_a_module():
    assert isinstance(dm.comparisons, ModuleType)
    assert dm.comparisons.WASSERSTEIN.name == "wasserstein"


def test_the_glossary_has_every_draw_of_the_six():
    page = (SOURCE.parents[1] / "docs" / "glossary.md").read_text(encoding="utf-8")
    for name in ("X", "Z_PRIOR", "Z_CODE", "X_REC", "X_GEN", "Z_REC"):
        symbol = getattr(dm, name).symbol
        assert f"| `{name}` | {symbol} |" in page
