"""The two elements of the protobuf wire format that our messages use."""

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


def varint(value: int) -> bytes:
  """A varint-encoded integer; negative ones in two's complement, as for int64."""
  value &= 0xFFFFFFFFFFFFFFFF
  out = bytearray()
  while value > 0x7F:
    out.append(value & 0x7F | 0x80)
    value >>= 7
  out.append(value)
  return bytes(out)


def block(field: int, content: bytes) -> bytes:
  """A field of bytes: text, packed numbers, or a message within the message."""
  return varint(field << 3 | BYTES) + varint(len(content)) + content
