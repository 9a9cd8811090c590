"""A package with entry points, installed into a folder of the test: named in plans, listed, and refused in one line."""

import http.server
import importlib
import json
import re
import shutil
import subprocess
import sys
import threading
from dataclasses import dataclass
from functools import partial
from importlib.metadata import EntryPoint
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import click
import numpy as np
import pytest
from click.testing import CliRunner

import miaudit
from miaudit.attacks import Attack
from miaudit.attacks.choice import chosen_attacks, class_of, further_attacks
from miaudit.cli import main
from miaudit.errors import PlanError, PoolError, place_of
from miaudit.plugins import Plugin, plugin, plugins
from miaudit.recipes import fingerprint_of_recipe, recipe_of_plugin
from miaudit.shadows.training import _failure
from miaudit.targets import as_target, connect
from miaudit.targets.wire import Wire, _declared
from miaudit.testing import check_attack, check_format, check_recipe, check_target

PACKAGE = Path(__file__).parent / "plugins"


@pytest.fixture
def installed(tmp_path, monkeypatch):
    folder = tmp_path / "site-packages"
    shutil.copytree(PACKAGE, folder)
    monkeypatch.syspath_prepend(folder)
    _declared.cache_clear()
    yield folder
    _declared.cache_clear()
    for name in [name for name in sys.modules if name.startswith("miaudit_example")]:
        del sys.modules[name]


@pytest.fixture
def plan(tmp_path):
    rng = np.random.default_rng(0)
    y = np.arange(300) % 3
    X = np.eye(3, 4)[y] + rng.normal(size=(300, 4))
    np.savez(tmp_path / "records.npz", X=X, y=y)
    return {
        "data": {"path": str(tmp_path / "records.npz")},
        "split": {"members": 60},
        "recipe": {"plugin": "centroids", "params": {"sharpness": 4.0}, "encode": False},
        "shadows": {"count": 2},
        "attacks": ["margin", "threshold"],
        "engine": {"jobs": 0},
    }


def test_what_the_package_declares_keeps_the_promises_of_its_kind(installed):
    check_attack(plugin("attacks", "margin").load()())
    check_recipe(recipe_of_plugin("centroids", {"sharpness": 4.0}))
    X = np.random.default_rng(0).normal(size=(6, 2))
    check_target(as_target(plugin("targets", "nearest-centre").make({"centres": [[0, 0], [1, 1]]}), classes=2), X)
    pipes = plugin("wire", "pipes").load()
    check_format(pipes, Wire("pipes", model="m"), X[:2], b"0.25|0.75\n0.5|0.5", np.array([[0.25, 0.75], [0.5, 0.5]]))


def test_a_plan_names_an_attack_and_a_recipe_and_the_result_says_whose_they_are(installed, plan, tmp_path):
    result = miaudit.audit(plan, out=tmp_path / "out")
    assert [each.name for each in result.attacks][:2] == ["margin", "threshold"]
    assert result.attack("margin").status == "ran"
    assert result.provenance.versions["miaudit_example"] == "1.0"
    plan["attacks"] = [{"name": "margin", "power": 3.0}]
    odd = miaudit.audit(plan, out=tmp_path / "out")  # its models are those of the first run
    cubed = odd.attack("margin power=3.0")
    assert cubed.options["power"] == 3.0
    assert odd.provenance.shadow_cost.trained_now == 0
    assert cubed.auc.value == result.attack("margin").auc.value  # of the same order


def place(file, text):
    """Return how a line of a file is told that holds a text."""
    return f" in {file}, line {next(i for i, line in enumerate(file.read_text().splitlines(), 1) if text in line)}"


def test_a_recipe_that_raises_an_error_of_a_library_is_told_with_its_own_line(installed, plan):
    plan["recipe"]["params"] = {"file": "none.txt"}
    code = installed / "miaudit_example" / "recipe.py"
    with pytest.raises(PoolError, match=re.escape(f". It was raised{place(code, 'click.Path')}. ")):
        miaudit.audit(plan)


