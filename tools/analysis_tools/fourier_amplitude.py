"""How much of high frequencies the maps of encoders hold, block by block.

python tools/analysis_tools/fourier_amplitude.py IMAGES SAM=sam_vit_b.pth MAE=mae_vit_b.pth \\
    tuned=CONFIG,ADAPTER --out DIR
    writes fourier_amplitude.csv and .png.
"""

from encoder_arguments import encoder_parser, read_arguments

from mmsam_peft.analysis.fourier import amplitude_rows, mean_curves, plot_amplitudes
from mmsam_peft.analysis.rows import as_csv
from mmsam_peft.whole_files import write_whole


def main() -> None:
    args, encoders, paths = read_arguments(encoder_parser(__doc__))
    curves = mean_curves(encoders, paths)
    write_whole(args.out / 'fourier_amplitude.csv', as_csv(amplitude_rows(curves)).encode())
    plot_amplitudes(curves, args.out / 'fourier_amplitude.png')
    for name, blocks in curves.items():
        print(name, 'at frequency pi, by block:', ' '.join(f'{v:.2f}' for v in blocks[:, -1]))


if __name__ == '__main__':
    main()
