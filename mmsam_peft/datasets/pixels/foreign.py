"""Files that people have in the place of pictures, known by how they begin."""

import re
from collections.abc import Iterable

EXPORT = 'export a TIFF, PNG or NPY of each picture'
KINDS = [  # (how the file begins, what it is, what to do)
    (rb'(?s).{128}DICM', 'a DICOM file', f'{EXPORT}, with pydicom or a viewer'),
    (rb'(?s).{344}n[i+]1\0|\x1f\x8b', 'a NIfTI or another compressed file', EXPORT),
    (rb'%PDF', 'a PDF', 'export its pages as PNG'),
    (rb'%!PS|\xc5\xd0\xd3\xc6', 'a PostScript file', 'export it as PNG'),
    (rb'(?s)(\xef\xbb\xbf)?\s*(<\?xml.*)?(<!--.*)?<svg', 'an SVG drawing', 'export it as PNG'),
    (rb'(?s).{4}ftyp(hei|hev|mif1|msf1)', 'a HEIC photo', 'export it as JPEG or PNG'),
    (rb'(?s)\xff\x0a|.{4}JXL ', 'a JPEG XL image', 'export it as PNG'),
    (
        rb'(?s).{4}ftyp(?!avi[fs])(?!crx)|.{4}(moov|mdat)|RIFF.{4}AVI |\x1a\x45\xdf\xa3'
        rb'|\0\0\x01[\xba\xb3]|FLV|\x30\x26\xb2\x75',
        'a video',
        'export its frames as PNG, such as with ffmpeg -i VIDEO frame_%05d.png',
    ),
    (
        rb'(?s).{4}ftypcrx|(II\*\0|MM\0\*).{4}CR|FUJIFILM|IIU\0|IIR[OS]|FOVb|\0MRM',
        'a raw file of a camera',
        'develop it, and export a TIFF or PNG',
    ),
    (rb'\x89HDF|CDF[\x01\x02\x05]|MATLAB', 'an HDF5, NetCDF or MATLAB file', EXPORT),
    (rb'PK\x03\x04', 'a ZIP archive, or an NPZ', 'unpack it; one array a file, as NPY'),
    (rb'8BPS', 'a Photoshop document', 'export it as TIFF or PNG'),
    (rb'NRRD000', 'an NRRD volume', EXPORT),
]


SUFFIXES = {
    'DICOM': ('.dcm', '.dicom'),
    'HEIC': ('.heic', '.heif'),
    'video': ('.mp4', '.mov', '.avi', '.mkv', '.webm', '.wmv'),
    'PDF or SVG': ('.pdf', '.svg', '.eps'),
    'raw': ('.dng', '.nef', '.cr2', '.cr3', '.arw', '.raf', '.rw2', '.orf'),
    'medical or scientific': ('.nii', '.gz', '.nrrd', '.mha', '.h5', '.hdf5', '.nc', '.mat'),
    'other': ('.npz', '.zip', '.jp2', '.gif', '.jxl', '.psd', '.avif', '.czi', '.lif', '.svs'),
}
"""Endings of files that are not looked for, by what they are."""


def advice(suffixes: Iterable[str]) -> str:
    """What to do where a folder has files of such endings in the place of images; '' where none of
    them is known."""
    found = {name for name, known in SUFFIXES.items() for one in suffixes if one.lower() in known}
    what = ', '.join(sorted(found))
    return f'{what} files are not read: {EXPORT}' if found else ''


def refusal(start: bytes) -> str | None:
    """Why a file that begins with ``start`` (512 bytes) is no picture, and what to do; None where
    nothing is known against it."""
    for pattern, what, do in KINDS:
        if re.match(pattern, start):
            return f'got {what}, expected an image: {do}'
    return None
