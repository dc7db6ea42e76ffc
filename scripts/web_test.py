#!/usr/bin/env python3
"""Drives the page of web/ in headless Chromium, on its software adapter, and checks what it shows.

    scripts/web_test.py PAGE FOLDER CHROMIUM

PAGE is what scripts/web.sh builds. FOLDER holds expected.json, which tests/web.rs writes: what the
same model gives without a browser. Screenshots go to FOLDER; a line per check goes to the output.
The exit code is 0 if every check held.

Chromium is spoken to by its DevTools protocol over a pipe, so that nothing but Python's standard
library is needed.
"""

import base64
import functools
import http.server
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--enable-unsafe-webgpu",
    "--use-webgpu-adapter=swiftshader",
    "--remote-debugging-pipe",
    "--no-first-run",
    "--disable-extensions",
    "--disable-background-networking",
    "--hide-scrollbars",
    "--mute-audio",
]
# A page that scrolls by itself moves from under the mouse.
STILL = {"name": "prefers-reduced-motion", "value": "reduce"}
PATIENCE = 60  # seconds for an answer
WIDE, PHONE = (1280, 900), (390, 844)


class Failed(Exception):
    pass


class Chromium:
    """A browser and one page of it."""

    def __init__(self, program, profile, log):
        to_browser, ours_out = os.pipe()
        ours_in, from_browser = os.pipe()

        def wire():
            # The browser reads commands from descriptor 3 and writes answers to 4. The copies keep
            # the two from overwriting each other.
            first, second = os.dup(to_browser), os.dup(from_browser)
            os.dup2(first, 3)
            os.dup2(second, 4)

        command = [program, *FLAGS, f"--user-data-dir={profile}", "about:blank"]
        self.process = subprocess.Popen(
            command, preexec_fn=wire, close_fds=False, stdout=log, stderr=log
        )
        os.close(to_browser)
        os.close(from_browser)
        self.out, self.input = ours_out, ours_in
        self.number, self.buffer, self.session, self.complaints = 0, b"", None, []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)[
            "sessionId"
        ]
        for domain in ["Page", "Runtime", "Log", "DOM"]:
            self.call(f"{domain}.enable")

    def message(self):
        while b"\0" not in self.buffer:
            ready, _, _ = select.select([self.input], [], [], PATIENCE)
            if not ready:
                raise Failed(f"no word from Chromium in {PATIENCE} s")
            part = os.read(self.input, 1 << 16)
            if not part:
                raise Failed("Chromium ended before its time; its words are in chromium.log")
            self.buffer += part
        text, self.buffer = self.buffer.split(b"\0", 1)
        return json.loads(text)

    def call(self, method, **parameters):
        self.number += 1
        command = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            command["sessionId"] = self.session
        rest = json.dumps(command).encode() + b"\0"
        while rest:
            rest = rest[os.write(self.out, rest) :]
        while True:
            message = self.message()
            if message.get("id") == self.number:
                if "error" in message:
                    raise Failed(f"{method}: {message['error']['message']}")
                return message["result"]
            self.event(message.get("method"), message.get("params", {}))

    def event(self, method, about):
        """What the page complains of is a failure of its own."""
        if method == "Runtime.exceptionThrown":
            details = about["exceptionDetails"]
            self.complaints.append(
                details.get("exception", {}).get("description") or details["text"]
            )
        elif method == "Runtime.consoleAPICalled" and about["type"] in (
            "error",
            "warning",
            "assert",
        ):
            self.complaints.append(
                " ".join(str(a.get("value", a.get("description"))) for a in about["args"])
            )
        elif method == "Log.entryAdded" and about["entry"]["level"] in ("error", "warning"):
            self.complaints.append(about["entry"]["text"] + " " + about["entry"].get("url", ""))

    def value(self, expression):
        result = self.call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in result:
            details = result["exceptionDetails"]
            raise Failed(details.get("exception", {}).get("description") or details["text"])
        return result["result"].get("value")

    def until(self, expression, seconds, what):
        end = time.monotonic() + seconds
        while not (value := self.value(expression)):
            if time.monotonic() > end:
                raise Failed(
                    f"{what}: not within {seconds} s; the page says:"
                    f" {self.value('document.body.innerText')[:400]!r}"
                )
            time.sleep(0.03)
        return value

    def idle(self, seconds=60):
        self.until("!document.body.dataset.busy", seconds, "the page to come to rest")

    def size(self, size):
        width, height = size
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )

    def screenshot(self, path):
        self.value("scrollTo(0, 0)")
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        Path(path).write_bytes(base64.b64decode(shot["data"]))

    def point(self, selector, x=0.5, y=0.5):
        """A place within an element, which is scrolled into view."""
        box = self.value(
            f"(() => {{ const e = document.querySelector({selector!r}); e.scrollIntoView({{ block:"
            " 'center', behavior: 'instant' }); const b = e.getBoundingClientRect(); return"
            " [b.left, b.top, b.width, b.height]; })()"
        )
        return box[0] + x * box[2], box[1] + y * box[3]

    def mouse(self, kind, at, modifiers=0):
        pressed = kind != "mouseReleased"
        self.call(
            "Input.dispatchMouseEvent",
            type=kind,
            x=at[0],
            y=at[1],
            button="left",
            buttons=int(pressed),
            clickCount=1,
            modifiers=modifiers,
        )

    def click(self, selector, x=0.5, y=0.5, modifiers=0):
        at = self.point(selector, x, y)
        self.mouse("mousePressed", at, modifiers)
        self.mouse("mouseReleased", at, modifiers)

    def key(self, key):
        self.call("Input.dispatchKeyEvent", type="keyDown", key=key, text=" " if key == " " else "")
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key)

    def end(self):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()