def test_an_attack_that_falls_over_while_it_runs_is_told_as_failed_and_the_others_run(installed, plan, tmp_path):
    code = installed / "miaudit_example" / "attack.py"
    for option, reason in (
        ("fails", "ZeroDivisionError: as it was asked to"),
        ("exits", f"its code called sys.exit(3){place(code, 'raise SystemExit(3)')}"),
        ("commands", f"its code called sys.exit(2){place(code, 'click.Command')}"),
    ):
        plan["attacks"] = [{"name": "margin", option: True}, "threshold"]
        result = miaudit.audit(plan)
        assert (result.attacks[0].status, result.attack("threshold").status) == ("failed", "ran")
        assert result.attacks[0].reason == reason


def test_a_plan_names_a_target(installed, plan, tmp_path):
    (tmp_path / "members.txt").write_text("\n".join(map(str, range(60))))
    (tmp_path / "nonmembers.txt").write_text("\n".join(map(str, range(60, 120))))
    plan["split"] = {side: str(tmp_path / f"{side}.txt") for side in ("members", "nonmembers")}
    plan["target"] = {"plugin": "nearest-centre", "params": {"centres": np.eye(3, 4).tolist()}, "description": "theirs"}
    result = miaudit.audit(plan)
    assert any(name.startswith("target_plugin/miaudit-example 1.0") for name in result.provenance.hashes)
    plan["split"] = {"members": 60}
    with pytest.raises(PlanError, match=r"target.plugin names a trained model"):
        miaudit.audit(plan)


class Pipes(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        rows = self.rfile.read(int(self.headers["Content-Length"])).decode().splitlines()
        body = "\n".join("0.25|0.75" if float(row.split("|")[0]) > 0 else "0.5|0.5" for row in rows).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args): ...


def test_a_server_is_spoken_to_in_a_format_of_the_package(installed):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pipes)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        target = connect(f"http://127.0.0.1:{server.server_port}", format="pipes", model="m", classes=2, contact=1)
        X = np.array([[1.0, 2.0], [-1.0, 2.0]])
        np.testing.assert_allclose(target.answer(X).values, [[0.25, 0.75], [0.5, 0.5]])
        assert target.facts()["package"] == "miaudit-example 1.0"
        target.close()
    finally:
        server.shutdown()
        server.server_close()
    with pytest.raises(PlanError, match=r"body: does not belong to format 'pipes', which takes model, output"):
        Wire("pipes", body="{}")


def test_the_list_of_attacks_has_those_of_packages_and_tells_of_broken_ones_in_one_line_each(installed):
    outcome = CliRunner().invoke(main, ["attacks", "--json"])
    rows = {row["name"]: row for row in json.loads(outcome.stdout)}
    assert outcome.exit_code == 0
    assert (rows["margin"]["package"], rows["margin"]["use"]) == ("miaudit-example 1.0", "an example")
    assert rows["lira offline"]["package"] is None
    assert rows["lira offline"]["use"] != rows["lira"]["use"]
    lines = outcome.stderr.splitlines()
    assert len(lines) == 3
    assert all("of miaudit-example 1.0" in line for line in lines)
    assert [name for name, _ in further_attacks()[0]] == ["miaudit-example 1.0"]


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        (
            "not-there",
            r"^attacks.0: the plug-in 'not-there' of miaudit-example 1.0 cannot be loaded: ModuleNotFoundError: .*$",
        ),
        (
            "falls-over",
            r"^attacks.0: the plug-in 'falls-over' of miaudit-example 1.0 .* RuntimeError: broken on purpose$",
        ),
        (
            "no-attack",
            r"^attacks.0: the plug-in 'no-attack' of .* must be a frozen dataclass derived from miaudit.attacks.Attack$",
        ),
        ("margim", r"^attacks.0: unknown attack 'margim'; did you mean 'margin'\?$"),
    ],
)
def test_a_broken_plug_in_is_one_line_that_names_its_package(installed, name, problem):
    with pytest.raises(PlanError, match=problem):
        chosen_attacks([name])


@pytest.mark.parametrize("leave", ["sys.exit", "os._exit"])
def test_a_module_that_ends_the_program_when_it_is_imported_is_told_as_such_and_not_as_the_target(
    installed, plan, tmp_path, leave
):
    code = f"import os, sys\n{leave}(3)\n"
    (installed / "miaudit_example" / "broken.py").write_text(code)
    (tmp_path / "leaving.py").write_text(code)
    reason = rf"its code called {leave}\(3\) in .*"
    plug_in = r"the plug-in 'falls-over' of miaudit-example 1.0 cannot be loaded: "
    with pytest.raises(PlanError, match=rf"^attacks\.0: {plug_in}{reason}broken\.py, line 2$"):
        miaudit.audit(plan | {"attacks": ["falls-over"]})
    function = {"function": f"{tmp_path / 'leaving.py'}:make"}
    with pytest.raises(PlanError, match=rf"leaving.py cannot be imported: {reason}leaving\.py, line 2$"):
        miaudit.audit(plan | {"recipe": function}, allow_code=True)


