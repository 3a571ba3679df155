"""What the code never does: unpickle files, load YAML with objects, start shells, unpack to paths.

Each rule is tried on code that breaks it, so that a rule that finds nothing would fail, too.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from dist_erase.config.document import parse_yaml
from dist_erase.config.run import ObserveConfig

ROOT = Path(__file__).parents[2]
FOLDERS = ("dist_erase", "launchers", "monitoring", "benchmarks", "scripts")
SOURCES = sorted(p for folder in FOLDERS for p in (ROOT / folder).rglob("*.py"))
UNPICKLES = {
    *(f"{module}.{name}" for module in ("pickle", "cloudpickle", "dill", "marshal")
      for name in ("load", "loads", "Unpickler")),
    "joblib.load", "shelve.open", "torch.jit.load", "pandas.read_pickle",
}  # fmt: skip
RUNS_TEXT = {"eval", "exec", "__import__", "importlib.import_module", "runpy.run_path"}
SHELLS = {
    "os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput",
    "asyncio.create_subprocess_shell", "pty.spawn",
}  # fmt: skip
UNSAFE_YAML = {"yaml.full_load", "yaml.unsafe_load", "yaml.load_all", "yaml.full_load_all"}
UNPACKS = {"extractall", "extract", "unpack_archive"}
# DeepSpeed's own loader unpickles; our checkpoints are safetensors behind a checked manifest.
DEEPSPEED_LOADS = {"load_checkpoint", "load_universal_checkpoint", "load_state_dict_from_file"}
EVERYWHERE = {"0.0.0.0", "::"}


def name_of(node: ast.expr) -> str:
    """`a.b.c` of a call's function; "" of anything else."""
    if isinstance(node, ast.Name):
        return node.id
    return f"{name_of(node.value)}.{node.attr}" if isinstance(node, ast.Attribute) else ""


def keyword(call: ast.Call, name: str) -> object:
    """The constant given for a keyword; None if it is not given, ... if it is no constant."""
    for given in call.keywords:
        if given.arg == name:
            return given.value.value if isinstance(given.value, ast.Constant) else ...
    return None


def imported(tree: ast.AST) -> dict[str, str]:
    """Local name → full name, of everything that is imported."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {a.asname or a.name.partition(".")[0]: (a.asname and a.name) or
                      a.name.partition(".")[0] for a in node.names}  # fmt: skip
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
    return {local: full.replace("numpy", "np") for local, full in names.items()}


def violations(source: str) -> Iterator[str]:
    tree = ast.parse(source)
    names = imported(tree)
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        first, dot, rest = name_of(node.func).partition(".")
        name = f"{names.get(first, first)}{dot}{rest}"
        last = name.rpartition(".")[2]
        if name in UNPICKLES or last in DEEPSPEED_LOADS:
            yield f"line {node.lineno}: {name} unpickles"
        if name == "torch.load" and keyword(node, "weights_only") is not True:
            yield f"line {node.lineno}: torch.load without weights_only=True"
        if name == "np.load" and keyword(node, "allow_pickle") is not False:
            yield f"line {node.lineno}: np.load without allow_pickle=False"
        if name in RUNS_TEXT:
            yield f"line {node.lineno}: {name} runs text as code"
        if name in SHELLS or keyword(node, "shell") not in (None, False):
            yield f"line {node.lineno}: {name} starts a shell"
        if name in UNSAFE_YAML or (name == "yaml.load" and not is_safe_load(node, tree)):
            yield f"line {node.lineno}: {name} makes objects"
        if last == "Environment" and keyword(node, "autoescape") is not True:
            yield f"line {node.lineno}: a template that does not escape what it is given"
        if last in UNPACKS and dot:
            yield f"line {node.lineno}: {name} writes members of an archive to paths"
        if last in ("bind", "Server", "HTTPServer", "start_http_server"):
            constants = {n.value for n in ast.walk(node) if isinstance(n, ast.Constant)}
            if constants & EVERYWHERE:
                yield f"line {node.lineno}: {name} listens on every interface unasked"


def is_safe_load(call: ast.Call, tree: ast.AST) -> bool:
    """Whether the loader is SafeLoader, or a class of this module that is made of it."""
    loader = call.args[1] if len(call.args) > 1 else None
    given = name_of(loader) if loader is not None else ""
    safe = {"yaml.SafeLoader", "yaml.CSafeLoader"}
    classes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    derived = {
        c.name for c in classes if [name_of(base) for base in c.bases] == ["yaml.SafeLoader"]
    }
    return given in safe | derived


BROKEN = [
    "import pickle\npickle.load(f)",
    "from pickle import loads\nloads(b)",
    "import pickle as p\np.Unpickler(f)",
    "import torch\ntorch.load(f)",
    "import torch\ntorch.load(f, weights_only=False)",
    "import torch\ntorch.load(f, weights_only=choice)",
    "import numpy as np\nnp.load(f)",
    "import numpy\nnumpy.load(f, allow_pickle=True)",
    "engine.load_checkpoint(folder)",
    "eval(text)",
    "import importlib\nimportlib.import_module(name)",
    "import os\nos.system('ls')",
    "import subprocess\nsubprocess.run('ls', shell=True)",
    "import subprocess\nsubprocess.Popen('ls', shell=wish)",
    "import yaml\nyaml.load(text)",
    "import yaml\nyaml.load(text, yaml.FullLoader)",
    "import yaml\nyaml.unsafe_load(text)",
    "tar.extractall(folder)",
    "tar.extract(member, path=folder)",
    "import shutil\nshutil.unpack_archive(f)",
    "probe.bind(('0.0.0.0', 0))",
    "import jinja2\njinja2.Environment(loader=l)",
]


@pytest.mark.parametrize("code", BROKEN)
def test_each_rule_finds_what_breaks_it(code):
    assert list(violations(code))


def test_what_is_allowed_is_not_found():
    code = (
        "import torch, numpy as np, subprocess, yaml\n"
        "class L(yaml.SafeLoader): pass\n"
        "torch.load(f, weights_only=True); np.load(f, allow_pickle=False); yaml.load(t, L)\n"
        "subprocess.run(['ls']); tar.extractfile(m); yaml.safe_load(t); probe.bind(('', 0))\n"
    )
    assert list(violations(code)) == []


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_rule_is_broken(path):
    assert list(violations(path.read_text(encoding="utf-8"))) == []


def test_there_are_sources_to_look_at():
    assert len(SOURCES) > 150


@pytest.mark.parametrize("text", ["!!python/object/apply:os.mkdir [crater]", "a: !!python/name:os"])
def test_yaml_makes_no_objects(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(yaml.YAMLError):
        parse_yaml(text)
    assert list(tmp_path.iterdir()) == []


def test_addresses_are_on_loopback_unless_asked():
    assert ObserveConfig().bind == "127.0.0.1"
    with pytest.raises(ValueError, match="needs a bind that other machines can reach"):
        ObserveConfig(per_node=True)
