import re
import subprocess
import sys
from typing import Any

import matplotlib
import pytest
from PIL import Image

from shrinkscope.errors import OutputError
from shrinkscope.report.curves import Curves
from shrinkscope.report.figures import Picture, over_epochs, save_figures


def draw(records: Any) -> Picture:
    return over_epochs(Curves(records), "ap2", "pd_loss_test", "all", rows=("methods",), data="a & b <c>")


def test_the_same_numbers_give_the_same_bytes(records: Any, tmp_path):
    first, again = draw(records), draw(records)
    assert first.svg == again.svg
    first.write_png(tmp_path / "first.png")
    again.write_png(tmp_path / "again.png")
    assert (tmp_path / "first.png").read_bytes() == (tmp_path / "again.png").read_bytes()


def test_another_process_gives_the_same_svg(records: Any, tmp_path):
    records.to_pickle(tmp_path / "records.pickle")
    script = (
        "import sys, pandas as pd\n"
        "from shrinkscope.report.curves import Curves\n"
        "from shrinkscope.report.figures import over_epochs\n"
        "curves = Curves(pd.read_pickle(sys.argv[1]))\n"
        "sys.stdout.reconfigure(encoding='utf-8')\n"
        "picture = over_epochs(curves, 'ap2', 'pd_loss_test', 'all', rows=('methods',), data='a & b <c>')\n"
        "sys.stdout.write(picture.svg)\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "records.pickle")], capture_output=True, check=True, timeout=120
    )
    assert found.stdout.decode() == draw(records).svg


def test_a_figure_is_written_as_png_and_svg(records: Any, tmp_path):
    picture = draw(records)
    written = save_figures({picture.name: picture}, tmp_path / "figures")
    assert [path.name for path in written] == [f"{picture.name}.png", f"{picture.name}.svg"]
    assert sorted(path.name for path in (tmp_path / "figures").iterdir()) == sorted(path.name for path in written)
    with Image.open(written[0]) as image:
        assert image.width == 1500
        assert image.text["Title"] == picture.title  # pyright: ignore[reportAttributeAccessIssue]
    svg = written[1].read_text(encoding="utf-8")
    assert svg == picture.svg
    assert not re.search(r"\b20\d\d-\d\d-\d\d\b", svg)
    assert ">highest</text>" in svg  # text is text
    assert "a &amp; b &lt;c&gt;" in svg


def test_writing_leaves_the_figure_as_it_was(records: Any, tmp_path):
    picture = draw(records)
    before = picture.figure.get_dpi()
    for suffix in (".png", ".svg", ".pdf"):
        picture.write(tmp_path / f"figure{suffix}")
        assert picture.figure.get_dpi() == before, suffix
    written = tmp_path / "figure.png"
    again = tmp_path / "again.png"
    picture.write(again)
    assert again.read_bytes() == written.read_bytes()


def test_the_callers_settings_of_matplotlib_stay(records: Any):
    # The backend is left out: matplotlib itself chooses one when it is first asked for.
    settings: Any = matplotlib.rcParams
    names = [name for name in settings if name != "backend"]
    before = {name: settings[name] for name in names}
    draw(records).svg  # noqa: B018
    assert {name: settings[name] for name in names} == before


def test_a_place_that_cannot_be_written_is_one_error(records: Any, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    picture = draw(records)
    with pytest.raises(OutputError, match="cannot write .*file"):
        save_figures({picture.name: picture}, blocked)
    assert blocked.read_text() == "not a folder"
