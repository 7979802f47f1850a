# SPDX-License-Identifier: Apache-2.0
"""Goal: tables that were measured replace their old ones in docs/bench.md and nothing else there; the README has what is bounded
of all of them; and `bench.py --help` names every section that the page can have."""

import pathlib
import re
import subprocess
import sys

import pytest

from hearth import TOP

sys.path.insert(0, str(TOP / "tests/bench"))

import pages  # noqa: E402

ROW = {"what": "a", "measured": "1 ms", "bound": "", "met": None}
TITLES = ["One", "EC2: a burst of many", "EC2: ways"]


def page(*sections):
    return "before\n" + pages.BEGIN + "".join(sections) + pages.END + "\nbehind\n"


def bounded(what, met=True):
    return {"what": what, "measured": "2 ms", "bound": "at most 3", "met": met}


def test_only_what_was_measured_is_replaced():
    first = pages.merge(page(), {"One": pages.section([ROW], [], "Measured on Monday."),
                                 "EC2: ways": pages.section([ROW], [{"what": "x", "why": "no root"}], "Measured on Monday.")}, TITLES)
    second = pages.merge(first, {"EC2: a burst of many": pages.section([bounded("b", False)], [], "Measured on Tuesday."),
                                 "One": pages.section([bounded("c")], [], "Measured on Tuesday.")}, TITLES)
    assert first.count("Monday") == 1 and second.count("Monday") == 1 and second.count("Tuesday") == 2, "once where it is for all"
    _, sections, _ = pages.split(second)
    assert list(sections) == TITLES, "in their order"
    assert "Tuesday" in sections["One"] and "| c | 2 ms | at most 3 | met |" in sections["One"] and "| a |" not in sections["One"]
    assert sections["EC2: ways"] == pages.split(first)[1]["EC2: ways"] and "Skipped: x (no root)." in sections["EC2: ways"]
    assert second.startswith("before\n") and second.endswith("\nbehind\n")
    assert pages.merge(second, {}, TITLES) == second, "nothing measured, nothing changed"
    assert "One" not in pages.split(pages.merge(second, {}, TITLES[1:]))[1], "a section that is no more"


def test_one_line_for_all_is_given_to_each():
    old = page("Measured before.\n", "\n### One\n\n", pages.table([ROW]), "\n\n### EC2: ways\n\n", pages.table([ROW]), "\n")
    _, sections, _ = pages.split(pages.merge(old, {"One": pages.section([ROW], [], "Measured now.")}, TITLES))
    assert sections["One"].startswith("Measured now.\n") and "before" not in sections["One"]
    assert sections["EC2: ways"].startswith("Measured before.\n\n| what |")


def test_the_readme_has_what_is_bounded():
    rows = {"One": [ROW, bounded("c"), bounded("d", False)], "EC2: a burst of many": [bounded("e"), bounded("f")],
            "EC2: ways": [bounded("g")]}
    results = pages.merge(page(), {t: pages.section(r, [], "Measured.") for t, r in rows.items()}, TITLES)
    readme = pages.readme(page("old\n"), results)
    assert re.findall(r"^\| (\w) ", readme, re.M) == ["c", "d", "e"] and "old" not in readme
    assert readme.count("| what |") == 1 and readme.count("Measured.") == 1 and "**not met**" in readme
    with pytest.raises(SystemExit):
        pages.readme("no place", results)


def test_the_pages_as_they_are():
    """A run that measures nothing leaves the results' text, and help names every title."""
    text = (TOP / "docs/bench.md").read_text()
    out = subprocess.run(["sh", str(TOP / "tools/bench.sh"), "--help"], capture_output=True, text=True, check=True,
                         stdin=subprocess.DEVNULL, timeout=60).stdout
    titles = re.findall(r"^  \w+ +\d+ s  (.*?)(?:, as root)?$", out, re.M)
    assert len(titles) >= 12 and re.search(r"all of them: [1-9]\d* minutes", out), out
    assert set(pages.split(text)[1]) <= set(titles), set(pages.split(text)[1]) - set(titles)
    assert pages.split(text)[1].keys() == pages.split(pages.merge(text, {}, titles))[1].keys()
    assert pages.split((pathlib.Path(TOP) / "README.md").read_text())[1] == {}