@dataclass(frozen=True)
class Lacking(Attack):
    name: ClassVar[str] = "lacking"
    needs: ClassVar[frozenset[str]] = frozenset({"classes"})
    when: ClassVar[None] = None

    def run(self, evidence, *, seed=0): ...


@dataclass(frozen=True)
class Asking(Attack):
    name: ClassVar[str] = "asking"

    @property
    def questions(self):
        raise RuntimeError("on purpose")

    def run(self, evidence, *, seed=0): ...


@pytest.mark.parametrize(
    ("kind", "problem"),
    [
        (
            Lacking,
            r"'lacking' of an unknown package must have title, paper, when \(a Mapping, got a NoneType\) as "
            "miaudit.attacks.Attack describes",
        ),
        (Asking, "'asking' of an unknown package cannot be made with its defaults: RuntimeError: on purpose"),
    ],
)
def test_an_attack_that_keeps_no_promise_is_named_before_anything_reads_it(kind, problem):
    entry = EntryPoint(kind.name, f"{__name__}:{kind.__name__}", "miaudit.attacks")
    with pytest.raises(PlanError, match=f"^the plug-in {problem}$"):
        class_of(Plugin(entry))


class Bare(Attack):
    name = "bare"

    def run(self, evidence, *, seed=0): ...


@dataclass(frozen=True)
class Namesake(Lacking):
    name, title, paper, when = "lira", "Another", "", {}


@dataclass(frozen=True)
class Offline(Namesake):
    name = "lira offline"


@pytest.mark.parametrize(
    ("kind", "problem"),
    [
        (Bare, "the class Bare must be a dataclass: put @dataclass"),
        (
            Lacking,
            r"the class Lacking must have title, paper, when \(a Mapping, got a NoneType\) as miaudit.attacks.Attack describes",
        ),
        (Namesake, "Namesake is called 'lira', as an attack of miaudit is; give it another name"),
        (Offline, "Offline is called 'lira offline', as an attack of miaudit is; give it another name"),
    ],
)
def test_an_attack_that_a_call_gives_keeps_the_same_promises(kind, problem):
    with pytest.raises(PlanError, match=rf"^attacks\.0: {problem}"):
        chosen_attacks([kind()])


def test_options_of_a_plug_in_are_checked_as_ours_are(installed):
    with pytest.raises(PlanError, match=r"attacks.0.powr: unknown key; did you mean 'power'\?"):
        chosen_attacks([{"name": "margin", "powr": 2}])
    with pytest.raises(PlanError, match=r"attacks.0.power: .*got 'much'"):
        chosen_attacks([{"name": "margin", "power": "much"}])
    margin = (
        r"^attacks.0: the plug-in 'margin' of miaudit-example 1.0 cannot be made with the options {'power': -1.0}: "
    )
    with pytest.raises(PlanError, match=margin + "ValueError: power must be above 0$"):
        chosen_attacks([{"name": "margin", "power": -1.0}])
    with pytest.raises(PlanError, match="'pipes' of miaudit-example 1.0 cannot write the records: ValueError"):
        Wire("pipes").encode(np.array([["a"]]))
    with pytest.raises(PlanError, match=r"'centroids' of miaudit-example 1.0 refuses its parameters {'sharp': 1}"):
        recipe_of_plugin("centroids", {"sharp": 1})
    with pytest.raises(PlanError, match=r"unknown format 'pipe'; did you mean 'pipes'\?"):
        Wire("pipe")


