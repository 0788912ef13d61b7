"""Images that announce more pixels than any face has."""

import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

import arcface_evaluator
import arcface_faces
import arcface_trainer

DECODERS = {
    "training": "from arcface_faces.images.decoding import decode_any_size as decode",
    "evaluation": "from arcface_faces.images.decoding import decode_scaled as decode",
}
SCRIPT = """
import resource, sys
from arcface_api.errors import InvalidInput
{decoder}
data = open(sys.argv[1], "rb").read()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    decode(data, *sys.argv[2:])
except InvalidInput as error:
    print(error)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def flat_png(side):
    """A black image of side x side, one bit a pixel: some kilobytes that decode to 3 * side * side bytes."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer = zlib.compressobj(9)
    pixels = b"".join(packer.compress(bytes(1 + side // 8)) for _ in range(side)) + packer.flush()
    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


@pytest.mark.parametrize("decoder", DECODERS)
def test_a_decompression_bomb_is_one_bad_image(tmp_path, decoder):
    bomb = tmp_path / "bomb.png"
    bomb.write_bytes(flat_png(8200))
    script = SCRIPT.format(decoder=DECODERS[decoder])
    ended = subprocess.run([sys.executable, "-c", script, bomb, "p"], capture_output=True, text=True, check=True)
    told, kilobytes = ended.stdout.splitlines()
    assert "of at most 67108864 pixels" in told
    assert int(kilobytes) < 50_000


@pytest.mark.parametrize("package", [arcface_faces, arcface_trainer, arcface_evaluator])
def test_opencv_is_imported_in_one_place(package):
    sources = Path(package.__file__).parent.rglob("*.py")
    importing = [path.name for path in sources if "\nimport cv2" in path.read_text()]
    assert importing == (["decoding.py"] if package is arcface_faces else [])
