"""What a gateway and an engine process say to each other: msgspec structs as msgpack over ZeroMQ.

An engine binds two ROUTER sockets, `intake` and `output`; a client connects a DEALER to each under one identity.
On `intake` a client sends one of `requests` per message; on `output` the engine answers with lists of `events`,
one list per client and flush, in the order in which they happened. A request's events are

    Accepted, Begun, FirstToken, (Delta | Ended)*, then exactly one of Finished | Failed     (or Failed alone)

with one Ended for each answer before a Finished. Those of an Embed or Rerank are

    Accepted, Embedded | Ranked, Finished                                             (or Failed for what is left)

those of a Transcribe or Speak

    Accepted, Begun, FirstToken, (TranscriptDelta | AudioDelta)*, Transcribed, Finished           (likewise)

A Generate that is `held` stays at Accepted until its client says Proceed. A Count is answered with one
Counted | Failed, a Reconcile with one Reconciled. Others import from here, not from the modules.
"""

from inference.engine.protocol.events import (
    Accepted,
    AudioDelta,
    Begun,
    CallDelta,
    Counted,
    Delta,
    Diagnosis,
    Divergence,
    Embedded,
    Ended,
    Event,
    Failed,
    FailureCode,
    Finished,
    FinishReason,
    FirstToken,
    ModelKind,
    Ranked,
    Ready,
    Reconciled,
    Segment,
    Stats,
    Tally,
    TokenLogprob,
    TopLogprob,
    Traits,
    Transcribed,
    TranscriptDelta,
    Word,
)
from inference.engine.protocol.requests import (
    AudioFormat,
    Cancel,
    ClientMessage,
    Count,
    Embed,
    Format,
    Generate,
    Hello,
    Media,
    Proceed,
    Reconcile,
    Request,
    Rerank,
    Sampling,
    Share,
    SharedText,
    Speak,
    Transcribe,
)
from inference.engine.protocol.wire import (
    LOAD_FAILED,
    PARENT,
    addresses,
    decode_client_message,
    decode_events,
    encode,
)

__all__ = [
    "LOAD_FAILED",
    "PARENT",
    "Accepted",
    "AudioDelta",
    "AudioFormat",
    "Begun",
    "CallDelta",
    "Cancel",
    "ClientMessage",
    "Count",
    "Counted",
    "Delta",
    "Diagnosis",
    "Divergence",
    "Embed",
    "Embedded",
    "Ended",
    "Event",
    "Failed",
    "FailureCode",
    "FinishReason",
    "Finished",
    "FirstToken",
    "Format",
    "Generate",
    "Hello",
    "Media",
    "ModelKind",
    "Proceed",
    "Ranked",
    "Ready",
    "Reconcile",
    "Reconciled",
    "Request",
    "Rerank",
    "Sampling",
    "Segment",
    "Share",
    "SharedText",
    "Speak",
    "Stats",
    "Tally",
    "TokenLogprob",
    "TopLogprob",
    "Traits",
    "Transcribe",
    "Transcribed",
    "TranscriptDelta",
    "Word",
    "addresses",
    "decode_client_message",
    "decode_events",
    "encode",
]
