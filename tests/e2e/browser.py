"""A page in Chromium without a window: what the browser complains of, what is drawn where, and whether anything can be seen."""

import json
import re
import shutil
import subprocess
import zlib

# Says of each plot what the browser made of it. Texts that lie on each other are those whose boxes share more than a pixel.
MEASURE = """<script>
const box = element => element.getBoundingClientRect();
const overlap = (a, b) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1 && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 1;
const measured = [...document.querySelectorAll("figure")].map(figure => {
  const svg = figure.querySelector("svg"), texts = [...svg.querySelectorAll("text")], lying = [];
  texts.forEach((one, place) => texts.slice(place + 1).forEach(other => {
    if (overlap(box(one), box(other))) lying.push(one.textContent + " | " + other.textContent);
  }));
  const outside = texts.filter(text => box(text).left < box(svg).left - 1 || box(text).right > box(svg).right + 1);
  return {
    title: figure.querySelector("figcaption").textContent, width: box(svg).width, height: box(svg).height,
    lines: [...svg.querySelectorAll("polyline")].map(line => line.getTotalLength()),
    colours: [...svg.querySelectorAll("polyline")].map(line => getComputedStyle(line).stroke + getComputedStyle(line).strokeDasharray),
    legend: [...figure.querySelectorAll(".legend li")].map(item => item.textContent.trim()),
    lying, outside: outside.map(text => text.textContent),
    letters: Math.min(...texts.map(text => parseFloat(getComputedStyle(text).fontSize) * svg.getScreenCTM().a)),
  };
});
const told = document.createElement("pre");
told.id = "measured";
told.textContent = JSON.stringify({plots: measured, wide: document.documentElement.scrollWidth > window.innerWidth});
document.body.append(told);
</script>"""


class Shown:
    """What became of a page."""

    def __init__(self, complaints, measured, picture):
        self.complaints = complaints
        self.plots = measured["plots"]
        self.is_wider_than_its_window = measured["wide"]
        self.picture = picture


def show(page, folder, width=1000, height=1400, dark=False):
    """Opens the page at a path, measured by a script that is put behind it, in a window of this size."""
    program = shutil.which("chromium")
    assert program, "there is no chromium: `tests/run.sh e2e` installs Debian's package"
    folder.mkdir()
    measured, picture = folder / "measured.html", folder / "picture.png"
    measured.write_text(page.read_text().replace("</body>", MEASURE + "</body>"))
    # Containers run as root, where Chromium has no sandbox; what is opened was written by the test.
    arguments = [
        "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run", "--disable-background-networking",
        "--disable-dev-shm-usage", "--enable-logging=stderr", f"--user-data-dir={folder / 'profile'}", f"--window-size={width},{height}",
        f"--blink-settings=preferredColorScheme={0 if dark else 1}", f"--screenshot={picture}", "--dump-dom", measured.as_uri(),
    ]
    answer = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=60)
    found = re.search(r'<pre id="measured">(.*?)</pre>', answer.stdout, re.DOTALL)
    assert answer.returncode == 0 and found, f"{answer.stderr}\n{answer.stdout[-2000:]}"
    complaints = [line for line in answer.stderr.splitlines() if "CONSOLE" in line]
    text = found.group(1).replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    return Shown(complaints, json.loads(text), picture)


def different_rows(picture):
    """How many rows of pixels of a PNG differ from all others, as they are filtered: a page without anything on it has one or two."""
    data, at, packed, height, row = picture.read_bytes(), 8, b"", 0, 0
    while at < len(data):
        length, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        body = data[at + 8 : at + 8 + length]
        if kind == b"IHDR":
            width, height = int.from_bytes(body[:4], "big"), int.from_bytes(body[4:8], "big")
            # Eight bits to a colour, and a byte ahead that names the filter.
            row = 1 + width * {2: 3, 6: 4}[body[9]]
        if kind == b"IDAT":
            packed += body
        at += length + 12
    pixels = zlib.decompress(packed)
    assert len(pixels) == height * row
    return len({pixels[start : start + row] for start in range(0, len(pixels), row)})
