"""The index that `distmatch list` and `distmatch show` print from."""

import json
import subprocess
import sys

from distmatch.runs import listing


def test_the_index_is_what_the_declarations_say():
    kept = json.loads(listing.INDEX.read_text(encoding="utf-8"))
    assert kept == listing.index(), "a declaration has changed: `make index`"


def test_lists_and_systems_are_shown_without_torch():
    for command in (["list", "systems"], ["show", "vgh++"]):
        code = (
            "import sys; from distmatch import cli; "
            f"code = cli.run({command!r}); sys.exit(code or 'torch' in sys.modules)"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "vgh++" in done.stdout or "q(z)" in done.stdout
