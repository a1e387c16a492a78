"""CRC-32C from its definition, as an oracle."""


def slow_crc32c(data: bytes) -> int:
  """The reflected polynomial 0x82F63B78, bit by bit."""
  crc = 0xFFFFFFFF
  for byte in data:
    crc ^= byte
    for _ in range(8):
      crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
  return crc ^ 0xFFFFFFFF
