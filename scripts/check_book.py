#!/usr/bin/env python3
"""Checks the book that `mdbook build` made: every link and picture within it leads to a file that
is there, and to an anchor of it.

    scripts/check_book.py [target/book]

Prints each that leads nowhere; the exit code is 1 if there is one. Needs nothing but Python's
standard library.
"""

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    def __init__(self, path):
        super().__init__()
        self.links, self.anchors, self.within = [], set(), 0
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.anchors.update(v for k, v in attributes if k in ("id", "name") and v)
        if tag == "main":
            self.within += 1
        if self.within and tag in ("a", "img"):
            link = found.get("href" if tag == "a" else "src")
            if link:
                self.links.append(link)

    def handle_endtag(self, tag):
        if tag == "main":
            self.within -= 1


def main():
    book = Path(sys.argv[1] if len(sys.argv) > 1 else "target/book").resolve()
    pages = {
        path: Page(path)
        for path in sorted(book.rglob("*.html"))
        if path.name not in ("404.html", "toc.html")
    }
    wrong, seen = [], 0
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            seen += 1
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.is_file() or book not in target.parents:
                wrong.append(f"{path.relative_to(book)}: {link}: no such page")
            elif (
                parts.fragment
                and target in pages
                and unquote(parts.fragment) not in pages[target].anchors
            ):
                wrong.append(f"{path.relative_to(book)}: {link}: no such heading")
    print(
        "\n".join(wrong + [f"{seen} links in {len(pages)} pages of the book, {len(wrong)} wrong"])
    )
    return 1 if wrong or not seen else 0


if __name__ == "__main__":
    sys.exit(main())
