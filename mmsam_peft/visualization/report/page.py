"""report.html: one page that shows how good a model is, against what, and what it gets wrong."""

import os
import time
from html import escape
from pathlib import Path

from ...whole_files import write_whole
from .evaluation import evaluation
from .gallery import Gallery
from .scored import score
from .style import STYLE
from .training import curves, data, facts, last_scores
from .work_dir import Run, read_run

REPORT = 'report.html'


def write_report(folder: str | os.PathLike) -> Path:
    """Writes ``report.html`` into a work directory from what lies there, and returns its path.

    Raises:
        FileNotFoundError: Nothing lies there.
    """
    run = read_run(Path(folder))
    path = run.folder / REPORT
    write_whole(path, page(run).encode())
    return path


def page(run: Run) -> str:
    """A whole page that needs no other file, no network and no script."""
    scored = {split: score(record) for split, record in run.records.items()}
    gallery = Gallery(list(run.records.values()))
    notes = list(run.notes)
    if gallery.missing:
        shown = '; '.join(gallery.missing[:3])
        notes.append(f'{len(gallery.missing)} images could not be read to show them: {shown}.')
    parts = [
        evaluation(one, run.baselines if split == 'val' else {}, gallery)
        for split, one in scored.items()
    ]
    if not scored:
        parts.append(last_scores(run))
        notes.append(
            'There are no scores of single images here. tools/test.py with this work directory '
            'makes them, on the test set; trainings of this version make them on the validation '
            'set.'
        )
    val = run.records.get('val')
    main = [view.score for view in val.views] if val else []
    reached = {name: val.info.get('iteration') for name in main} if val else {}
    parts += [curves(run, main, reached), data(run), facts(run)]
    remarks = ''.join(f'<p class="warn">{escape(note)}</p>' for note in notes)
    place = run.folder.resolve()
    name = f'{place.parent.name}/{place.name}' if 'work_dirs' in place.parts else place.name
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"/>'
        '<meta name="viewport" content="width=device-width, initial-scale=1"/>'
        f'<title>{escape(name)}: report</title><style>{STYLE}</style></head><body><main>'
        f'<header><h1>{escape(name)}</h1><p class="quiet">{_subtitle(run)}</p></header>'
        f'{"".join(parts[:1])}{remarks}{"".join(parts[1:])}'
        f'<footer>Made by mmsam_peft on {time.strftime("%Y-%m-%d %H:%M")}.</footer>'
        '</main></body></html>\n'
    )


def _subtitle(run: Run) -> str:
    settings = run.facts.get('settings') or {}
    known = [str(settings[key]) for key in ('encoder', 'method', 'length') if settings.get(key)]
    return escape(' · '.join(known))
