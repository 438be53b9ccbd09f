"""The command line as its users meet it: help, JSON, one-line errors, exit codes."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from commands import command
from shrinkscope.weights import save_tensors

run = command()


@pytest.fixture
def files(tmp_path):
    generator = torch.Generator().manual_seed(0)
    dense = {
        "fc1.weight": torch.randn(8, 6, generator=generator),
        "fc1.bias": torch.randn(8, generator=generator),
        "fc2.weight": torch.randn(3, 8, generator=generator),
    }
    pruned = {name: torch.where(t.abs() > 0.5, t, 0.0) if "weight" in name else t for name, t in dense.items()}
    save_tensors(tmp_path / "dense.safetensors", dense)
    np.savez(tmp_path / "pruned.npz", **{name: t.numpy() for name, t in pruned.items()})
    return str(tmp_path / "dense.safetensors"), str(tmp_path / "pruned.npz")


def test_diff_shows_the_layers_the_total_and_the_units(files, monkeypatch, capsys):
    code, out, err = run(monkeypatch, capsys, "diff", *files)
    assert (code, err) == (0, "")
    for text in ("fc1.weight", "fc2.weight", "AP2"):
        assert text in out


def test_json_is_all_there_is_on_standard_output(files, monkeypatch, capsys):
    code, out, err = run(
        monkeypatch, capsys, "diff", *files, "--json", "--role", "linear", "--latent", "student_t_grouped"
    )
    assert (code, err) == (0, "")
    rows = json.loads(out)["rows"]
    assert [row["layer"] for row in rows] == ["fc2.weight", "fc1.weight"]
    assert rows[0]["relative_ap2"] > rows[1]["relative_ap2"]
    assert set(rows[0]["divergences"]) == {"ap3_student_t_grouped"}


@pytest.mark.parametrize("suffix", ["json", "csv", "parquet", "html"])
def test_out_writes_the_format_of_the_suffix(files, tmp_path, monkeypatch, capsys, suffix):
    path = tmp_path / "out" / f"result.{suffix}"
    assert run(monkeypatch, capsys, "diff", *files, "--out", str(path))[0] == 0
    assert path.stat().st_size > 100


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["diff", "DENSE", "nothing.pt"], "nothing.pt: no such file"),
        (["diff", "DENSE", "PRUNED", "--role", "conv"], "unknown role 'conv'; the roles are convolution"),
        (["diff", "DENSE", "PRUNED", "--latent", "normal"], "unknown latent 'normal'; known: gaussian"),
        (["diff", "DENSE", "PRUNED", "--layers", "x*"], "the selection of layers matches no tensor"),
        (["diff", "DENSE", "PRUNED", "--sort", "x"], "cannot sort by 'x'; the columns are parameters"),
        (["diff", "DENSE", "PRUNED", "--out", "x.xls"], "unknown suffix"),
        (["diff", "DENSE"], "Missing argument 'B'"),
        (["diff", "DENSE", "PRUNED", "--jsn"], "No such option: --jsn"),
        (["dif", "DENSE", "PRUNED"], "No such command 'dif'"),
        (["explain", "DENSE", "PRUNED", "--data", "digits"], "without a network to run them in"),
        (["explain", "DENSE", "PRUNED", "--inputs", "digits"], "without a network to run them in"),
        (["explain", "DENSE", "PRUNED", "--inputs", "x.txt", "--network", "lenet300"], "x.txt: not usable as inputs"),
        (["explain", "DENSE", "PRUNED", "--confidence", "95"], "confidence = 95; expected a number between 0 and 1"),
        (["explain", "DENSE", "PRUNED", "--data", "x.txt", "--network", "lenet300"], "x.txt: not usable as data"),
        (["explain", "DENSE", "PRUNED", "--data", "digits", "--network", "alexnet"], "unknown network 'alexnet'"),
        (
            ["explain", "DENSE", "PRUNED", "--data", "digits", "--network", "lenet300"],
            "does not fit the network LeNet300",
        ),
        (
            ["explain", "DENSE", "PRUNED", "--data", "digits", "--network", "os:getcwd"],
            "returned a str; expected a torch",
        ),
        (
            ["explain", "DENSE", "PRUNED", "--data", "digits", "--network", "nowhere:f"],
            "cannot load nowhere:f",
        ),
    ],
)
def test_an_error_is_one_line_and_exit_code_two(files, monkeypatch, capsys, tmp_path, arguments, message):
    monkeypatch.chdir(tmp_path)
    names = {"DENSE": files[0], "PRUNED": files[1]}
    code, out, err = run(monkeypatch, capsys, *(names.get(word, word) for word in arguments))
    assert (code, out) == (2, "")
    assert err.startswith("shrinkscope: ")
    assert message in err
    assert err.count("\n") == 1


@pytest.fixture
def classifiers(tmp_path):
    """LeNet-300-100 with random weights, the same with its smallest weights removed, and 40 unlabelled images."""
    import torch

    from shrinkscope import MagnitudePruning, prune
    from shrinkscope.experiments.zoo import load_network

    torch.manual_seed(0)
    network = load_network("lenet300")
    paths = [str(tmp_path / f"{name}.npz") for name in ("dense", "pruned")]
    np.savez(paths[0], **{name: value.numpy() for name, value in network.state_dict().items()})
    prune(network, MagnitudePruning(level=0.5))
    np.savez(paths[1], **{name: value.numpy() for name, value in network.state_dict().items()})
    images = str(tmp_path / "images.npy")
    np.save(images, np.random.default_rng(0).normal(size=(40, 784)).astype(np.float32))
    return [*paths, "--network", "lenet300", "--inputs", images]


def test_unlabelled_inputs_bound_the_accuracy_drop(classifiers, monkeypatch, capsys, tmp_path):
    page = tmp_path / "page.html"
    code, out, err = run(monkeypatch, capsys, "explain", *classifiers, "--confidence", "0.9", "--out", str(page))
    assert (code, err) == (0, "")
    assert "points (with 90 % confidence; from 40 unlabelled inputs, " in " ".join(out.split())
    assert "What is proved" in page.read_text()


def test_the_bound_stands_in_the_json(classifiers, monkeypatch, capsys):
    code, out, err = run(monkeypatch, capsys, "explain", *classifiers, "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)["predictive"]["inputs"]
    assert (found["samples"], found["confidence"], found["accuracy"]["side"]) == (40, 0.95, "upper")
    assert found["accuracy"]["value"] > found["disagreements"] / 40


def test_numbers_have_a_bound_without_an_accuracy(classifiers, monkeypatch, capsys, tmp_path):
    page = tmp_path / "page.html"
    options = ["--kind", "regression", "--scale", "0.5", "--out", str(page)]
    code, out, err = run(monkeypatch, capsys, "explain", *classifiers, *options)
    assert (code, err) == (0, "")
    assert "within any tolerance of the truth changes by at most" in " ".join(out.split())
    assert "Accuracy drops" not in out
    assert "within any tolerance of the truth" in page.read_text()


def test_version_and_bare_call(monkeypatch, capsys):
    assert run(monkeypatch, capsys, "--version")[1].startswith("shrinkscope 0.")
    code, out, _ = run(monkeypatch, capsys)
    assert code == 0
    assert "diff" in out


@pytest.mark.parametrize("verb", [[], ["demo"], ["diff"], ["explain"], ["runs"], ["theory"]])
def test_help_imports_nothing_heavy(verb):
    probe = (
        f"import sys; sys.argv = ['shrinkscope', *{verb!r}, '--help']\n"
        "from shrinkscope.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(sorted(set(sys.modules) & {'torch', 'numpy', 'scipy', 'pandas', 'matplotlib', 'sklearn', 'msgspec'}))"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip().endswith("[]"), done.stdout


def test_a_reader_that_goes_away_ends_the_program_quietly(files):
    read_end, write_end = os.pipe()
    os.close(read_end)
    command = [sys.executable, "-m", "shrinkscope", "diff", *files, "--json"]
    done = subprocess.run(command, stdout=write_end, stderr=subprocess.PIPE, text=True, timeout=120)
    os.close(write_end)
    assert (done.returncode, done.stderr) == (141, "")  # as a program killed by SIGPIPE


def test_an_interruption_says_so(files, monkeypatch, capsys):
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("shrinkscope.analysis.compare", interrupt)
    code, _, err = run(monkeypatch, capsys, "diff", *files)
    assert (code, err) == (130, "shrinkscope: interrupted; what was finished is kept\n")


def test_runs_lists_and_exports_a_store(tmp_path, monkeypatch, capsys):
    import pandas as pd

    from shrinkscope.experiments.records import Cell, Record
    from shrinkscope.experiments.store import Run, Store

    path = tmp_path / "records.sqlite"
    run_ = Run(run="abc", config_hash="h", config='{"a": 1}', versions="{}", seed=0, hardware="here", started="2026")
    with Store(path) as store:
        store.begin(run_)
        record = Record(epoch=0, layer="", metric="loss_test", value=0.5, unit="nats", status="estimate")
        store.write_cell("abc", Cell(trial=1), [record], seconds=1.0)
    code, out, _ = run(monkeypatch, capsys, "runs", str(path), "--export", str(tmp_path / "records.csv"))
    assert code == 0
    assert "abc  unnamed: 1 cells finished" in out
    assert list(pd.read_csv(tmp_path / "records.csv")["value"]) == [0.5]
    listed = json.loads(run(monkeypatch, capsys, "runs", str(path), "--json")[1])
    assert [(entry["run"], entry["config"], entry["cells"]) for entry in listed] == [("abc", {"a": 1}, 1)]
    code, out, err = run(monkeypatch, capsys, "runs", str(path), "--run", "xyz")
    assert (code, out) == (2, "")
    assert err.endswith("records.sqlite holds no run xyz; it holds abc\n")


def test_runs_on_no_store_is_a_one_line_error(tmp_path, monkeypatch, capsys):
    code, out, err = run(monkeypatch, capsys, "runs", str(tmp_path / "nothing.sqlite"))
    assert (code, out) == (2, "")
    assert "no such file; expected a store of records" in err


@pytest.fixture
def small_pair(classifiers, tmp_path, monkeypatch):
    """A pair with labels, and the verb without its longest stage, which tests/experiments/test_statements.py runs."""
    from shrinkscope.experiments import statements

    monkeypatch.setattr(statements, "_on_digits", lambda seed: [])
    drawn = np.random.default_rng(0)
    np.savez(tmp_path / "data.npz", x=drawn.normal(size=(40, 784)).astype(np.float32), y=drawn.integers(0, 10, size=40))
    return [*classifiers[:4], "--data", str(tmp_path / "data.npz")]


def test_theory_on_a_pair_prints_tables_and_writes_the_format_of_the_suffix(small_pair, monkeypatch, capsys, tmp_path):
    arguments = (*small_pair, "--tolerance", "0.5", "--samples", "20", "--out", str(tmp_path / "t.md"))
    code, out, err = run(monkeypatch, capsys, "theory", *arguments)
    assert (code, err) == (0, "")
    for text in (
        "your networks",
        "Corollary 3.2",
        "predictive bound",
        "the accuracy difference stays within 50 points",
    ):
        assert text in out
    assert "| Theorem 3.5 | corrected |" in (tmp_path / "t.md").read_text()


def test_theory_as_json(small_pair, monkeypatch, capsys):
    code, out, err = run(monkeypatch, capsys, "theory", *small_pair, "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert {row["case"] for row in found["rows"]} == {"quadratics", "pair"}
    assert found["sparsity"] is None


def test_theory_wants_a_pair_whole(files, monkeypatch, capsys):
    code, out, err = run(monkeypatch, capsys, "theory", *files)
    assert (code, out) == (2, "")
    assert "needs A, B, --network and --data together" in err
