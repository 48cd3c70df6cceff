"""What a file or manifest says of a picture whose faces were restored."""

from __future__ import annotations

#: IPTC NewsCodes, digital source type: "edited using generative AI".
COMPOSITE = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