def check(holds, what):
    if not holds:
        raise Failed(what)


def numbers(text):
    return [int(n) for n in text.split(",")]


class Page:
    """The page's own things."""

    def __init__(self, browser, expected, folder):
        self.b, self.expected, self.folder = browser, expected, folder

    def codes(self):
        return numbers(self.b.value("document.getElementById('map').dataset.codes"))

    def pixels(self, canvas):
        """RGB of a canvas."""
        text = self.b.value(
            f"(() => {{ const from = document.querySelector({canvas!r}); const c = new"
            " OffscreenCanvas(from.width, from.height).getContext('2d', { willReadFrequently:"
            " true }); c.drawImage(from, 0, 0); const d = c.getImageData(0, 0, from.width,"
            " from.height).data; return Array.from(d).filter((v, i) => i % 4 < 3).join(); })()"
        )
        return numbers(text)

    def same_codes(self, picture, name):
        """A code is right if either of two cores gives it without a browser: where they part, two
        codes are as near."""
        got = self.codes()
        wrong = [
            i
            for i, code in enumerate(got)
            if code not in (picture["codes"][i], picture["others"][i])
        ]
        check(
            len(got) == len(picture["codes"]) and not wrong,
            f"{name}: codes differ at {wrong}: {got} and {picture['codes']}",
        )
        if got == picture["codes"]:
            self.same_picture(picture["decoded"], name)

    def same_picture(self, want, name):
        got = self.pixels("#decoded")
        worst = max(abs(a - b) for a, b in zip(got, want, strict=True))
        check(worst <= 1, f"{name}: a byte of the decoded picture differs by {worst}")

    # The checks.

    def without_webgpu(self, url):
        hide = "Object.defineProperty(Navigator.prototype, 'gpu', { get: () => undefined })"
        script = self.b.call("Page.addScriptToEvaluateOnNewDocument", source=hide)["identifier"]
        self.b.call("Page.navigate", url=url)
        self.b.until(
            "document.body?.dataset.state === 'unsupported'",
            20,
            "the message where there is no WebGPU",
        )
        text = self.b.value("document.getElementById('notice').innerText")
        check("WebGPU" in text and "Firefox" in text, f"the message says what is missing: {text!r}")
        check(self.b.value("document.getElementById('main').inert"), "nothing can be pressed")
        self.b.screenshot(self.folder / "unsupported.png")
        self.b.call("Page.removeScriptToEvaluateOnNewDocument", identifier=script)
        return "says so, and what to do"

    def without_adapter(self, url):
        hide = "navigator.gpu.requestAdapter = async () => null"
        script = self.b.call("Page.addScriptToEvaluateOnNewDocument", source=hide)["identifier"]
        self.b.call("Page.navigate", url=url + "?adapter=none")
        self.b.until(
            "document.body?.dataset.state === 'failed'", 30, "the message where there is no adapter"
        )
        text = self.b.value("document.getElementById('notice').innerText")
        check("no usable GPU adapter" in text, f"the message says what is missing: {text!r}")
        self.b.call("Page.removeScriptToEvaluateOnNewDocument", identifier=script)
        return "says so"

    def start(self, url):
        begun = time.monotonic()
        self.b.call("Page.navigate", url=url + "?fresh")
        self.b.until(
            "['ready', 'failed'].includes(document.body?.dataset.state)", 150, "the page to start"
        )
        text = self.b.value("document.getElementById('notice').innerText")
        check(
            self.b.value("document.body.dataset.state") == "ready",
            f"the page could not start: {text}",
        )
        return (
            f"{time.monotonic() - begun:.1f} s:"
            f" {self.b.value('document.getElementById(`adapter`).textContent')}"
        )

    def samples(self):
        found = []
        for i, picture in enumerate(self.expected["samples"]):
            self.b.click(f"#samples button:nth-child({i + 1})")
            self.b.idle()
            self.same_codes(picture, picture["name"])
            found.append(self.b.value("document.getElementById('error').textContent"))
        psnr = [float(text.split()[1]) for text in found]
        check(min(psnr) > self.expected["least_psnr"], f"pictures come back: {found}")
        return (
            f"{len(psnr)} pictures, codes as without a browser, PSNR {min(psnr)} to {max(psnr)} dB"
        )

    def choose_file(self):
        document = self.b.call("DOM.getDocument")["root"]["nodeId"]
        node = self.b.call("DOM.querySelector", nodeId=document, selector="#file")["nodeId"]
        picture = self.expected["file"]
        before = self.codes()
        self.b.call("DOM.setFileInputFiles", nodeId=node, files=[picture["path"]])
        self.b.until(
            f"document.getElementById('map').dataset.codes !== {','.join(map(str, before))!r}",
            30,
            "the file's codes",
        )
        self.b.idle()
        self.same_codes(picture, "a file of another size")
        return "cropped and scaled as without a browser"

    def drop(self, data, name):
        self.b.value(
            f"(() => {{ const bytes = Uint8Array.from(atob({base64.b64encode(data).decode()!r}), c"
            " => c.charCodeAt(0)); const dt = new DataTransfer(); dt.items.add(new File([bytes],"
            f" {name!r})); for (const kind of ['dragenter', 'dragover', 'drop'])"
            " document.body.dispatchEvent(new DragEvent(kind, { dataTransfer: dt, bubbles: true,"
            " cancelable: true })); })()"
        )
        time.sleep(0.1)
        self.b.idle()

    def dropped(self, page):
        picture = self.expected["samples"][2]
        self.drop((page / "samples" / f"{picture['name']}.png").read_bytes(), "x.png")
        self.same_codes(picture, "a dropped picture")
        check(
            self.b.value("document.getElementById('drop').hidden"),
            "the frame is gone after the drop",
        )
        before = self.codes()
        self.drop(b"\x89PNG\r\n\x1a\n and nothing else", "broken.png")
        text = self.b.value("document.getElementById('notice').innerText")
        check(
            "image" in text and self.codes() == before,
            f"a broken file is told and changes nothing: {text!r}",
        )
        svg = (
            b'<svg xmlns="http://www.w3.org/2000/svg" width="64" height="64"><rect width="64"'
            b' height="64" fill="#d02020"/></svg>'
        )
        self.b.value("document.getElementById('notice').hidden = true")
        self.drop_typed(svg)
        middle = self.pixels("#original")[3 * (16 * 32 + 16) :][:3]
        check(
            abs(middle[0] - 0xD0) < 4 and abs(middle[1] - 0x20) < 4,
            f"what only the browser reads is read by it: {middle}",
        )
        return "a picture, a broken file, one that only the browser reads"

    def drop_typed(self, svg):
        self.b.value(
            f"(() => {{ const dt = new DataTransfer(); dt.items.add(new File([{svg.decode()!r}],"
            " 'x.svg', { type: 'image/svg+xml' })); document.body.dispatchEvent(new"
            " DragEvent('drop', { dataTransfer: dt, bubbles: true, cancelable: true })); })()"
        )
        time.sleep(0.1)
        self.b.idle()

    def painting(self):
        painted = self.expected["painted"]
        self.b.click("#samples button:nth-child(1)")
        self.b.idle()
        codes, before = self.codes(), self.pixels("#decoded")
        check(
            self.b.value("document.querySelectorAll('#palette button').length")
            == self.expected["codebook"],
            "a swatch per code",
        )
        self.b.click(f"#palette button:nth-child({painted['brush'] + 1})")
        # One stroke from the first cell to the last, which lie in a row.
        at = lambda cell: self.b.point("#map", (cell % 8 + 0.5) / 8, (cell // 8 + 0.5) / 8)
        self.b.mouse("mousePressed", at(painted["cells"][0]))
        for cell in painted["cells"]:
            self.b.mouse("mouseMoved", at(cell))
        self.b.mouse("mouseReleased", at(painted["cells"][-1]))
        time.sleep(0.1)
        self.b.idle()
        want = list(codes)
        for cell in painted["cells"]:
            want[cell] = painted["brush"]
        check(
            self.codes() == want,
            f"the stroke's cells have the brush's code: {self.codes()} and not {want}",
        )
        after = self.pixels("#decoded")
        changed = sum(abs(a - b) > 8 for a, b in zip(before, after)) / len(after)
        check(changed > 0.02, f"the picture changes: {changed:.1%} of it did")
        if codes == self.expected["samples"][0]["codes"]:
            self.same_picture(painted["decoded"], "the painted picture")
        self.b.click("#undo")
        time.sleep(0.1)
        self.b.idle()
        check(
            self.codes() == codes and self.pixels("#decoded") == before,
            "undo takes the whole stroke back",
        )
        self.b.value("document.getElementById('map').focus()")
        for key in ["ArrowRight", "ArrowRight", "ArrowDown", " "]:
            self.b.key(key)
        time.sleep(0.1)
        self.b.idle()
        check(
            self.codes()[9] == painted["brush"], f"arrow keys and space paint too: {self.codes()}"
        )
        self.b.click("#map", 1.5 / 8, 0.5 / 8, modifiers=8)
        brush = int(self.b.value("document.getElementById('brush').textContent"))
        check(brush == self.codes()[1], "shift and a click pick a code up")
        self.b.click("#reset")
        time.sleep(0.1)
        self.b.idle()
        check(self.codes() == codes, "reset brings the picture's codes back")
        return (
            f"a stroke of {len(painted['cells'])} cells changed {changed:.0%} of the picture, as"
            " without a browser; undo, keys, pick, reset"
        )

    def sampling(self):
        drawing = self.expected["drawing"]
        for control in ["class", "count", "temperature", "guidance", "seed"]:
            self.b.value(f"document.getElementById({control!r}).value = {drawing[control]!r}")
        self.b.click("#draw")
        self.b.until(
            "Number(document.getElementById('progress').value) > 5", 60, "a drawing to be under way"
        )
        self.b.click("#stop")
        self.b.idle()
        stopped = self.b.value("Number(document.getElementById('progress').value)")
        check(5 < stopped < 64, f"stopped at {stopped}")
        self.b.value(
            f"document.getElementById('seed').value = {drawing['seed']}; delete"
            " document.getElementById('gallery').dataset.drawn"
        )
        seen, begun = [], time.monotonic()
        self.b.click("#draw")
        while len(seen) < 2 or self.b.value("!!document.body.dataset.busy"):
            drawn = int(self.b.value("document.getElementById('gallery').dataset.drawn ?? 0"))
            if not seen or drawn != seen[-1]:
                seen.append(drawn)
            check(time.monotonic() - begun < 120, f"the drawing to end: at {seen}")
            if drawn >= 28 and not (self.folder / "drawing.png").exists():
                self.b.screenshot(self.folder / "drawing.png")
        seconds = time.monotonic() - begun
        last = int(self.b.value("document.getElementById('gallery').dataset.drawn"))
        check(seen == sorted(seen) and last == 64 and len(seen) > 5, f"progress is seen: {seen}")
        codes = numbers(self.b.value("document.getElementById('gallery').dataset.codes"))
        each = len(drawing["codes"]) // drawing["count"]
        check(
            len(codes) == len(drawing["codes"]) and max(codes) < self.expected["codebook"],
            f"valid codes: {codes}",
        )
        # A draw that falls on the border of two codes may fall either way where sums round
        # otherwise, and all after it is another picture.
        same = sum(
            codes[i : i + each] == drawing["codes"][i : i + each]
            for i in range(0, len(codes), each)
        )
        check(
            same * 4 >= drawing["count"] * 3,
            f"{same} of {drawing['count']} pictures are those drawn without a browser",
        )
        self.b.click("#gallery button:nth-child(2)")
        time.sleep(0.1)
        self.b.idle()
        check(self.codes() == codes[each : 2 * each], "a sample can be painted on")
        return (
            f"stopped at {stopped}; {len(seen)} states seen in {seconds:.1f} s, {same} of"
            f" {drawing['count']} pictures as without a browser"
        )

    def measuring(self):
        said = []
        for size in self.expected["searches"]:
            rows = self.b.value("document.querySelectorAll('#results [data-result]').length")
            for name, value in zip("nkd", size):
                self.b.value(f"document.getElementById({name!r}).value = {value}")
            self.b.click("#measure")
            self.b.until(
                f"document.querySelectorAll('#results [data-result]').length > {rows}",
                90,
                f"a measurement of {size}",
            )
            found = json.loads(
                self.b.value("document.querySelector('#results [data-result]').dataset.result")
            )
            check([found["n"], found["k"], found["d"]] == size, f"N, K and D are shown: {found}")
            check(
                found["wrong"] == 0 and found["checked"] == min(64, size[0]),
                f"the rows that were checked are right: {found}",
            )
            flops = 2e-6 * size[0] * size[1] * size[2] / found["milliseconds"]
            check(
                found["gflops"] > 0 and abs(flops / found["gflops"] - 1) < 1e-3,
                f"a speed that fits the time: {found}",
            )
            said.append(f"{size}: {found['milliseconds']:.2f} ms, {found['gflops']:.1f} GFLOP/s")
        self.b.value(
            "document.getElementById('n').value = 1048576; document.getElementById('d').value ="
            " 1024"
        )
        self.b.click("#measure")
        time.sleep(0.1)
        self.b.idle()
        text = self.b.value("document.getElementById('notice').innerText")
        check("N and K of" in text, f"what is too much is refused in words: {text!r}")
        self.b.value(
            "document.getElementById('n').value = 16384; document.getElementById('k').value = 1024;"
            " document.getElementById('d').value = 64"
        )
        self.b.value("document.getElementById('notice').hidden = true")
        return "; ".join(said)

    def shaders(self, url):
        """Every kernel that a browser can be handed passes the browser's own compiler."""
        self.b.call("Page.navigate", url=url.replace("index.html", "empty.html"))
        self.b.until(
            "location.pathname.endsWith('empty.html') && document.readyState === 'complete'",
            20,
            "a page of its own",
        )
        found = self.b.value("""(async () => {
            const kernels = await (await fetch("/test/kernels.json")).json();
            const adapter = await navigator.gpu.requestAdapter();
            const wanted = ["subgroups", "shader-f16"].filter((f) => adapter.features.has(f));
            const device = await adapter.requestDevice({ requiredFeatures: wanted });
            let taken = 0;
            const refused = [];
            for (const [label, features, code] of kernels) {
                if (features.some((f) => !wanted.includes(f))) continue;
                device.pushErrorScope("validation");
                const module = device.createShaderModule({ code });
                const { messages } = await module.getCompilationInfo();
                await device.popErrorScope();
                const error = messages.find((m) => m.type === "error");
                if (error) refused.push(`${label}, line ${error.lineNum}: ${error.message}`);
                taken += 1;
            }
            device.destroy();
            return { taken, refused, wanted, all: kernels.length };
        })()""")
        check(
            not found["refused"],
            f"{len(found['refused'])} of {found['taken']} refused:\n"
            + "\n".join(found["refused"][:20]),
        )
        check(found["taken"] > 50, f"only {found['taken']} were tried")
        return (
            f"{found['taken']} of {found['all']} variants, with"
            f" {', '.join(found['wanted']) or 'no feature'}"
        )

    def looks(self):
        said = []
        self.b.click("#samples button:nth-child(2)")
        self.b.idle()
        for name, size in [("wide", WIDE), ("phone", PHONE)]:
            self.b.size(size)
            time.sleep(0.3)
            wide = self.b.value("document.documentElement.scrollWidth")
            check(wide <= size[0], f"at {size[0]} px the page is {wide} px wide")
            self.b.screenshot(self.folder / f"{name}.png")
            said.append(f"{size[0]} px")
        self.b.call(
            "Emulation.setEmulatedMedia",
            features=[STILL, {"name": "prefers-color-scheme", "value": "dark"}],
        )
        self.b.size(WIDE)
        self.b.screenshot(self.folder / "dark.png")
        return "no sideways scrolling at " + " and ".join(said)


class Quiet(http.server.SimpleHTTPRequestHandler):
    extensions_map = {
        **http.server.SimpleHTTPRequestHandler.extensions_map,
        ".wasm": "application/wasm",
        ".js": "text/javascript",
    }

    def translate_path(self, path):
        """Below /test/ lies what tests/web.rs wrote."""
        if path == "/empty.html":
            path = "/test/empty.html"
        if path.startswith("/test/"):
            return str(self.tests / path.removeprefix("/test/"))
        return super().translate_path(path)

    def log_message(self, *_):
        pass


def run_steps(browser, steps, folder):
    """Takes steps by name, prints what each says, and returns those that failed.

    Where "start" fails, nothing else can be tried.
    """
    failed = []
    for name, step in steps:
        begun = time.monotonic()
        try:
            said = step()
        except Failed as error:
            failed.append(name)
            said = f"FAILED: {error}"
            browser.screenshot(folder / f"failed-{name.replace(' ', '-')}.png")
        print(f"{name} ({time.monotonic() - begun:.1f} s): {said}", flush=True)
        if name == "start" and name in failed:
            break
    # A favicon or a font that is not there would be one, too.
    if browser.complaints:
        failed.append("the console")
        print("FAILED: the console holds: " + "\n".join(browser.complaints[:20]))
    return failed


def main():
    page, folder, program = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve(), sys.argv[3]
    Quiet.tests = folder
    (folder / "empty.html").write_text('<!doctype html><link rel="icon" href="data:,">')
    expected = json.loads((folder / "expected.json").read_text())
    for old in folder.glob("*.png"):
        old.unlink()
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=page)
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://localhost:{server.server_port}/index.html"
    profile = tempfile.mkdtemp(prefix="wgvq-chromium-")
    with open(folder / "chromium.log", "wb") as log:
        browser = Chromium(program, profile, log)
        try:
            browser.size(WIDE)
            browser.call("Emulation.setEmulatedMedia", features=[STILL])
            tested = Page(browser, expected, folder)
            steps = [
                ("shaders", lambda: tested.shaders(url)),
                ("without WebGPU", lambda: tested.without_webgpu(url)),
                ("without an adapter", lambda: tested.without_adapter(url)),
                ("start", lambda: tested.start(url)),
                ("reconstruction", tested.samples),
                ("a chosen file", tested.choose_file),
                ("dropped files", lambda: tested.dropped(page)),
                ("painting", tested.painting),
                ("sampling", tested.sampling),
                ("benchmark", tested.measuring),
                ("looks", tested.looks),
            ]
            failed = run_steps(browser, steps, folder)
        finally:
            browser.end()
            shutil.rmtree(profile, ignore_errors=True)
    sys.exit(f"failed: {', '.join(failed)}" if failed else 0)


if __name__ == "__main__":
    main()
