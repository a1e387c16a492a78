"""Commands that pack folders of faces into sharded TFRecords, and verify, count, reshard and unpack them (`jaxface.formats`)."""
