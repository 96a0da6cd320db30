import csv
import io

from mmsam_peft.analysis.suite.tables import Table, latex

TABLE = Table(
    'Scores at 5 %', ['method', 'Dice'], [['a|b, "c"_d', '80.00 ± 1.00'], ['† x', '']], 'A note.'
)


def test_markdown():
    assert TABLE.markdown() == (
        '### Scores at 5 %\n\n'
        '| method | Dice |\n|---|---:|\n| a\\|b, "c"_d | 80.00 ± 1.00 |\n| † x |  |\n\nA note.\n'
    )


def test_csv_is_read_back():
    rows = list(csv.reader(io.StringIO(TABLE.csv())))
    assert rows == [list(TABLE.head), *TABLE.rows]


def test_latex():
    lines = TABLE.latex().splitlines()
    assert lines[1] == '\\begin{tabular}{lr}' and lines[3] == 'method & Dice \\\\'
    assert lines[5] == "a|b, ''c''\\_d & 80.00 $\\pm$ 1.00 \\\\"
    assert lines[6] == '$^\\dagger$ x &  \\\\'


def test_every_sign_of_latex_is_escaped():
    assert latex('\\&%$#_{}~^<>') == (
        '\\textbackslash{}\\&\\%\\$\\#\\_\\{\\}\\textasciitilde{}\\textasciicircum{}'
        '\\textless{}\\textgreater{}'
    )
