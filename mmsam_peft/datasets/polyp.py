from ..registry import DATASETS
from .kvasir import KvasirDataset
from .published import Part, converted, listed

KVASIR, CVC = 'Kvasir', 'CVC-612'
CVC_RAW = '{CVC-ClinicDB/,CVC-612/,}{PNG/,TIF/,}'


def _raw(test: bool) -> list[Part]:
    """Both archives beside each other, split by PraNet's lists."""
    kvasir, cvc = listed('pranet_kvasir_test'), listed('pranet_cvc_test')
    return [
        Part(
            '{Kvasir-SEG/,kvasir-seg/Kvasir-SEG/}images',
            '{Kvasir-SEG/,kvasir-seg/Kvasir-SEG/}masks',
            100 if test else 900,
            KVASIR if test else '',
            take=lambda name: (name in kvasir) == test,
        ),
        Part(
            f'{CVC_RAW}Original',
            f'{CVC_RAW}{{Ground Truth,Ground_Truth,GroundTruth}}',
            62 if test else 550,
            CVC if test else '',
            take=lambda name: (name in cvc) == test,
        ),
    ]


@DATASETS.register_module()
class PolypDataset(KvasirDataset):
    """Polyps in colonoscopy images: Kvasir-SEG (Jha et al., MMM 2020) and CVC-ClinicDB, CVC-612
    (Bernal et al., CMIG 2015), trained on jointly, 900 + 550 images, and tested on each, 100 and
    62: the split of PraNet (Fan et al., MICCAI 2020)."""

    values = 'binary255'
    layouts = (
        dict(
            train=[Part('TrainDataset/{images,image}', 'TrainDataset/{masks,mask}', 1450)],
            test=[
                Part(
                    'TestDataset/Kvasir/{images,image}',
                    'TestDataset/Kvasir/{masks,mask}',
                    100,
                    KVASIR,
                ),
                Part(
                    'TestDataset/CVC-ClinicDB/{images,image}',
                    'TestDataset/CVC-ClinicDB/{masks,mask}',
                    62,
                    CVC,
                ),
            ],
        ),
        dict(train=_raw(False), test=_raw(True)),
        converted(KVASIR, CVC),
    )
