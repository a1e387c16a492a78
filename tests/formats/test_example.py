"""The codec against Google's protobuf library with the schema of tf.train.Example, both ways."""

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from hypothesis import example, given
from hypothesis import strategies as st

from jaxface.formats.errors import DamagedData
from jaxface.formats.example import encode_example, locate_bytes, parse_example


def example_class():
  """tf.train.Example as TensorFlow's example.proto and feature.proto define it."""
  file = descriptor_pb2.FileDescriptorProto(name="example.proto", package="tensorflow", syntax="proto3")
  field = descriptor_pb2.FieldDescriptorProto

  def message(name, fields):
    found = file.message_type.add(name=name)
    for number, (field_name, label, kind, of) in enumerate(fields, start=1):
      found.field.add(name=field_name, number=number, label=label, type=kind, type_name=of)
    return found

  one, many = field.LABEL_OPTIONAL, field.LABEL_REPEATED
  message("BytesList", [("value", many, field.TYPE_BYTES, None)])
  message("FloatList", [("value", many, field.TYPE_FLOAT, None)])
  message("Int64List", [("value", many, field.TYPE_INT64, None)])
  kinds = [("bytes_list", "BytesList"), ("float_list", "FloatList"), ("int64_list", "Int64List")]
  feature = message("Feature", [(name, one, field.TYPE_MESSAGE, f".tensorflow.{of}") for name, of in kinds])
  feature.oneof_decl.add(name="kind")
  for part in feature.field:
    part.oneof_index = 0
  features = message("Features", [("feature", many, field.TYPE_MESSAGE, ".tensorflow.Features.FeatureEntry")])
  entry = features.nested_type.add(name="FeatureEntry")
  entry.options.map_entry = True
  entry.field.add(name="key", number=1, label=one, type=field.TYPE_STRING)
  entry.field.add(name="value", number=2, label=one, type=field.TYPE_MESSAGE, type_name=".tensorflow.Feature")
  message("Example", [("features", one, field.TYPE_MESSAGE, ".tensorflow.Features")])
  pool = descriptor_pool.DescriptorPool()
  pool.Add(file)
  return message_factory.GetMessageClass(pool.FindMessageTypeByName("tensorflow.Example"))


Example = example_class()

singles = st.binary(max_size=300) | st.integers(-(2**63), 2**63 - 1) | st.floats(width=32, allow_nan=False)
lists = (
  st.lists(st.binary(max_size=9), min_size=2)
  | st.lists(st.integers(-(2**63), 2**63 - 1), min_size=2)
  | st.lists(st.floats(width=32, allow_nan=False), min_size=2)
)
fields = st.dictionaries(st.text(max_size=5), singles | lists, max_size=5)


def by_protobuf(message: bytes) -> dict:
  found = {}
  for key, feature in Example.FromString(message).features.feature.items():
    values = list(getattr(feature, feature.WhichOneof("kind")).value)
    found[key] = values[0] if len(values) == 1 else values
  return found


@given(fields)
@example({"image": b"\xff\xd8", "label": 300, "id": -1, "name": b"a/b"})
def test_protobuf_reads_what_we_write_and_we_read_what_it_writes(wanted):
  ours = encode_example(wanted)
  assert by_protobuf(ours) == wanted == parse_example(ours)
  theirs = Example.FromString(ours).SerializeToString(deterministic=True)
  assert parse_example(theirs) == wanted
  assert parse_example(memoryview(theirs)) == wanted


@given(fields)
def test_equal_fields_give_equal_bytes(wanted):
  assert encode_example(wanted) == encode_example(dict(reversed(wanted.items())))


@given(st.binary(max_size=300))
def test_a_bytes_field_is_located(value):
  message = encode_example({"a": 1, "image": value, "name": "image"})
  start, length = locate_bytes(message, "image")
  assert message[start : start + length] == value
  with pytest.raises(DamagedData, match="no field 'label'"):
    locate_bytes(message, "label")


@given(st.binary(max_size=60))
@example(b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01")
@example(b"\x0a\x03\x0a\x05\x0a")
def test_any_bytes_are_read_or_named_damaged(message):
  try:
    assert isinstance(parse_example(message), dict)
  except DamagedData as error:
    assert "tf.train.Example" in str(error)


def test_truncated_message_is_damaged():
  message = encode_example({"image": bytes(50), "label": 3, "score": 0.5})
  for cut in range(1, len(message)):
    with pytest.raises(DamagedData):
      parse_example(message[:cut])


def test_wrong_types_are_named():
  with pytest.raises(TypeError, match="field 'label'"):
    encode_example({"label": None})
