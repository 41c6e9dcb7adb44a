"""What a client can send instead of a reply, and what a server is to say of it.

Each takes the message and the honest reply to it, and returns what comes.
"""

import io
import pickle

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, MetricRecord, RecordDict

HOSTILE = {}
REASONS = {}


def hostile(why):
    def register(client):
        HOSTILE[client.__name__] = client
        REASONS[client.__name__] = why
        return client

    return register


def saved(array, **kwargs):
    """The bytes of numpy's format."""
    file = io.BytesIO()
    np.save(file, array, **kwargs)
    return file.getvalue()


def header(text):
    """The bytes of numpy's format, with such a header and 24 bytes of numbers."""
    text = text.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + bytes(24)


def sending(message, **changed):
    """A reply whose array w is these fields, and the rest as it was sent."""
    fields = {"dtype": "float32", "shape": (2, 3), "stype": "numpy.ndarray", "data": saved(ZEROS)}
    arrays = dict(message.content["arrays"])
    arrays["w"] = Array(**{**fields, **changed})
    content = {"arrays": ArrayRecord(arrays), "metrics": MetricRecord({"num-examples": 1})}
    return Message(RecordDict(content), reply_to=message)


ZEROS = np.zeros((2, 3), np.float32)


EXPLODED = []


class Bomb:
    """Calls when it is unpickled."""

    def __reduce__(self):
        return EXPLODED.append, (1,)


@hostile("'w' holds NaN or an infinity")
def nan(message, reply):
    return sending(message, data=saved(ZEROS * np.nan))


@hostile("'w' holds NaN or an infinity")
def one_infinity(message, reply):
    values = ZEROS.copy()
    values[1, 2] = -np.inf
    return sending(message, data=saved(values))


@hostile("'w' holds numbers beyond float32")
def vast_doubles(message, reply):
    return sending(message, dtype="float64", data=saved(np.full((2, 3), 1e300)))


@hostile("'w' is (3, 2), not (2, 3)")
def other_shape(message, reply):
    return sending(message, shape=(3, 2), data=saved(ZEROS.T.copy()))


@hostile("'w' is (3,), not (2, 3)")
def broadcastable(message, reply):
    return sending(message, shape=(3,), data=saved(ZEROS[0]))


@hostile("'w' is (), not (2, 3)")
def scalar(message, reply):
    return sending(message, shape=(), data=saved(np.float32(1)))


@hostile("'w' is (0, 3), not (2, 3)")
def no_numbers(message, reply):
    return sending(message, shape=(0, 3), data=saved(ZEROS[:0]))


@hostile("'w' is of int64, not floats")
def whole_numbers(message, reply):
    return sending(message, dtype="int64", data=saved(ZEROS.astype(int)))


@hostile("'w' is of bool, not floats")
def truth_values(message, reply):
    return sending(message, dtype="bool", data=saved(ZEROS.astype(bool)))


@hostile("'w' is of type c8")
def complex_numbers(message, reply):
    return sending(message, dtype="complex64", data=saved(ZEROS.astype(np.complex64)))


@hostile("'w' is of type V2")
def bfloat16(message, reply):
    return sending(message, dtype="bfloat16", data=saved(np.zeros((2, 3), "V2")))


@hostile("'w' is of type U1")
def text(message, reply):
    return sending(message, dtype="str", data=saved(np.full((2, 3), "x")))


@hostile("'w' is no array of numbers")
def fields(message, reply):
    return sending(message, dtype="?", data=saved(np.zeros((2, 3), [("a", "<f4")])))


@hostile("'w' is no array of numbers")
def objects(message, reply):
    held = np.full((2, 3), Bomb(), dtype=object)
    return sending(message, dtype="object", data=saved(held, allow_pickle=True))


@hostile("'w' is not in numpy's format")
def pickled(message, reply):
    return sending(message, data=pickle.dumps(Bomb()))


@hostile("'w' is not in numpy's format")
def zipped(message, reply):
    file = io.BytesIO()
    np.savez(file, w=ZEROS)
    return sending(message, data=file.getvalue())


@hostile("'w' is not in numpy's format")
def rubbish(message, reply):
    return sending(message, data=bytes(range(256)) * 4)


@hostile("'w' is not in numpy's format")
def no_bytes(message, reply):
    return sending(message, data=b"")


@hostile("'w' is no array of numbers")
def half_a_header(message, reply):
    return sending(message, data=saved(ZEROS)[:40])


