"""Write the tables of accuracy.md and model-card.md from reports.

    napari-sam evaluate SOURCE... --everything 3 --model mobile-sam \
        --model mobile-sam-microscopy --out report.json
    python docs/accuracy_tables.py report.json ...

A later report takes the place of an earlier one on the same source and model; what no
report has is left out.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from napari_sam.training import Report

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari_sam.training.report import Row

DOCS = Path(__file__).parent
BEFORE, AFTER = "mobile-sam", "mobile-sam-microscopy"
SOURCES = (
    "dsb2018",
    "wsu_chloroplast_em2d",
    "phase_contrast_aside",
    "stardist_2d",
    "cytomapper_imc_pancreas",
    "ctc_psc_st_timelapse",
    "vnc_em_mito3d",
    "plantseg_ovule_cells3d",
    "plantseg_rgb3d",
    "wsu_chloroplast_em3d_ds4",
    "tiny_coco_natural",
)
PROMPTS = ("1", "3", "5", "box")

Rows = dict[tuple[str, str], "Row"]


def read(paths: Iterable[Path]) -> Rows:
    """Return the rows of all reports by source and model."""
    rows: Rows = {}
    for path in paths:
        for row in Report.from_json(path.read_text(encoding="utf-8")).rows:
            rows[row.source, row.model] = row
    return rows


def prompts_table(rows: Rows) -> list[str]:
    """Return the lines below the heading: IoU and score error."""
    lines = []
    for source in SOURCES:
        for model, name in ((BEFORE, BEFORE), (AFTER, "**microscopy**")):
            row = rows.get((source, model))
            if row is None or not row.objects:
                continue
            is_first = model == BEFORE
            cells = [source if is_first else ""]
            cells += [f"{len(row.objects)} in {row.images}" if is_first else "", name]
            cells += [f"{row.iou(p):.3f} / {row.iou_best(p):.3f}" for p in PROMPTS]
            cells += [
                f"{row.score_error(p):.3f} ({row.score_bias(p):+.3f})"
                for p in ("1", "box")
            ]
            lines.append(f"| {' | '.join(cells)} |")
    return lines


def everything_table(rows: Rows) -> list[str]:
    """Return the lines below the heading: average precision."""
    lines = []
    for source in SOURCES:
        cells = [source]
        for model in (BEFORE, AFTER):
            row = rows.get((source, model))
            if row is None or not row.precisions:
                break
            cells.append(str(len(row.precisions)))
            cells += [f"{row.precision[k]:.3f}" for k in ("0.5", "0.75", "mean")]
        else:
            lines.append(f"| {' | '.join(cells)} |")
    return lines


def put(path: Path, heading: str, table: list[str]) -> None:
    """Replace the lines of the table that has this heading."""
    lines = path.read_text(encoding="utf-8").splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(heading)) + 2
    below = range(start, len(lines))
    stop = next((i for i in below if not lines[i].startswith("|")), len(lines))
    lines[start:stop] = table
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"{path.name}: {len(table)} lines")


def main() -> None:
    """Write what the reports named on the command line have."""
    rows = read(map(Path, sys.argv[1:]))
    for name in ("accuracy.md", "model-card.md"):
        if table := prompts_table(rows):
            put(DOCS / name, "| set | objects | model |", table)
    if table := everything_table(rows):
        put(DOCS / "accuracy.md", "| set | mobile-sam: images |", table)


if __name__ == "__main__":
    main()
