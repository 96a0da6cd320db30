"""scikit-learn's handwritten digits as a folder for linear probing.

python tools/dataset_converters/sklearn_digits.py data/digits
    writes data/digits/{train,val}/{0..9}/*.png: 1,797 images of 8 x 8, every fourth in val/.
"""

import argparse
import io
from pathlib import Path

import numpy as np
from PIL import Image

from mmsam_peft.whole_files import write_whole


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('out', type=Path)
    args = parser.parse_args()
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise SystemExit(
            "The digits come with scikit-learn: pip install -e '.[analysis]'"
        ) from None
    digits = load_digits()
    for number, (image, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        content = io.BytesIO()
        Image.fromarray(np.uint8(image * 255 / 16)).save(content, 'PNG')
        folder = args.out / ('val' if number % 4 == 3 else 'train') / str(label)
        write_whole(folder / f'{number:04}.png', content.getvalue())
    print(f'{len(digits.target)} images in {args.out}')


if __name__ == '__main__':
    main()
