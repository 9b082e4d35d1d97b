"""What bytes are, told from how they begin. Names and declared media types are not believed."""

import re

PICTURES = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
CLIPS = ("MP4", "WEBM")
"""MP4 stands for QuickTime and M4A too, WEBM for Matroska."""
SOUNDS = ("WAV", "MP3", "FLAC", "OGG", "AAC", "MP4", "WEBM")

STARTS = {
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"GIF87a": "GIF",
    b"GIF89a": "GIF",
    b"BM": "BMP",
    b"II*\x00": "TIFF",
    b"MM\x00*": "TIFF",
    b"\x1a\x45\xdf\xa3": "WEBM",
    b"OggS": "OGG",
    b"fLaC": "FLAC",
    b"ID3": "MP3",
    b"%PDF": "PDF",
    b"PK\x03\x04": "ZIP",
    b"\x1f\x8b": "GZIP",
    b"8BPS": "Photoshop",
    b"\x00\x00\x00\x0cjP  ": "JPEG 2000",
    b"\xff\x0a": "JPEG XL",
    b"\x00\x00\x00\x0cJXL ": "JPEG XL",
    b"\x00\x00\x01\x00": "ICO",
    b"FLV\x01": "FLV",
    b"#EXTM3U": "HLS playlist",
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11": "WMV or WMA",
    b"#!AMR": "AMR",
}
IN_RIFF = {b"WEBP": "WEBP", b"WAVE": "WAV", b"AVI ": "AVI"}
MP4_BOXES = {b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"}
HEIC_BRANDS = {b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"}
XML = re.compile(rb"\s*<(\?xml|!doctype|!--|[a-z])", re.IGNORECASE)
SVG = re.compile(rb"<svg[\s>]", re.IGNORECASE)


def format_of(data: bytes) -> str | None:
    """One of the names above, the name of a format that is not read here, or None where nobody knows."""
    for start, name in STARTS.items():
        if data.startswith(start):
            return name
    if data[:4] in (b"RIFF", b"RF64"):
        return IN_RIFF.get(data[8:12])
    if data[4:8] in MP4_BOXES:
        return _of_brand(data)
    # Sound without a file format around it: a frame of AAC, or else of MPEG audio.
    if data[:1] == b"\xff" and len(data) > 1:
        if data[1] & 0xF6 == 0xF0:
            return "AAC"
        if data[1] & 0xE0 == 0xE0 and data[1] & 0x06:
            return "MP3"
    return _of_markup(data)


def _of_brand(data: bytes) -> str:
    if data[4:8] != b"ftyp":
        return "MP4"
    if data[8:12] in (b"avif", b"avis"):
        return "AVIF"
    if data[8:12] in HEIC_BRANDS:
        # The major brand of some AVIF files is that of the container; which of the two follows.
        return "AVIF" if b"avif" in data[16:64] else "HEIC"
    return "MP4"


def _of_markup(data: bytes) -> str | None:
    head = data[:4096].removeprefix(b"\xef\xbb\xbf")
    if not XML.match(head):
        return None
    if SVG.search(head):
        return "SVG"
    return "HTML" if b"html" in head.lower() else "XML"


def in_words(name: str | None) -> str:
    """After "it is"."""
    match name:
        case None:
            return "of no known format"
        case "HTML":
            return "a web page (HTML)"
        case "MP4":
            return "MP4 or QuickTime"
        case "WEBM":
            return "WebM or Matroska"
        case _:
            return name
