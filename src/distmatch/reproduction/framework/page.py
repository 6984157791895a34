"""`docs/reproduction.md`, from the files that experiments wrote: no number in it is typed by hand."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from distmatch.files import put
from distmatch.reports.mends import Mend, explained, made_before, read_mends
from distmatch.reproduction.framework.experiment import SCALES, Experiment, Results, from_json
from distmatch.reproduction.framework.runner import as_text, judged
from distmatch.reproduction.framework.verdict import OUTCOMES
from distmatch.reproduction.registry import EXPERIMENTS

SHOWN = SCALES[1:]  # smoke checks the machinery only
DOCUMENTS = {
    "000": "Understanding generative models (seed 000)",
    "001": "Distribution matching, slides (seed 001)",
    "002": "Distribution matching in variational inference (seed 002)",
    "003": "Generative models on MNIST (seed 003)",
    "": "Beyond the seeds",
}
MENDS = "mends.toml"  # beside the folder of results
REMARKS = "remarks.md"  # beside an experiment's results: what was seen after the run, by hand; it changes no verdict
UNRECORDED = "E1 to E8, E12, optimal-transport and inverse-cdf"


def write_page(results: Path, page: Path) -> None:
    """Write the page of all results under `results`, whose records are judged anew first."""
    judge_anew(results)
    put(page, page_of(results, page.parent).encode())


def page_of(results: Path, beside: Path) -> str:
    """The page as Markdown; links are relative to the folder `beside`."""
    kept = {name: list(kept_results(results, name)) for name in EXPERIMENTS}
    mends = read_mends(results.parent / MENDS)
    mended = {name: [m for run in kept[name] for m in _before(mends, name, run)] for name in EXPERIMENTS}
    lines = [
        "# Reproduction",
        "",
        "Each figure, table and finding of the four seeds is an experiment. Its claims are put down before it is run;",
        "where one was changed after a look at single runs, the experiment says so. A claim gets its verdict from the",
        "interval over seeds: it holds where the whole interval agrees with it, fails where the whole interval",
        "disagrees, is tied where the whole interval is within a margin that the claim states, and is inconclusive",
        "otherwise. At most one verdict in twenty is false of normal, exponential, discrete and tied values, as",
        "simulations in the tests show; means over seeds that fall into tight clusters, or of which a few dwarf the",
        "others, are misjudged more often, for no rule knows what no seed has met. Means have",
        "Student's 99 % interval, and none where more than half of the seeds give one number; medians, by which counts",
        "are judged, have that of order statistics, and none below five seeds. This rule, medians and margins, and the",
        "claims that say so were decided after these runs, whose records were judged anew. [At the end](#withdrawn)",
        "stand the claims that were withdrawn, with the reasons; no verdict counts them. Sizes at the scale cpu were",
        f"chosen with single runs in sight; of {UNRECORDED} it is not on record whether a claim was",
        "changed at that time. `make reproduction` judges what is in `docs/results/experiments`, which",
        "`distmatch reproduce NAME` writes, and makes this page of it.",
        "",
        *_counts(kept),
    ]
    if told := explained(mends, (m for named in mended.values() for m in named)):
        lines += ["", *told]
    for document, title in DOCUMENTS.items():
        members = [e for e in EXPERIMENTS.values() if e.seed == document]
        lines += ["", f"## {title}"] if members else []
        for experiment in members:
            lines += ["", *_section(experiment, kept[experiment.name], mends, results, beside)]
    lines += ["", *_withdrawn()]
    return "\n".join(lines) + "\n"


def judge_anew(results: Path) -> None:
    """Write the verdicts of the claims of today on the stored runs into their files, where they differ."""
    for name, experiment in EXPERIMENTS.items():
        for content in kept_results(results, name):
            runs = Results([from_json(run) for run in content["runs"]])
            claims = judged(experiment, runs, content["scale"])
            if claims != content["claims"]:
                put(
                    results / name / f"{content['scale']}.json",
                    as_text({**content, "claims": claims}).encode(),
                )


def kept_results(results: Path, name: str) -> Iterator[dict[str, Any]]:
    """Stored results of an experiment, at each scale but smoke."""
    for scale in SHOWN:
        file = results / name / f"{scale}.json"
        if file.is_file():
            yield json.loads(file.read_text(encoding="utf-8"))


def verdicts(results: Path, name: str) -> dict[str, tuple[str, str]]:
    """Sentence of each claim -> its last verdict, and the scale it is of, with the mends that it was made before."""
    outcomes = {}
    mends = read_mends(results.parent / MENDS)
    for content in kept_results(results, name):
        mended = ", ".join(_before(mends, name, content))
        where = content["scale"] + (f", made before {mended}" if mended else "")
        for claim in content["claims"]:
            outcomes[claim["sentence"]] = claim["outcome"], where
    return outcomes


def _before(mends: Sequence[Mend], name: str, run: dict[str, Any]) -> list[str]:
    """The mends that an experiment's numbers were made before, or some of them."""
    return made_before(mends, "experiments", name, [record.get("revision") for record in run["runs"]])


