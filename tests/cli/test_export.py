"""``shrinkscope export`` as its users meet it."""

from commands import command
from shrinkscope.analysis.plan import Plan, PlanRow, PlanSettings
from shrinkscope.integrations import export

run = command("export")

MADE = Plan(
    rows=(PlanRow(layer="a.weight", weights=8, removed=4), PlanRow(layer="b.weight", weights=8, removed=2)),
    settings=PlanSettings(allocation="hand"),
)


def test_a_plan_is_written_for_a_tool(tmp_path, monkeypatch, capsys):
    plan, recipe = tmp_path / "plan.toml", tmp_path / "recipe.yaml"
    MADE.save(plan)
    code, out, err = run(monkeypatch, capsys, str(plan), "--to", "llm-compressor", "--out", str(recipe))
    assert (code, out, err) == (0, f"{recipe}: the plan for llm-compressor.\n", "")
    assert recipe.read_text() == export(MADE, "llm-compressor")
    code, out, err = run(monkeypatch, capsys, str(plan), "--to", "torch")
    assert (code, out, err) == (0, export(MADE, "torch"), "")


def test_mistakes_are_one_line(tmp_path, monkeypatch, capsys):
    plan = tmp_path / "plan.json"
    code, _, err = run(monkeypatch, capsys, str(plan), "--to", "torch")
    assert (code, err.count("\n")) == (2, 1)
    assert "cannot read a plan from" in err
    MADE.save(plan)
    code, _, err = run(monkeypatch, capsys, str(plan), "--to", "nni")
    assert (code, err.count("\n")) == (2, 1)
    assert err.startswith(
        "shrinkscope: unknown tool 'nni'; expected one of torch, torch-pruning, llm-compressor, torchao"
    )
