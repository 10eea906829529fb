import gc
import subprocess
import sys

from dsnotes.safety.quick_imports import _import_without, quick_imports


def test_notebook_libraries_come_without_a_server_and_work():
    code = """
import sys
from dsnotes.safety.quick_imports import import_notebook_libraries
import_notebook_libraries()
print(sorted({"jupyter_server", "pyarrow", "rfc3987_syntax"} & set(sys.modules)))
import jupytext, papermill.engines
print(jupytext.reads("# %%\\n1 + 1", fmt="py").cells[0].source)
import jupyter_server, jupytext.sync_contentsmanager
print(bool(jupytext.sync_contentsmanager.TextFileContentsManager.__mro__))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]", "1 + 1", "True"]


def test_what_was_loaded_before_is_not_hidden(tmp_path, monkeypatch):
    (tmp_path / "needs_it.py").write_text(
        "import json\ntry:\n    import tabnanny\nexcept ImportError:\n    tabnanny = None\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "tabnanny", raising=False)
    _import_without("needs_it", "json", "tabnanny")
    found = sys.modules.pop("needs_it")
    assert found.json is sys.modules["json"]
    assert found.tabnanny is None
    assert "tabnanny" not in sys.modules


def test_only_an_import_is_taken_out_of_later_collections(tmp_path, monkeypatch):
    (tmp_path / "just_made.py").write_text("many = [[] for _ in range(1000)]\n")
    monkeypatch.syspath_prepend(tmp_path)
    gc.unfreeze()
    with quick_imports():
        assert not gc.isenabled()
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0
    with quick_imports():
        import just_made  # noqa: F401
    assert gc.isenabled()
    assert gc.get_freeze_count() >= 1000
    gc.unfreeze()
    sys.modules.pop("just_made")
