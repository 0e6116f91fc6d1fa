"""The page that `performance.py` writes from what it measured, and its charts."""

import functools

import charts
from performance_rows import FRAMES_A_SECOND, MODES, OURS, rows

def flop(row, result):
    """Floating-point operations of one pass of a row, as far as they can be counted: those of convolutions, dense and
    recurrent layers, and of the Fourier transform. A step is counted as three times the forward pass (the first layer's input needs no gradient, so it
    is a little less)."""
    line = result["peers"][OURS]
    return 2 * line["multiply_adds"] * line["batch"] * row.passes if row.passes else row.flop


def seconds(value):
    return f"{value:.3g} s" if value >= 1 else f"{value * 1e3:.3g} ms" if value >= 1e-3 else f"{value * 1e6:.3g} µs"


def marked(text, met):
    """Bold where an ask is missed."""
    return text if met else f"**{text}**"


def main_peer(row):
    return row.contestants[1].peer


def table(measured):
    """The table of the issue: a line for each row that is no point of a chart."""
    lines = ["| work | peer | peer | oido | ratio | asked | of the machine's f32 limit: peer, oido |", "|---|---|---|---|---|---|---|"]
    for row, result in measured:
        if row.chart:
            continue
        peer, mine = result["peers"][main_peer(row)]["seconds"], result["peers"][OURS]["seconds"]
        work, limit = flop(row, result), result["limit"]["f32"] * 1e9
        share = "" if not work else f"{work / peer / limit:.0%}, {work / mine / limit:.0%}"
        asked = [f"≥ {row.ask:g}"] if row.ask else []
        asked += [f"≤ {seconds(row.ask_seconds)}"] if row.ask_seconds else []
        ratio = marked(f"{peer / mine:.2f}", row.ask is None or peer / mine >= row.ask)
        own = marked(seconds(mine), row.ask_seconds is None or mine <= row.ask_seconds)
        cells = [row.name, main_peer(row), seconds(peer), own, ratio, ", ".join(asked), share]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def memory_table(measured):
    lines = ["| work | PyTorch | oido | ratio | without what the program itself takes: PyTorch, oido |", "|---|---|---|---|---|"]
    megabytes = lambda line, less=0: f"{(line['peak_bytes'] - less) / 1e6:,.0f} MB"
    for row, result in measured:
        if row.chart or not row.name.startswith("train step"):
            continue
        mine, peer = result["peers"][OURS], result["peers"][main_peer(row)]
        net = ", ".join(megabytes(line, line["base_bytes"]) for line in (peer, mine))
        ratio = mine["peak_bytes"] / peer["peak_bytes"]
        lines.append(f"| {row.name} | {megabytes(peer)} | {megabytes(mine)} | {marked(f'{ratio:.2f}', ratio <= 1)} | {net} |")
    return lines


def modes_table(measured):
    lines = []
    for row, result in measured:
        if row.chart == "modes":
            times = {peer: seconds(line["seconds"]) for peer, line in result["peers"].items()}
            cells = " | ".join(times.get(peer, "") for peer in [OURS, f"{OURS} bf16", *MODES])
            lines.append(f"| {row.name.removeprefix('modes: ')} | {cells} |")
    return headed("| work | oido | oido bf16 | " + " | ".join(MODES) + " |", lines)


CHARTS = {
    "clips": ("Inference of cnn", "clips", "seconds", 1),
    "length": ("Training step of cnn, 8 clips", "seconds of sound in a clip", "seconds", FRAMES_A_SECOND),
    "batch": ("Training step of cnn", "clips of a batch", "seconds", 1),
}


def charts_of(measured, folder):
    """Writes the charts that have points; the lines that show them."""
    draw, drawn = functools.partial(draw_in, folder), []
    for chart, (title, x_label, y_label, unit) in CHARTS.items():
        points = {}
        for row, result in measured:
            if row.chart == chart:
                x = float(row.name.rsplit(", ")[-1]) / unit
                for peer, line in result["peers"].items():
                    points.setdefault(peer, []).append((round(x, 2), line["seconds"]))
        drawn += draw(chart, title, x_label, y_label, points)
    sizes = {}
    for row, result in measured:
        if row.name.startswith("train step"):
            line = result["peers"][OURS]
            for peer in (OURS, "PyTorch f32"):
                point = (line["multiply_adds"] / 1e6, result["peers"][peer]["seconds"] / line["batch"])
                sizes.setdefault(peer, []).append(point)
    drawn += draw("size", "Training step of every network above", "million multiply-adds of a clip", "seconds a clip", sizes)
    threads = {}
    for row, result in measured:
        if row.chart == "threads":
            for peer, line in result["peers"].items():
                if "train step cnn" in row.name:
                    threads.setdefault(peer, []).append((row.threads, line["seconds"]))
    return drawn + draw("threads", "Training step of cnn", "threads", "seconds", threads)


def draw_in(folder, chart, title, x_label, y_label, points):
    if not any(len(line) > 1 for line in points.values()):
        return []
    xs = sorted({x for line in points.values() for x, _ in line})
    svg = charts.line_chart(title, x_label, y_label, points, xs if chart != "size" else None)
    (folder / f"performance-{chart}.svg").write_text(svg)
    return [f"![{title}: {y_label} against {x_label}](performance-{chart}.svg)"]


