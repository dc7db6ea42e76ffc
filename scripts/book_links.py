#!/usr/bin/env python3
"""A preprocessor of mdBook: brings the pages at the top of the repository into the book, and makes
links that lead out of it work.

    [preprocessor.repository] of book.toml runs it; mdBook hands it the book as JSON.

README, ARCHITECTURE, BENCHMARKS, RELIABILITY, SCALING, CONTRIBUTING, CHANGELOG and SECURITY
become chapters at the end, and links to them links to these. A link to any other file of the
repository becomes an address at the `repository` of Cargo.toml, or its text alone where none is
set. Needs nothing but Python's standard library.
"""

import json
import posixpath
import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Where a page of the repository lies in the book, whose root is docs/; README.md of docs/ is the
# book's first page.
PAGES = {
    "README.md": ("Overview", "overview.md"),
    "ARCHITECTURE.md": ("Architecture", "architecture.md"),
    "BENCHMARKS.md": ("Benchmarks", "benchmarks.md"),
    "RELIABILITY.md": ("Reliability", "reliability.md"),
    "SCALING.md": ("Scaling", "scaling.md"),
    "CONTRIBUTING.md": ("Contributing", "contributing.md"),
    "CHANGELOG.md": ("Changelog", "changelog.md"),
    "SECURITY.md": ("Security", "security.md"),
}
# Of a link its text and target; a badge is a picture in a link.
LINK = re.compile(r"(!?)\[((?:!\[[^\]]*\]\([^)]*\)|[^\]\[]|\[[^\]]*\])*)\]\(([^)\s]+)\)")
CODE = re.compile(r"(^```.*?^```|^~~~.*?^~~~|`[^`\n]+`)", re.M | re.S)


def repository():
    manifest = tomllib.loads((ROOT / "Cargo.toml").read_text(encoding="utf-8"))
    return manifest["package"].get("repository")


def moved(link, page):
    """Where a link of a page of the repository leads in the book; None if it leads to nothing
    there."""
    if re.match(r"[a-z][a-z0-9+.-]*:|#", link):
        return link
    place, hash_, anchor = link.partition("#")
    target = posixpath.normpath(posixpath.join(posixpath.dirname(page), place))
    if target in PAGES:
        return PAGES[target][1] + hash_ + anchor
    if target == "docs/README.md":
        return "index.md" + hash_ + anchor
    if target.startswith("docs/") and target != "docs/SUMMARY.md":
        return target.removeprefix("docs/") + hash_ + anchor
    address = repository()
    if target.startswith("../../actions/"):
        return address and address + "/" + target.removeprefix("../../")
    kind = "tree" if (ROOT / target).is_dir() else "blob"
    return address and f"{address}/{kind}/main/{target}{hash_}{anchor}"


def rewrite(content, page):
    def one(match):
        mark, text, link = match.groups()
        text = LINK.sub(one, text)
        target = moved(link, page)
        if target is None:
            return "" if mark else text
        return f"{mark}[{text}]({target})"

    parts = CODE.split(content)
    # Code stays; a link's text may hold some, which the links are put together around.
    held = []

    def hold(code):
        held.append(code)
        return f"\0{len(held) - 1}\0"

    text = "".join(hold(part) if i % 2 else part for i, part in enumerate(parts))
    return re.sub("\0(\\d+)\0", lambda m: held[int(m[1])], LINK.sub(one, text))


def chapters(items):
    for item in items:
        if isinstance(item, dict) and "Chapter" in item:
            yield item["Chapter"]
            yield from chapters(item["Chapter"]["sub_items"])


def main():
    if sys.argv[1:2] == ["supports"]:
        return 0
    _, book = json.load(sys.stdin)
    items = book["items"] if "items" in book else book["sections"]
    for chapter in chapters(items):
        if chapter["source_path"]:
            chapter["content"] = rewrite(chapter["content"], "docs/" + chapter["source_path"])
    items.append({"PartTitle": "The repository"})
    for page, (name, path) in PAGES.items():
        content = rewrite((ROOT / page).read_text(encoding="utf-8"), page)
        items.append(
            {
                "Chapter": {
                    "name": name,
                    "content": content,
                    "number": None,
                    "sub_items": [],
                    "path": path,
                    "source_path": None,
                    "parent_names": [],
                }
            }
        )
    json.dump(book, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