def test_two_packages_that_declare_one_name_are_both_named(installed, tmp_path):
    second = installed / "other-2.0.dist-info"
    shutil.copytree(installed / "miaudit_example-1.0.dist-info", second)
    (second / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 2.0\n")
    with pytest.raises(
        PlanError, match=r"'margin' is declared by (miaudit-example 1.0 and by other 2.0|other 2.0 and by mia)"
    ):
        class_of(plugin("attacks", "margin"))


def test_a_row_has_another_name_under_another_version_of_the_package(installed):
    first = fingerprint_of_recipe(recipe_of_plugin("centroids", {}))
    assert first.packages["miaudit_example"] == "1.0"
    metadata = installed / "miaudit_example-1.0.dist-info" / "METADATA"
    metadata.write_text(metadata.read_text().replace("1.0", "1.1"))
    second = fingerprint_of_recipe(recipe_of_plugin("centroids", {}))
    assert second.packages["miaudit_example"] == "1.1"
    assert first.sha256 != second.sha256


def test_nothing_of_a_package_is_imported_before_it_is_named(installed):
    code = (
        "import sys; import miaudit.cli\n"
        "from miaudit.attacks.choice import chosen_attacks\n"
        "chosen_attacks(['lira', {'name': 'rmia', 'mode': 'online'}])\n"
        "assert not [name for name in sys.modules if name.startswith('miaudit_example')]\n"
    )
    subprocess.run([sys.executable, "-c", f"import sys; sys.path.insert(0, {str(installed)!r})\n{code}"], check=True)
    assert [each.name for each in plugins("wire")] == ["pipes"]


@pytest.fixture
def unreadable(installed):
    """Install packages whose entry points are no text, no table, and those of no name."""
    for name, content in (("letters", b"\xff\xfe"), ("lines", b"[miaudit.attacks]\nmargin\n"), ("nameless", b"\xff")):
        (installed / f"{name}-1.0.dist-info").mkdir()
        (installed / f"{name}-1.0.dist-info" / "entry_points.txt").write_bytes(content)
        if name != "nameless":
            metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
            (installed / f"{name}-1.0.dist-info" / "METADATA").write_text(metadata)
    importlib.invalidate_caches()
    return installed


def test_a_package_whose_entry_points_cannot_be_read_is_left_out_and_named_where_a_name_is_unknown(unreadable):
    assert plugin("attacks", "margin").distribution == "miaudit-example 1.0"
    problems = [text for text in further_attacks()[1] if "cannot be read" in text]
    assert sorted(text.split(" cannot")[0] for text in problems) == [
        f"the entry points of a package in {unreadable}",
        "the entry points of letters 1.0",
        "the entry points of lines 1.0",
    ]
    with pytest.raises(
        PlanError, match=r"^unknown attack 'margim'; did you mean 'margin'\?; .*letters 1.0 cannot be read"
    ):
        plugin("attacks", "margim")


@pytest.mark.usefixtures("unreadable")
def test_the_failure_of_a_model_is_told_whatever_cannot_be_printed_or_read(tmp_path):
    class MuteError(Exception):
        def __str__(self):
            raise ValueError("no words")

    job = SimpleNamespace(name="a")
    try:
        click.Path(exists=True).convert(str(tmp_path / "none"), None, None)
    except click.BadParameter as error:
        failure = _failure(job, error)
        assert failure.error.startswith("BadParameter: ")
        assert failure.place.startswith(f" in {__file__}, line ")
    try:
        raise MuteError
    except MuteError as error:
        failure = _failure(job, error)
        assert (failure.error, failure.traceback) == ("MuteError", "")
        assert failure.place.startswith(f" in {__file__}, line ")


def test_the_author_is_the_package_that_declares_something_and_no_other_of_its_namespace(installed, monkeypatch):
    (installed / "miaudit_example-1.0.dist-info" / "entry_points.txt").write_text(
        "[miaudit.attacks]\nmargin = spaces.of_ours.attack:Margin\nodd = %\n"
    )
    for name, code in (
        ("spaces/of_ours/helper.py", "from spaces.of_others import call\n\n\ndef act(function):\n    call(function)\n"),
        ("spaces/of_others/__init__.py", "def call(function):\n    function()\n"),
    ):
        (installed / name).parent.mkdir(parents=True)
        (installed / name).write_text(code)
    (installed / "spaces" / "of_ours" / "__init__.py").touch()
    helper = importlib.import_module("spaces.of_ours.helper")
    command = click.Command("margin", params=[click.Argument(["file"])])
    with pytest.raises(click.MissingParameter) as error:
        helper.act(partial(command.main, [], standalone_mode=False))
    assert place_of(error.value) == f" in {installed / 'spaces' / 'of_ours' / 'helper.py'}, line 5"
    for name in [name for name in sys.modules if name.partition(".")[0] == "spaces"]:
        monkeypatch.delitem(sys.modules, name)
