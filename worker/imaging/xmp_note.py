"""The note in a result that a part of the picture was generated: IPTC metadata in XMP.

IPTC Photo Metadata Standard, "Digital Source Type"; XMP (ISO 16684-1). Viewers and search engines
read it. It says nothing about the person or the photo.
"""

from __future__ import annotations

from shared.provenance.source_type import COMPOSITE

#: The packet as JPEG (APP1), WebP (chunk XMP) and PNG (iTXt) have it.
XMP_NOTE = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
    '<x:xmpmeta xmlns:x="adobe:ns:meta/">'
    '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about=""'
    ' xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"'
    ' xmlns:xmp="http://ns.adobe.com/xap/1.0/"'
    f' Iptc4xmpExt:DigitalSourceType="{COMPOSITE}"'
    ' xmp:CreatorTool="Facemend"/>'
    "</rdf:RDF></x:xmpmeta>"
    '<?xpacket end="r"?>'
).encode()

PNG_KEYWORD = "XML:com.adobe.xmp"
#: Keyword, no compression, no language, no translated keyword (PNG, 11.3.3.4).
PNG_ITXT = PNG_KEYWORD.encode() + b"\0\0\0\0\0" + XMP_NOTE