@hostile("'w' is of another length than its shape")
def too_short(message, reply):
    return sending(message, data=saved(ZEROS)[:-1])


@hostile("'w' is of another length than its shape")
def too_long(message, reply):
    return sending(message, data=saved(ZEROS) + b"\0")


@hostile("'w' is of another length than its shape")
def huge_claim(message, reply):
    text = "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000,), }"
    return sending(message, shape=(10**12,), data=header(text))


@hostile("'w' is no array of numbers")
def negative_claim(message, reply):
    text = "{'descr': '<f4', 'fortran_order': False, 'shape': (-2, -3), }"
    return sending(message, shape=(-2, -3), data=header(text))


@hostile("'w' is no array of numbers")
def header_of_code(message, reply):
    text = "{'descr': '<f4', 'fortran_order': False, 'shape': (__import__('os').abort(),), }"
    return sending(message, data=header(text))


@hostile("'w' is no array of numbers")
def nested_header(message, reply):
    return sending(message, data=header("(" * 90))


@hostile("'w' is not stored as a numpy array")
def unknown_kind(message, reply):
    return sending(message, stype="torch.Tensor")


@hostile("arrays are not the")
def missing_array(message, reply):
    arrays = ArrayRecord({name: each for name, each in reply.content["arrays"].items()})
    del arrays["w"]
    return Message(RecordDict({"arrays": arrays}), reply_to=message)


@hostile("arrays are not the")
def extra_array(message, reply):
    arrays = ArrayRecord(dict(reply.content["arrays"]))
    arrays["\x1b[2Jextra"] = Array(ZEROS)
    return Message(RecordDict({"arrays": arrays}), reply_to=message)


@hostile("such as 'w', which is missing")
def renamed_array(message, reply):
    arrays = {
        ("W" if name == "w" else name): each for name, each in reply.content["arrays"].items()
    }
    return Message(RecordDict({"arrays": ArrayRecord(arrays)}), reply_to=message)


@hostile("it has 0 records of arrays")
def no_arrays(message, reply):
    return Message(RecordDict({"metrics": MetricRecord({"loss": 0.1})}), reply_to=message)


@hostile("it has 0 records of arrays")
def nothing(message, reply):
    return Message(RecordDict(), reply_to=message)


@hostile("it has 0 records of arrays")
def arrays_in_a_config(message, reply):
    return Message(RecordDict({"arrays": ConfigRecord({"w": bytes(24)})}), reply_to=message)


@hostile("it has 2 records of arrays")
def two_records(message, reply):
    content = {"arrays": reply.content["arrays"], "more": reply.content["arrays"]}
    return Message(RecordDict(content), reply_to=message)


@hostile("it has 301 records")
def hundreds_of_records(message, reply):
    content = {f"record {place}": MetricRecord({"x": 1}) for place in range(300)}
    content["arrays"] = reply.content["arrays"]
    return Message(RecordDict(content), reply_to=message)


@hostile("error 2: ValueError: [2J of patient 7 xxx")
def error_text(message, reply):
    return Message(Error(2, "ValueError: \x1b[2J of patient 7\n" + "x" * 10**6), reply_to=message)


@hostile("error 5: None")
def node_is_gone(message, reply):
    lost = Message(Error(5), reply_to=message)
    lost.metadata.__dict__["_src_node_id"] = 1  # the link speaks for it
    return lost


@hostile("no reply")
def silence(message, reply):
    return None


@hostile("its reply cannot be fetched (ValueError)")
def unparsable(message, reply):
    return [ValueError("Mismatch in children object IDs")]


@hostile("no reply")
def forged_sender(message, reply):
    reply.metadata.__dict__["_src_node_id"] = 12  # an honest one
    return reply


@hostile("no reply")
def reply_to_another(message, reply):
    reply.metadata.__dict__["_reply_to_message_id"] = "message 0"
    return reply


@hostile("no reply")
def reply_to_what_has_no_hash(message, reply):
    reply.metadata.__dict__["_reply_to_message_id"] = [1]
    return reply


@hostile("it is empty")
def neither_content_nor_error(message, reply):
    reply.__dict__["_content"] = None
    return reply


@hostile("no reply")
def no_message(message, reply):
    return ["what is this"]


@hostile("its reply cannot be read (TypeError)")
def broken_content(message, reply):
    reply.__dict__["_content"] = 7
    return reply
