"""The laboratory from the command line: a workload that is drawn, strategies compared on it, and what is written down."""

import csv
import subprocess

import berth


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
    for mode, plots in ([["--arrivals"], 8], [["--inflate", 1.2], 3]):
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
    for way in ("lower bound", "first-fit decreasing", "tightest, in order of arrival"):
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
