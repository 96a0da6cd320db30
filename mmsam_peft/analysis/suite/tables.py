"""A table of texts as Markdown, CSV and LaTeX."""

from collections.abc import Sequence
from dataclasses import dataclass

from ..rows import as_csv, markdown_line

LATEX = {
    '\\': r'\textbackslash{}',
    **{sign: f'\\{sign}' for sign in '&%$#_{}'},
    '~': r'\textasciitilde{}',
    '^': r'\textasciicircum{}',
    '±': r'$\pm$',
    '†': r'$^\dagger$',
    '<': r'\textless{}',
    '>': r'\textgreater{}',
    '"': r"''",
}


@dataclass(frozen=True)
class Table:
    """Rows of texts under a head; the first column is text, the others are numbers."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ''

    def markdown(self) -> str:
        lines = [markdown_line(self.head), '|---|' + '---:|' * (len(self.head) - 1)]
        text = '\n'.join([*lines, *map(markdown_line, self.rows)])
        return f'### {self.title}\n\n{text}\n' + (f'\n{self.note}\n' if self.note else '')

    def csv(self) -> str:
        return as_csv([self.head, *self.rows])

    def latex(self) -> str:
        """A tabular for the package booktabs."""
        body = [_latex_line(row) for row in self.rows]
        lines = [
            f'% {self.title}'.replace('\n', ' '),
            f'\\begin{{tabular}}{{l{"r" * (len(self.head) - 1)}}}',
            '\\toprule',
            _latex_line(self.head),
            '\\midrule',
            *body,
            '\\bottomrule',
            '\\end{tabular}',
        ]
        return '\n'.join(lines) + '\n'


def latex(text: str) -> str:
    """With every sign that LaTeX takes for its own written out."""
    return ''.join(LATEX.get(sign, sign) for sign in text)


def _latex_line(cells: Sequence[str]) -> str:
    return ' & '.join(map(latex, cells)) + ' \\\\'
