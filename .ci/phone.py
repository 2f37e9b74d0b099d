"""Look at every page of the built manual in Chromium, as on a phone and on a desk.

`.ci/site DIRECTORY && python .ci/phone.py DIRECTORY` prints a line for each fault, and exits 1 if there is
one, or 2 if it can measure nothing. A fault is a page that is wider than the window, something on it that is
cut off, small letters, or a request to anything but the site.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Empty, Queue
from threading import Thread

WIDTHS = (360, 1280)
"""Pixels of a window."""

PATIENCE = 300
"""Seconds after which Chromium is given up."""

# Each page is shown in a frame. What the page fetches, and how wide its window is, are those of the frame.
MEASURE = """
<!doctype html>
<body>
<script>
const smallest = 12;
const pages = PAGES, widths = WIDTHS;

function visible(element) {
  const style = getComputedStyle(element);
  return element.getClientRects().length && style.visibility !== "hidden" && style.opacity !== "0";
}

function scrolls(element, root) {
  for (let each = element; each && each !== root; each = each.parentElement)
    if (["auto", "scroll"].includes(getComputedStyle(each).overflowX)) return true;
  return false;
}

function faults(view, width) {
  const root = view.document.documentElement, article = view.document.querySelector("article"), found = [];
  const quote = (element) => JSON.stringify(element.textContent.trim().slice(0, 40));
  if (root.scrollWidth > width) found.push(`is ${root.scrollWidth} pixels wide`);
  if (!article) return [...found, "has no text"];
  for (const element of article.querySelectorAll("*")) {
    if (!visible(element)) continue;
    const box = element.getBoundingClientRect();
    const leaves = box.width && box.right > width + 1;
    if (leaves && !scrolls(element, root)) found.push(`cuts off ${quote(element)}`);
    // The pictures show 80 columns of a terminal, 1007 units wide, with letters of 20 units.
    if (element.matches("picture img") && (box.width * 20) / 1007 < smallest)
      found.push(`has a picture of ${box.width} pixels: ${element.alt}`);
    const writes = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    const size = parseFloat(getComputedStyle(element).fontSize);
    if (writes && size < smallest) found.push(`has letters of ${size} pixels: ${quote(element)}`);
  }
  for (const entry of view.performance.getEntriesByType("resource"))
    if (!entry.name.startsWith(location.origin + "/")) found.push(`fetches ${entry.name}`);
  return found;
}

(async () => {
  const results = [];
  for (const width of widths) {
    const frame = document.createElement("iframe");
    frame.style.cssText = `border: 0; width: ${width}px; height: 800px`;
    document.body.append(frame);
    for (const page of pages) {
      await new Promise((done) => { frame.onload = done; frame.src = page; });
      await new Promise((done) => setTimeout(done, 100));
      for (const fault of faults(frame.contentWindow, width)) results.push([page, width, fault]);
    }
    frame.remove();
  }
  await fetch("/results", { method: "POST", body: JSON.stringify(results) });
})();
</script>
"""


def pages_of(directory: str) -> list[str]:
    """Return the names of the pages of a built site."""
    return sorted(page.name for page in Path(directory).glob("*.html") if page.name != "404.html")


class Site(SimpleHTTPRequestHandler):
    """The built site, with a page that measures the others and sends what it found."""

    results: Queue[list[tuple[str, int, str]]] = Queue()

    def do_GET(self) -> None:
        """Answer with the page that measures, or with a file of the site."""
        if self.path != "/measure":
            super().do_GET()
            return
        pages = json.dumps(pages_of(self.directory))
        text = MEASURE.replace("PAGES", pages).replace("WIDTHS", json.dumps(WIDTHS)).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def do_POST(self) -> None:
        """Take what was found."""
        self.results.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *args: object) -> None:
        """Log nothing."""


def main() -> int:
    """Measure the pages of the directory on the command line; return the exit code."""
    [directory] = sys.argv[1:]
    if not pages_of(directory):
        print(f"{directory} has no pages", file=sys.stderr)
        return 2
    browser = shutil.which("chromium")
    if browser is None:
        print("chromium is not installed", file=sys.stderr)
        return 2
    flags = (
        "headless",
        "no-sandbox",
        "disable-gpu",
        "disable-dev-shm-usage",
        "hide-scrollbars",
        "no-first-run",
    )
    flags += ("disable-background-networking", "disable-component-update", "disable-sync")
    with (
        ThreadingHTTPServer(("127.0.0.1", 0), partial(Site, directory=directory)) as server,
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home,
    ):
        Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/measure"
        words = [browser, *(f"--{flag}" for flag in flags), f"--user-data-dir={home}", url]
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            results = Site.results.get(timeout=PATIENCE)
        except Empty:
            print(f"chromium has measured nothing in {PATIENCE} seconds", file=sys.stderr)
            return 2
        finally:
            process.terminate()
            process.wait()
            server.shutdown()
    for page, width, fault in results:
        print(f"{page} at {width} pixels {fault}")
    return 1 if results else 0


if __name__ == "__main__":
    sys.exit(main())
