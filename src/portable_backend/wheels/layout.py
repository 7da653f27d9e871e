"""What readers and writers of zip archives have in common: structures, flags, limits.

Source: the .ZIP file format specification (APPNOTE) 4.3.7 (local header), 4.4.4 (flags), 4.5.3 (ZIP64).
"""

from __future__ import annotations

import binascii
import struct

LOCAL_HEADER = struct.Struct("<4s5H3I2H")
# Flags that change how a member is read (APPNOTE 4.4.4): encrypted, strongly encrypted or with masked headers;
# streamed; patched data; name in UTF-8.
ENCRYPTED, STREAMED, PATCHED, UTF8_NAME = 0x1 | 0x40 | 0x2000, 0x8, 0x20, 0x800
MAX32 = 0xFFFFFFFF
CHUNK = 256 << 10
STORED, DEFLATED = 0, 8


def record_digest(digest: bytes) -> str:
    """A digest as ``RECORD`` writes it: urlsafe base64 without padding (PEP 376)."""
    text = binascii.b2a_base64(digest, newline=False).decode("ascii")
    return text.rstrip("=").replace("+", "-").replace("/", "_")
