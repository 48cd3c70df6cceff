"""Compression of JSON that is stored for every job.

A dictionary contains what most jobs have in common: the names of options and results, and their
usual values. A job stores only the difference, as text that needs no escapes in JSON.
"""

from __future__ import annotations

import base64
import json
import zlib
from typing import Any

#: Never change it, or stored texts become unreadable. A new dictionary needs a new mark.
#: The most common words come last, because references to them are shortest.
_WORDS_1 = (
    b'{"url":"https://www.input.jpgx2x4png.tifcenter.largest.aligned":true"colorize"bf16openvino'
    b'onnxruntimetensorrt"failed","reason":"already-sharp"low-score"too-small"identity-too-low"'
    b'"identity_similarity":0."comparison":{"key":"tenants//results/job_0000/comparison.jpeg","width":'
    b'"crop":{"before_key":"tenants//results/job_/face-0-before.png","after_key":"-after.png"},'
    b'"background":{"name":"realesrgan-x4plus","sha256":"","precision":"fp32","scale":2,"averaged":'
    b'"metadata":{"album":"order":"customer":"id":"},"input":{"key":"files/.jpg"},'
    b'{"model":"facemend-starter","options":{"faces":"all","aligned":false,"min_face_px":16,'
    b'"max_faces":100,"detection_threshold":0.9,"strength":1.0,"min_identity":null,'
    b'"noise_scale":1.0,"truncation":1.0,"skip_sharp":true,"keep_colour":false,'
    b'"post_filter":false,"resampling":"area","seed":0,"background":"keep","strict":false},'
    b'"output":{"format":"same","quality":95,"face_crops":false,"comparison":false,"key":null},'
    b'"webhook":{"url":"https://","events":["restoration.succeeded","restoration.failed",'
    b'"restoration.canceled"]},"webhook":null,"priority":"high"low"normal","start_before_s":null,'
    b'"metadata":{},"input":{"bytes":,"sha256":"'
    b'{"image":{"key":"tenants/acme/results/job_0/restored.jpeg","width":1,"height":1,'
    b'"format":"webp","bytes":"format":"png","bytes":"format":"jpeg","bytes":,"sha256":"'
    b'"},"comparison":null,"faces":[],"model":{"name":"gpen-bfr-512","name":"facemend-starter",'
    b'"sha256":"","precision":"fp32","backend":"torch"},"background":null}'
    b'"faces":[{"index":0,"box":[1.0,2.0],"landmarks":[[1.0,2.0],[]],"score":0.99,'
    b'"status":"restored","reason":null,"identity_similarity":null,"crop":null},{"index":'
)
_MARK_1 = "1"
#: A window of 8 KB. To clear the memory of the largest one, 256 KB, takes longer than to compress.
_WINDOW_BITS = -13


def pack(value: object) -> str:
    """Return a JSON value as short ASCII text without quotes or backslashes."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    compressor = zlib.compressobj(9, wbits=_WINDOW_BITS, memLevel=6, zdict=_WORDS_1)
    return _MARK_1 + base64.b85encode(compressor.compress(text) + compressor.flush()).decode()


def unpack(packed: Any) -> Any:
    """Return the value that ``pack`` packed. Return a value that is not packed as it is.

    Raises ValueError for a text that a newer version packed.
    """
    if not isinstance(packed, str):
        return packed
    if not packed.startswith(_MARK_1):
        raise ValueError(f"packed by a newer version: mark {packed[:1]!r}")
    decompressor = zlib.decompressobj(wbits=-zlib.MAX_WBITS, zdict=_WORDS_1)
    return json.loads(decompressor.decompress(base64.b85decode(packed[1:])))