def epochs_table(measured):
    """The time split of an epoch."""
    lines = []
    for row, result in measured:
        if row.chart == "epoch":
            run, epoch = result["peers"][OURS]["seconds"], result["peers"][OURS]["answer"]
            times = [seconds(value) for value in (run, epoch["time"], epoch["waited"])]
            share = f"{epoch['waited'] / epoch['time']:.1%}"
            lines.append(f"| {row.name.removeprefix('epoch: ')} | {' | '.join(times)} | {share} |")
    return headed("| network | the whole run | its epoch | of that waiting for clips | share |", lines)


def threads_table(measured):
    lines, times = [], {}
    for row, result in measured:
        if row.chart == "threads":
            for peer, line in result["peers"].items():
                times.setdefault((row.name.split(": ")[1].rsplit(", ")[0], peer), {})[row.threads] = line["seconds"]
    for (work, peer), by in times.items():
        if len(by) == 2:
            lines.append(f"| {work} | {peer} | {seconds(by[1])} | {seconds(by[2])} | {by[1] / by[2]:.2f} |")
    return headed("| work | peer | 1 thread | 2 threads | gain |", lines)


def headed(head, lines):
    """The lines of a table under its head; nothing when there are none."""
    return [head, "|" + "---|" * (head.count("|") - 1), *lines] if lines else []


def section(title, lines, *before):
    """A section, when it has lines."""
    return [title, "", *before, *lines, ""] if any(lines) else []


def page(stored, store):
    """The page and its charts beside the store."""
    measured = [(row, stored["rows"][row.name]) for row in rows() if row.name in stored["rows"]]
    versions = {}
    for row, result in measured:
        for peer, line in result["peers"].items():
            versions[peer.split()[0] if "PyTorch" in peer else peer] = line.get("version")
    limits = [result["limit"] for row, result in measured if row.threads == 2]
    best = {kind: max(limit[kind] for limit in limits) for kind in ("f32", "bf16")}
    host = stored["machine"]
    notes = [f"- **{row.name}**: {stored['notes'][row.name]}" for row, _ in measured if row.name in stored["notes"]]
    store.with_suffix(".md").write_text("\n".join([
        "# Performance", "",
        "Written by `benches/performance.py` from `docs/performance.json`; the commands are at the end.", "",
        "## The machine", "",
        "| | |", "|---|---|",
        f"| processor | {host['processor']}; {host['cores']} cores, cache {host['cache']} |",
        f"| instructions | {host['flags']} |",
        f"| memory, system | {host['memory_gib']} GiB, {host['system']} |",
        f"| limit of matrix products, 2 threads | {best['f32']:,.0f} GFLOP/s in f32, {best['bf16']:,.0f} in bf16 (`benches/peers/limit.py`, best of all runs) |",
        f"| versions | {', '.join(f'{peer} {version}' for peer, version in versions.items() if version)} |", "",
        "## Against peers", "",
        "Two threads, f32. The contestants took turns, each in a process of its own, and the median of the passes counts. "
        "The ratio is the peer's time over oido's: above 1 oido is faster; **bold** is below what was asked. The share of the "
        "limit counts multiply-adds (`oido models`), a training step as three forward passes, against the matrix products of "
        "the same run; 3 x 3 convolutions need fewer (Winograd), so that it may be above 100%.",
        "",
        *table(measured), "",
        *(["## Where an ask is missed", "", *notes, ""] if notes else []),
        "## Memory of training", "",
        "Largest resident memory of a process that trains one network; the ratio is oido's over PyTorch's, at most 1 was asked. The last column leaves out what was resident before the "
        "network was built, which for PyTorch are mostly its own libraries.", "",
        *memory_table(measured), "",
        *section("## PyTorch's other modes", modes_table(measured)),
        *section(
            "## Waiting for clips", epochs_table(measured),
            "One epoch of `oido train urbansound8k/NETWORK` on 1,000 recordings: 800 train, 100 validate, 100 test. The loader makes "
            "batches while the network trains; `waited` in the line of an epoch is the time in which none was ready. What is left "
            "of the run decodes every clip once, validates, tests and writes the report.", ""),
        *section("## How the cost grows", [*charts_of(measured, store.parent), ""] + threads_table(measured)),
        "## Commands", "",
        "```sh",
        "cargo build --release && cargo bench --no-run",
        f"python benches/performance.py --recordings {' '.join(stored.get('recordings', ['FOLDER']))}    # everything",
        "python benches/performance.py --only \"train step cnn\"    # one row again",
        "```", "",
        "The 1,000 recordings are the first ones of these folders by path. What the machine reached just before a row, and the load of the "
        "minute before, tell how quiet it was.", "",
        "| work | peer | command | measured | version of oido | reached, load |", "|---|---|---|---|---|---|",
        *(f"| {row.name} | {peer} | `{line['command']}` | {result['date']} | {result['commit']} | {result['limit']['f32']:.0f} GFLOP/s, {result['load']:.1f} |"
          for row, result in measured for peer, line in result["peers"].items() if not row.chart), "",
    ]))  # fmt: skip
