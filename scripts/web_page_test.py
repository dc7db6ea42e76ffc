#!/usr/bin/env python3
"""Drives pages that `wgvq export --page` wrote in headless Chromium, and checks what they show.

    scripts/web_page_test.py SITE FOLDER CHROMIUM

SITE is served; its subfolders are the pages. FOLDER holds pages.json, which tests/web.rs writes:
what the same models give without a browser, and the pictures to train on. Screenshots and the
trained model go to FOLDER; a line per check goes to the output. The exit code is 0 if every check
held.
"""

import base64
import functools
import http.server
import json
import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path

from web_test import PHONE, STILL, WIDE, Chromium, Page, Quiet, check, numbers, run_steps

# Hands the bytes of what the page offers for download to the test.
CATCH = """
    HTMLAnchorElement.prototype.click = function () {
        const bytes = fetch(this.href).then((answer) => answer.arrayBuffer());
        window.caught = { name: this.download, bytes };
    };
"""


class Exported(Page):
    """An exported page, below the root of the server."""

    def data(self, key):
        return self.b.value(f"document.getElementById('trainer').dataset.{key} ?? ''")

    def text(self, name):
        return self.b.value(f"document.getElementById({name!r}).textContent")

    def hidden(self, name):
        return self.b.value(f"document.getElementById({name!r}).hidden")

    def set(self, name, value):
        self.b.value(f"document.getElementById({name!r}).value = {value!r}")

    def work(self, selector, seconds=180):
        """Clicks, and waits until what that began has ended."""
        before = self.b.value("document.body.dataset.done ?? '0'")
        self.b.click(selector)
        ended = f"(document.body.dataset.done ?? '0') !== {before!r} && !document.body.dataset.busy"
        self.b.until(ended, seconds, f"the end of what {selector} begins")

    def reconstruct(self):
        page = self.expected["run"]
        check(self.text("heading") == page["title"], f"the title: {self.text('heading')!r}")
        check(not self.hidden("sampler"), "a run with a prior draws")
        for i, picture in enumerate(page["samples"]):
            self.work(f"#samples button:nth-child({i + 1})")
            self.same_codes(picture, f"picture {i + 1}")
        return f"{len(page['samples'])} pictures that were held out, codes as without a browser"

    def paint(self):
        before, used = self.pixels("#decoded"), set(self.codes())
        brush = next(code for code in range(self.expected["run"]["codebook"]) if code not in used)
        self.b.click(f"#palette button:nth-child({brush + 1})")
        before_decoding = self.b.value("document.body.dataset.done ?? '0'")
        self.b.click("#map", 1.5 / 8, 0.5 / 8)
        decoded = f"(document.body.dataset.done ?? '0') !== {before_decoding!r}"
        self.b.until(decoded, 60, "the painted picture")
        check(self.codes()[1] == brush, f"the cell has the brush's code: {self.codes()}")
        check(self.pixels("#decoded") != before, "the picture changes")
        self.work("#reset")
        return "a cell, and the picture with it"

    def draw(self):
        self.set("count", "1")
        self.set("seed", "3")
        self.work("#draw")
        codes = self.b.value("document.getElementById('gallery').dataset.codes ?? ''")
        check(codes, f"nothing was drawn: {self.text('notice')!r}")
        codes = numbers(codes)
        book = self.expected["run"]["codebook"]
        check(len(codes) == 64 and max(codes) < book, f"codes of a picture: {codes}")
        return "a picture from the prior"

    def redraw(self):
        """A prior of any order draws what is marked, from all else."""
        check(self.hidden("redraw-note"), "nothing is said of reading order")
        self.work("#samples button:nth-child(1)")
        before = self.codes()
        self.b.click("#mark")
        cells = [18, 19, 20, 26, 27, 28]
        for row in (0, 1):
            own = [cell for cell in cells if cell // 8 == 2 + row]
            at = [self.b.point("#map", (c % 8 + 0.5) / 8, (c // 8 + 0.5) / 8) for c in own]
            self.b.mouse("mousePressed", at[0])
            for place in at:
                self.b.mouse("mouseMoved", place)
            self.b.mouse("mouseReleased", at[-1])
        self.b.screenshot(self.folder / "marked.png")
        changed = set()
        for _ in range(4):
            self.work("#redraw-marked")
            now = self.codes()
            changed |= {i for i in range(64) if now[i] != before[i]}
        only = changed and changed <= set(cells)
        check(only, f"of {cells} some changed, and no other: {changed}")
        self.b.screenshot(self.folder / "redrawn.png")
        self.b.click("#mark")
        return f"{len(changed)} of {len(cells)} marked cells were drawn anew, and no other"

    def choose(self):
        document = self.b.call("DOM.getDocument")["root"]["nodeId"]
        node = self.b.call("DOM.querySelector", nodeId=document, selector="#train-files")["nodeId"]
        for name, value in [("train-side", "16"), ("train-codes", "64"), ("train-size", "16")]:
            self.set(name, value)
        self.b.call("DOM.setFileInputFiles", nodeId=node, files=self.expected["pictures"])
        self.b.until("!document.getElementById('train').disabled", 30, "the pictures to be read")

    def learn(self, steps):
        self.set("train-steps", str(steps))
        self.b.click("#train")
        self.b.until(
            f"document.getElementById('trainer').dataset.steps === '{steps}'"
            " && !document.getElementById('train-download').disabled",
            240,
            f"{steps} steps",
        )
        check(self.hidden("notice"), f"the page complains: {self.text('notice')!r}")

    def downloaded(self):
        self.b.value(CATCH)
        self.b.click("#train-download")
        self.b.until("!!window.caught", 60, "the download")
        data = self.b.value(
            "window.caught.bytes.then((all) => { let text = ''; for (const byte of new"
            " Uint8Array(all)) text += String.fromCharCode(byte); return btoa(text); })"
        )
        check(self.b.value("window.caught.name") == "final.safetensors", "the file's name")
        return base64.b64decode(data)

    def train(self):
        self.choose()
        check("24 pictures of 16" in self.text("train-status"), self.text("train-status"))
        self.learn(20)
        losses = [float(loss) for loss in self.data("losses").split(",")]
        check(losses[-1] < 0.98 * losses[0], f"the loss falls: {losses}")
        self.b.screenshot(self.folder / "trained.png")
        self.whole = self.downloaded()
        (self.folder / "trained.safetensors").write_bytes(self.whole)
        said = f"20 steps on 24 pictures: loss {losses[0]:.3f} to {losses[-1]:.3f}"
        return f"{said}, PSNR {float(self.data('psnr')):.1f} dB"

    def go_on(self, url):
        """Ten steps, another visit, ten more: the bytes of twenty."""
        self.work("#train-discard")
        self.choose()
        self.learn(10)
        self.start(url)
        check(self.data("steps") == "10", f"ten steps are kept: {self.data('steps')!r}")
        self.learn(20)
        whole = getattr(self, "whole", None)
        check(self.downloaded() == whole, "going on gives the bytes of not stopping")
        self.b.size(PHONE)
        time.sleep(0.3)
        wide = self.b.value("document.documentElement.scrollWidth")
        check(wide <= PHONE[0], f"at {PHONE[0]} px the page is {wide} px wide")
        self.b.screenshot(self.folder / "trained-phone.png")
        self.b.size(WIDE)
        self.work("#train-discard")
        self.start(url)
        check(self.data("steps") == "", "what was discarded is gone")
        return "ten steps, a reload, ten more: the same bytes as twenty"

    def texts(self, url):
        """A prior that reads texts, row by row."""
        self.start(url)
        check(not self.hidden("text-field") and self.hidden("class-field"), "a field for the text")
        self.set("text", self.expected["texts"]["prompt"] + " ☃")
        self.set("count", "1")
        self.work("#draw")
        check("☃" in self.text("notice"), f"what cannot be read is told: {self.text('notice')!r}")
        codes = self.b.value("document.getElementById('gallery').dataset.codes ?? ''")
        check(codes, f"nothing was drawn: {self.text('notice')!r}")
        codes = numbers(codes)
        check(len(codes) == 16, f"codes of a picture: {codes}")
        check(not self.hidden("redraw-note"), "the page says that it draws in reading order")
        self.b.click("#mark")
        self.b.click("#map", 1.5 / 4, 1.5 / 4)
        before = self.codes()
        self.work("#redraw-marked")
        check(self.codes()[:5] == before[:5], "what comes before the first marked cell stays")
        self.b.screenshot(self.folder / "texts.png")
        return "a text is read by its tokenizer, and draws; what is kept stays"

    def without_prior(self, url):
        self.start(url)
        check(self.hidden("sampler") and self.hidden("redraw"), "nothing draws without a prior")
        check(len(self.codes()) > 0, "codes are shown")
        return "no card to draw with"


def main():
    site, folder, program = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve(), sys.argv[3]
    expected = json.loads((folder / "pages.json").read_text())
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=site)
    )
    Quiet.tests = folder
    threading.Thread(target=server.serve_forever, daemon=True).start()
    root = f"http://localhost:{server.server_port}"
    profile = tempfile.mkdtemp(prefix="wgvq-chromium-")
    with open(folder / "chromium-pages.log", "wb") as log:
        browser = Chromium(program, profile, log)
        try:
            browser.size(WIDE)
            browser.call("Emulation.setEmulatedMedia", features=[STILL])
            page = Exported(browser, expected, folder)
            run = f"{root}/some/where/run/"
            steps = [
                ("start", lambda: page.start(run)),
                ("reconstruction", page.reconstruct),
                ("painting", page.paint),
                ("drawing", page.draw),
                ("redrawing", page.redraw),
                ("training", page.train),
                ("going on", lambda: page.go_on(run)),
                ("texts", lambda: page.texts(f"{root}/texts/")),
                ("without a prior", lambda: page.without_prior(f"{root}/plain/")),
            ]
            failed = run_steps(browser, steps, folder)
        finally:
            browser.end()
            shutil.rmtree(profile, ignore_errors=True)
    sys.exit(f"failed: {', '.join(failed)}" if failed else 0)


if __name__ == "__main__":
    main()
