"""Tables of documents and of the sequences cut from them."""

import pyarrow as pa

DOCUMENTS = pa.schema(
    [
        ("text", pa.string()),  # prose, or null
        (
            "messages",
            pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())])),
        ),
    ]
)

CORPUS = pa.schema(
    [
        ("seq_id", pa.int64()),  # ascending: 0..n-1; of imported sequences a hash of the tokens
        ("source", pa.string()),
        ("document", pa.int64()),  # fingerprint of the document; null where not known
        ("prefix_len", pa.int16()),  # leading template tokens
        ("input_ids", pa.list_(pa.int32())),
    ]
)
