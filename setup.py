from pathlib import Path

from setuptools import find_packages, setup

here = Path(__file__).parent
version = {}
exec((here / 'mmsam_peft' / 'version.py').read_text(), version)

setup(
    name='mmsam_peft',
    version=version['__version__'],
    description='Parameter-efficient fine-tuning of Segment Anything on OpenMMLab',
    long_description=(here / 'README.md').read_text(),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    packages=find_packages(include=['mmsam_peft', 'mmsam_peft.*']),
    package_data={'mmsam_peft': ['assets/*.safetensors', '.mim/model-index.yml', '.mim/configs/**/*.py']},
    python_requires='>=3.10,<3.14',
    install_requires=[
        'torch>=2.4',
        'onedl-mmengine>=0.10.12',
        'onedl-mmcv>=2.3.6',
        'onedl-mmsegmentation>=1.4.2',
        'segment-anything>=1.0',
        'numpy',
        'scipy',
        'safetensors>=0.4.3',
        'pillow',
        'filelock',
        'rich',
    ],
    extras_require={
        'nyuv2': ['h5py'],
        'peft': ['peft>=0.21.2'],
        'tensorboard': ['tensorboard'],
        'tests': ['pytest>=8', 'pytest-xdist', 'ruff', 'peft>=0.21.2', 'tensorboard'],
    },
)
