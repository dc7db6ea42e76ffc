#!/usr/bin/env python3
"""Checks the links of every Markdown file that git knows: relative ones lead to a file that is
there, and `#anchors` to a heading of it. Every page of docs/ stands in docs/SUMMARY.md and in
docs/README.md. Addresses on the web are not asked.

    scripts/check_links.py

Prints each link that leads nowhere; the exit code is 1 if there is one. Needs nothing but Python's
standard library.
"""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FENCE = re.compile(r"^ *(```|~~~)")
INLINE = re.compile(r"\]\(<?([^)>\s]+)>?(?:\s+\"[^\"]*\")?\)")
DEFINED = re.compile(r"^\[[^\]]+\]:\s+(\S+)")
HEADING = re.compile(r"^#{1,6}\s+(.*?)\s*#*$")


def text_lines(path):
    """The lines of a page outside of fenced code, with their numbers; code spans are emptied."""
    fenced = False
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if FENCE.match(line):
            fenced = not fenced
        elif not fenced:
            yield number, re.sub(r"`[^`]*`", "``", line)


def anchors(path):
    """The anchors of a page's headings, as GitHub and mdBook make them."""
    found, fenced = set(), False
    for line in path.read_text(encoding="utf-8").splitlines():
        if FENCE.match(line):
            fenced = not fenced
        heading = None if fenced else HEADING.match(line)
        if not heading:
            continue
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading[1]).replace("`", "").lower()
        anchor = base = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        again = 0
        while anchor in found:
            again += 1
            anchor = f"{base}-{again}"
        found.add(anchor)
    return found


def links(path):
    for number, line in text_lines(path):
        for link in INLINE.findall(line) + DEFINED.findall(line):
            yield number, link


def main():
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "*.md"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split("\n")
    pages = [ROOT / name for name in listed if name and (ROOT / name).exists()]
    wrong, seen = [], 0
    for page in pages:
        name = page.relative_to(ROOT)
        for number, link in links(page):
            if re.match(r"[a-z][a-z0-9+.-]*:", link):
                continue
            if name == Path("README.md") and link.startswith("../../actions/"):
                # As GitHub resolves it: the workflows of whichever repository this is.
                continue
            seen += 1
            place, _, anchor = link.partition("#")
            target = (page.parent / place).resolve() if place else page
            if not target.exists():
                wrong.append(f"{name}:{number}: {link}: no such file")
            elif ROOT not in target.parents:
                wrong.append(f"{name}:{number}: {link}: outside of the repository")
            elif anchor and target.suffix == ".md" and anchor not in anchors(target):
                wrong.append(f"{name}:{number}: {link}: no such heading")
    docs = ROOT / "docs"
    for index in (docs / "SUMMARY.md", docs / "README.md"):
        named = {(index.parent / link.partition("#")[0]).resolve() for _, link in links(index)} | {
            index
        }
        for page in pages:
            if (
                page.parent == docs
                and page not in named
                and page.name not in ("SUMMARY.md", "README.md")
            ):
                wrong.append(f"{index.relative_to(ROOT)}: does not list {page.name}")
    print("\n".join(wrong + [f"{seen} links in {len(pages)} pages, {len(wrong)} wrong"]))
    return 1 if wrong or not seen else 0


if __name__ == "__main__":
    sys.exit(main())
