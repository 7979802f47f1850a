# SPDX-License-Identifier: Apache-2.0
"""The results' places in docs/bench.md and README.md. Some tables can be measured again while the others stay; each then stands under
a line of its own that says when, where and at which commit it was measured, and where that is the same for all it is said once."""

import re

BEGIN, END = "<!-- results of make bench -->\n", "<!-- end of results -->"


def table(rows):
    lines = ["| what | measured | bound | |", "|---|---|---|---|"]
    for r in rows:
        mark = {True: "met", False: "**not met**", None: ""}[r["met"]]
        lines.append(f"| {r['what']} | {r['measured']} | {r['bound']} | {mark} |")
    return "\n".join(lines)


def section(rows, skipped, how):
    """What stands under a title."""
    left_out = "; ".join(f"{s['what']} ({s['why']})" for s in skipped)
    return f"{how}\n\n{table(rows)}\n" + (f"\nSkipped: {left_out}.\n" if left_out else "")


def split(page):
    """What is before the results, the results by title, and what is behind them."""
    if BEGIN not in page or END not in page:
        raise SystemExit(f"there is no place for results: a line {BEGIN.strip()} and one {END}")
    head, rest = page.split(BEGIN, 1)
    results, tail = rest.split(END, 1)
    common, *parts = re.split(r"^### ", results, flags=re.M)
    sections = {}
    for part in parts:
        title, text = part.split("\n", 1)
        text = text.strip("\n") + "\n"
        if not text.startswith("Measured "):
            text = f"{common.strip()}\n\n{text}"
        sections[title] = text
    return head, sections, tail


def common_line(sections):
    """What all of them begin with, or \"\"."""
    lines = {text.split("\n", 1)[0] for text in sections.values()}
    return lines.pop() if len(lines) == 1 else ""


def merge(page, done, titles):
    """The page with the sections that were done, {title: text}, in place of their old ones; none that has no title any more."""
    head, sections, tail = split(page)
    sections.update(done)
    sections = {t: sections[t] for t in titles if t in sections}
    how = common_line(sections)
    if how:
        sections = {t: text.split("\n", 2)[2] for t, text in sections.items()}
        how += "\n\n"
    return head + BEGIN + how + "".join(f"### {t}\n\n{text}\n" for t, text in sections.items()) + END + tail


def bounded(title, text):
    """A section's rows for the README: those with a bound; of EC2 the first of the burst alone."""
    rows = [line for line in text.splitlines() if line.endswith(("| met |", "| **not met** |"))]
    return rows if not title.startswith("EC2: ") else rows[:1] if "burst" in title else []


def readme(page, results_page):
    """The README's page with what has a bound in the other page's results."""
    head, _, tail = split(page)
    sections = split(results_page)[1]
    how = common_line(sections)
    rows = [row for title, text in sections.items() for row in bounded(title, text)]
    return head + BEGIN + (f"{how}\n\n" if how else "") + "\n".join([table([]), *rows]) + "\n" + END + tail
