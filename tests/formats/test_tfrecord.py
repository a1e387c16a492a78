"""Laws of the framing; checksums against a bitwise CRC32C and against the vectors of RFC 3720."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from slow_crc32c import slow_crc32c

from jaxface.formats.errors import DamagedData
from jaxface.formats.tfrecord import FRAME_BYTES, frame, frame_fault, masked_crc32c, offsets


def unmasked(masked: int) -> int:
  rotated = (masked - 0xA282EAD8) & 0xFFFFFFFF
  return (rotated >> 17 | rotated << 15) & 0xFFFFFFFF


@pytest.mark.parametrize(
  ("data", "crc"),
  [(bytes(32), 0x8A9136AA), (b"\xff" * 32, 0x62A8AB43), (bytes(range(32)), 0x46DD794E), (b"123456789", 0xE3069283)],
)
def test_checksums_are_those_of_the_rfc(data, crc):
  assert unmasked(masked_crc32c(data)) == crc == slow_crc32c(data)


@given(st.binary(max_size=64))
def test_checksum_equals_bitwise_oracle(data):
  assert unmasked(masked_crc32c(data)) == slow_crc32c(data)


@given(st.lists(st.binary(max_size=40), max_size=6))
def test_frames_are_found_again(payloads):
  shard = b"".join(map(frame, payloads))
  offset_n, length_n = offsets(shard, file="shard")
  assert [shard[at + 12 : at + 12 + length] for at, length in zip(offset_n, length_n)] == payloads
  assert len(shard) == sum(map(len, payloads)) + FRAME_BYTES * len(payloads)


@given(st.binary(min_size=1, max_size=30), st.data())
def test_every_flipped_bit_is_a_fault(payload, data):
  framed = bytearray(frame(payload))
  assert frame_fault(bytes(framed), len(payload)) is None
  at = data.draw(st.integers(0, len(framed) - 1))
  framed[at] ^= 1 << data.draw(st.integers(0, 7))
  fault = frame_fault(bytes(framed), len(payload))
  assert fault is not None
  part = "length is damaged" if at < 8 else "checksum of the length" if at < 12 else "payload"
  assert part in fault


@given(st.integers(1, 99))
def test_a_truncated_shard_names_file_offset_and_record(cut):
  shard = frame(b"first") + frame(bytes(84))
  with pytest.raises(DamagedData, match="truncated") as caught:
    offsets(shard[:-cut], file="shard-7")
  assert (caught.value.file, caught.value.offset, caught.value.record) == ("shard-7", 21, 1)
  assert "shard-7, offset 21, record 1" in str(caught.value)
