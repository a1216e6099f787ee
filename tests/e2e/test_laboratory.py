"""The laboratory from the command line: a workload that is drawn, strategies compared on it, and what is written down."""

import csv
import json
import re
import subprocess
import xml.etree.ElementTree as xml

import berth
import browser


def sim(*arguments):
    return subprocess.run([berth.BINARY, "sim", *map(str, arguments)], capture_output=True, text=True, timeout=120)


def drawn(folder):
    answer = sim("generate", "services", "--hosts", 20, "--tasks", 300, "--out", folder)
    assert answer.returncode == 0, answer.stderr
    return ["--hosts", folder / "hosts.csv", "--trace", folder / "tasks.csv"]


def rows(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def test_strategies_on_a_drawn_workload_are_compared_in_a_table_csv_and_a_page(tmp_path):
    tables = drawn(tmp_path / "drawn")
    policies = ["--strategy", "random", "--strategy", "spread=attribute:ecs.availability-zone+tightest"]
    for mode, plots in ([["--arrivals"], 6], [["--inflate", 1.2], 3]):
        out = tmp_path / mode[0]
        answer = sim("run", *tables, *policies, *mode, "--seeds", 2, "--out", out)
        assert answer.returncode == 0, answer.stderr
        assert "random" in answer.stdout and "spread=attribute:ecs.availability-zone+tightest" in answer.stdout
        assert [row["policy"] for row in rows(out / "summary.csv")] == policies[1::2]
        points = rows(out / "points.csv")
        assert {row["seed"] for row in points} == {"42", "43"} and len(points) > 100
        page = (out / "report.html").read_text()
        assert page.count("<figure>") == plots
        assert "http" not in page, "the page is read without a network"
        pictures = sorted(out.glob("*.svg"))
        assert len(pictures) == plots
        for picture in pictures:
            assert "polyline" in {element.tag.split("}")[1] for element in xml.parse(picture).iter()}


def test_moves_every_so_often_free_hosts_and_are_told_beside_the_same_without_them(tmp_path):
    tables, out = drawn(tmp_path / "drawn"), tmp_path / "moved"
    arguments = ["run", *tables, "--strategy", "tightest", "--arrivals"]
    answer = sim(*arguments, "--defragment-every", 300, "--max-moves", 10, "--out", out)
    assert answer.returncode == 0 and "at most 10 tasks are moved every 300 s" in answer.stdout, answer
    still, moved = rows(out / "summary.csv")
    assert (still["policy"], moved["policy"]) == ("tightest", "tightest with moves")
    assert still["moves"] == still["hosts freed"] == "0"
    assert int(moved["moves"]) >= int(moved["hosts freed"]) > 0
    assert float(moved["hosts used"]) < float(still["hosts used"])
    last = rows(out / "points.csv")[-1]
    assert last["policy"] == "tightest with moves" and last["moves"] == moved["moves"]
    for wrong, said in ((["--max-moves", 10], "--defragment-every"), (["--defragment-every", 0], "0")):
        answer = sim(*arguments, *wrong)
        assert answer.returncode != 0 and said in answer.stderr, answer.stderr
    answer = sim("run", *tables, "--strategy", "tightest", "--defragment-every", 300)
    assert answer.returncode != 0 and "--arrivals" in answer.stderr, answer.stderr


def test_experiment_made_again_gives_the_same_points(tmp_path):
    tables = drawn(tmp_path / "drawn")
    texts = []
    for name in ("one", "two"):
        answer = sim("run", *tables, "--strategy", "random", "--arrivals", "--out", tmp_path / name)
        assert answer.returncode == 0, answer.stderr
        texts.append((tmp_path / name / "points.csv").read_text())
    assert texts[0] == texts[1]


def test_packing_of_a_drawn_workload_is_beside_the_lower_bound_and_known_heuristics(tmp_path):
    tables = drawn(tmp_path / "drawn")
    answer = sim("packing", *tables[2:], "--host", "32768x131072")
    assert answer.returncode == 0, answer.stderr
    for way in ("lower bound", "first-fit decreasing", "tightest in order of arrival"):
        assert way in answer.stdout, answer.stdout


def test_what_is_not_understood_is_refused_with_the_line_and_what_to_do(tmp_path):
    tables = drawn(tmp_path / "drawn")
    answer = sim("run", *tables, "--strategy", "worst-fit")
    assert answer.returncode != 0 and "'worst-fit'" in answer.stderr and "tightest" in answer.stderr, answer.stderr
    tasks = (tmp_path / "drawn" / "tasks.csv").read_text().splitlines()
    tasks[4] = tasks[4].replace(",", ",x", 2)
    broken = tmp_path / "broken.csv"
    broken.write_text("\n".join(tasks))
    answer = sim("run", *tables[:2], "--trace", broken, "--strategy", "random")
    assert answer.returncode != 0 and "line 5: cpu_units is 'x" in answer.stderr, answer.stderr
    answer = sim("run", *tables, "--strategy", "random", "--arrivals", "--live")
    assert answer.returncode != 0 and "--live draws on a terminal" in answer.stderr, answer.stderr


def recording(path):
    """A recording of tasks that were spread over three hosts, of which one goes every so often."""
    host = lambda number: {
        "host": number, "id": f"{number + 1:032x}", "name": f"h{number}", "cpu": 40_000, "memory": 200_000,
        "attributes": {"ecs.availability-zone": "ab"[number % 2]}, "status": "ACTIVE", "connected": True, "registeredAt": 0,
    }
    placed = lambda task: {
        "task": task, "id": f"{task + 100:032x}", "request": 0, "host": task % 3,
        "decision": {"seed": 5, "considered": 3, "ranks": [0], "tasks": task // 3},
    }
    cluster = "arn:aws:ecs:us-east-1:123456789012:cluster/shop"
    lines = [{"recording": {"version": 2, "cluster": cluster, "fromIndex": 2, "berth": "0.2.0"}}]
    lines += [{"host": host(number)} for number in range(3)]
    lines.append({"request": {"request": 0, "group": "service:web", "cpu": 300, "memory": 1000, "strategies": ["spread=instanceId"]}})
    for task in range(60):
        lines += [{"entry": {"index": 5 + task, "at": 1_000_000 * task}}, {"placed": placed(task)}]
        if task % 3 == 2:
            lines.append({"gone": {"task": task // 2}})
    lines.append({"end": {"index": 64, "lines": len(lines)}})
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_reports_in_a_browser_are_drawn_without_complaints_in_wide_and_narrow_windows(tmp_path):
    tables = drawn(tmp_path / "drawn")
    policies = ["--strategy", "random", "--strategy", "spread=attribute:ecs.availability-zone+tightest", "--strategy", "binpack=cpu"]
    made = {
        # A line more in the plot of hosts: the lower bound.
        "arrivals": (["run", *tables, *policies, "--arrivals"], [3, 3, 4, 3, 3, 3]),
        "inflation": (["run", *tables, *policies, "--inflate", 1.2], [3, 3, 3]),
        "packing": (["packing", *tables[2:], "--host", "32768x131072"], [6, 6]),
        "moves": (["run", *tables, "--strategy", "tightest", "--arrivals", "--defragment-every", 300], [2, 2, 3, 2, 2, 2, 2]),
        # The first is what was recorded.
        "replay": (["replay", recording(tmp_path / "recording.jsonl"), *policies], [4, 4, 4, 4, 4]),
    }
    for name, (arguments, lines) in made.items():
        answer = sim(*arguments, "--out", tmp_path / name)
        assert answer.returncode == 0, answer.stderr
        for window in ({}, {"width": 500, "dark": True}) if name in ("arrivals", "replay") else ({},):
            where = f"{name} {window}"
            shown = browser.show(tmp_path / name / "report.html", tmp_path / f"{name}-{len(window)}", **window)
            assert shown.complaints == [], where
            assert not shown.is_wider_than_its_window, where
            assert [len(plot["lines"]) for plot in shown.plots] == lines, where
            for plot in shown.plots:
                assert min(plot["lines"]) > 100, f"{where}: a line that is not drawn in {plot}"
                assert plot["width"] > 400 and 0.4 < plot["height"] / plot["width"] < 0.6, f"{where}: {plot}"
                assert len(plot["legend"]) == len(set(plot["colours"])) == len(plot["lines"]), f"{where}: {plot}"
                assert plot["lying"] == [] and plot["outside"] == [], f"{where}: texts that cannot be read in {plot}"
                assert plot["letters"] > 9, f"{where}: {plot}"
            assert browser.different_rows(shown.picture) > 300, where


def test_browser_that_complains_or_shows_nothing_is_noticed(tmp_path):
    page = tmp_path / "page.html"
    page.write_text("<!DOCTYPE html><html><body><script>nothing()</script></body></html>")
    shown = browser.show(page, tmp_path / "shown")
    assert len(shown.complaints) == 1 and "nothing is not defined" in shown.complaints[0]
    assert shown.plots == []


def test_pictures_of_the_documentation_are_there_and_need_nothing_but_themselves():
    docs = berth.ROOT / "docs"
    named = [(page, name) for page in docs.rglob("*.md") for name in re.findall(r"!\[[^\]]+\]\(([^)]+)\)", page.read_text())]
    assert {(page.parent / name).resolve() for page, name in named} == set((docs / "pictures").iterdir())
    for page, name in named:
        picture = page.parent / name
        text = picture.read_text()
        assert len(text) < 60_000, f"{picture} is too large"
        root = xml.fromstring(text)
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert len([element for element in root.iter() if element.tag.endswith("}polyline")]) >= 3, picture
        # The one address in it is the name of SVG itself.
        for sign in ("http", "href", "url(", "@import", "<script"):
            assert text.count(sign) == (sign == "http"), f"{picture} holds {sign}"