def _counts(kept: dict[str, list[dict[str, Any]]]) -> Iterator[str]:
    yield f"| | {' | '.join(OUTCOMES)} | not run |"
    yield "|---" * (len(OUTCOMES) + 2) + "|"
    for document, title in DOCUMENTS.items():
        members = [e for e in EXPERIMENTS.values() if e.seed == document]
        if members:
            count = Counter(c["outcome"] for e in members for run in kept[e.name][-1:] for c in run["claims"])
            missing = sum(len(e.claims) for e in members if not kept[e.name])
            yield f"| {title} | " + " | ".join(str(count[o]) for o in OUTCOMES) + f" | {missing} |"


def _section(
    experiment: Experiment, kept: list[dict[str, Any]], mends: Sequence[Mend], results: Path, beside: Path
) -> Iterator[str]:
    yield f"### {experiment.name}: {experiment.title}"
    yield ""
    yield experiment.about
    if not kept:
        yield ""
        yield f"Not run yet: `distmatch reproduce {experiment.name}`."
        return
    for run in kept:
        yield ""
        yield f"`{run['command']}` ({_time(run['seconds'])} of computing, {run['environment']['device']}):"
        if mended := ", ".join(_before(mends, experiment.name, run)):
            yield ""
            yield f"Made before: {mended}."
        yield ""
        yield from _claims(run["claims"])
        folder = (results / experiment.name).relative_to(beside)
        for figure in run["figures"]:
            yield ""
            yield f"![{experiment.title}]({(folder / figure).as_posix()}.svg)"
    remarks = results / experiment.name / REMARKS
    if remarks.is_file():
        yield ""
        yield remarks.read_text(encoding="utf-8").strip()


def _found(claim: dict[str, Any]) -> str:
    if claim["value"] is None:
        return "—"
    if claim["n"] == 1:
        return f"{claim['value']:.4g}"
    if claim["low"] is None:
        return f"{claim['value']:.4g}, {claim['n']} seeds"
    return f"{claim['value']:.4g} [{claim['low']:.4g}, {claim['high']:.4g}], {claim['n']} seeds"


def _claims(claims: Sequence[dict[str, Any]]) -> Iterator[str]:
    if not claims:
        yield "Its claims are [withdrawn](#withdrawn)."
        return
    yield "| claim | source | measured | expected | found, interval | verdict |"
    yield "|---|---|---|---|---|---|"
    for claim in claims:
        late = "; decided after the runs" if claim["late"] else ""
        verdict = f"**{claim['outcome']}**" if claim["outcome"] == "fails" else claim["outcome"]
        measured = claim["quantity"] + late
        yield _row(claim["sentence"], claim["source"], measured, claim["expected"], _found(claim), verdict)


def _withdrawn() -> Iterator[str]:
    yield "## Withdrawn"
    yield ""
    yield "What was measured could not tell whether these claims are true. No verdict counts them."
    yield ""
    yield "| | claim | source | measured | withdrawn because |"
    yield "|---|---|---|---|---|"
    for experiment in EXPERIMENTS.values():
        for claim in experiment.withdrawn:
            yield _row(experiment.name, claim.sentence, claim.source, claim.quantity, claim.reason)


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _time(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
