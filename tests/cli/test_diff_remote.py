"""``shrinkscope diff`` of URLs, and the other verbs that take one."""

import json

import pytest
import torch
from safetensors.torch import save
from typer.testing import CliRunner

from range_server import RangeServer
from shrinkscope.cli import app, main


@pytest.fixture
def server():
    dense = {"fc.weight": torch.randn(8, 16, generator=torch.Generator().manual_seed(0))}
    with RangeServer() as running:
        running.objects["a.safetensors"] = save(dense)
        running.objects["b.safetensors"] = save({name: (4 * tensor).round() / 4 for name, tensor in dense.items()})
        yield running


def urls(server):
    return [server.url(f"{side}.safetensors?sig=s3cr3t") for side in "ab"]


def test_urls_are_compared_and_their_signatures_not_told(server, tmp_path):
    paths = [tmp_path / f"{side}.safetensors" for side in "ab"]
    for path in paths:
        path.write_bytes(server.objects[path.name])
    runner = CliRunner()
    report = tmp_path / "report.html"
    result = runner.invoke(app, ["diff", *urls(server), "--json", "--out", str(report)])
    assert result.exit_code == 0, result.output
    found, local = (
        json.loads(result.stdout),
        json.loads(runner.invoke(app, ["diff", *map(str, paths), "--json"]).stdout),
    )
    assert found["rows"] == local["rows"]
    assert found["settings"]["dense"] == server.url("a.safetensors?…")
    assert "s3cr3t" not in result.output + report.read_text()


def test_what_cannot_be_kept_is_said_once(server, tmp_path):
    options = ["--json", "--cache", str(tmp_path / "c.sqlite")]
    assert CliRunner().invoke(app, ["diff", *urls(server), *options]).stderr == ""
    server.etag = None
    said = CliRunner().invoke(app, ["diff", *urls(server), *options]).stderr
    for side in "ab":
        expected = f"{side}.safetensors?…: its storage tells no version of it, so that no tensor is kept"
        assert said.count(expected) == 1


def test_an_object_that_is_not_there_ends_with_one_line(server, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["shrinkscope", "diff", server.url("no.safetensors"), urls(server)[0]])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    err = capsys.readouterr().err
    assert "no.safetensors: no such file" in err
    assert len(err.splitlines()) == 1
