"""How far the attention of encoders reaches, block by block.

python tools/analysis_tools/attention_distance.py IMAGES SAM=sam_vit_b.pth MAE=mae_vit_b.pth \\
    tuned=CONFIG,ADAPTER --out DIR
    prints a table, and writes attention_distance.csv and .png.
"""

from encoder_arguments import encoder_parser, read_arguments

from mmsam_peft.analysis.attention_distance import (
    attention_distances,
    distance_rows,
    plot_distances,
)
from mmsam_peft.analysis.rows import as_csv, as_markdown
from mmsam_peft.whole_files import write_whole


def main() -> None:
    args, encoders, paths = read_arguments(encoder_parser(__doc__))
    reaches = {one.name: attention_distances(one.module, one.images(paths)) for one in encoders}
    rows = distance_rows(reaches)
    write_whole(args.out / 'attention_distance.csv', as_csv(rows).encode())
    plot_distances(reaches, args.out / 'attention_distance.png')
    print(as_markdown(rows))


if __name__ == '__main__':
    main()
