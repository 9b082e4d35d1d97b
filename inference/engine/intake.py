"""The intake thread: receives requests, makes prompts of them, refuses what can't run."""

import logging
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec
import zmq
from msgspec import structs

from inference.engine import protocol
from inference.engine.model import LoadedModel
from inference.engine.monitors.repetition import RepetitionDetector
from inference.engine.output import Output, Say, Subscribe
from inference.engine.sequence import Sequence
from inference.engine.text.detokenizer import Detokenizer
from inference.engine.text.stops import StopMatcher
from inference.engine.text.template import PromptError, encode_chat, encode_text

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Refusal(Exception):
    """Why a request can't run, before anything was computed for it."""

    code: protocol.FailureCode
    message: str
    param: str | None = None


@dataclass(slots=True)
class CancelRequest:
    client: bytes
    id: str


@dataclass(slots=True)
class CancelClient:
    """The client is gone: end all of its requests."""

    client: bytes


@dataclass(slots=True)
class ReconcileRequest:
    client: bytes
    ids: list[str]


@dataclass(slots=True)
class Limits:
    """What the engine's options say about requests."""

    default_max_tokens: int | None = None
    """Of an answer, where neither request nor gateway name a number."""
    greedy: bool = False
    """Every request is greedy, whatever it asks for."""
    sampling: dict[str, float] = field(default_factory=dict)
    """The operator's defaults, which win over the model's own."""
    timeout: float | None = None
    """Seconds from arrival to the end."""
    loops: Callable[[], RepetitionDetector | None] = lambda: None
    """A repetition detector for a new request."""
    context: Callable[[int], int] = lambda length: length
    """The context that new requests get of the model's, in tokens: less while memory is short."""


Work = Sequence | CancelRequest | CancelClient | ReconcileRequest
"""What the step thread receives."""


class Intake:
    """Owns the intake socket. submit: hands work to the step thread."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        address: str,
        *,
        model: LoadedModel,
        ready: protocol.Ready,
        submit: Callable[[Work], None],
        output: Output,
        limits: Limits,
    ) -> None:
        self._socket = context.socket(zmq.ROUTER)
        self._socket.router_handover = True
        self._socket.rcvhwm = 0
        self._socket.bind(address)
        self._model = model
        self._ready = ready
        self._submit = submit
        self._output = output
        self._limits = limits
        self.thread = threading.Thread(target=self._run, name="intake", daemon=True)

    def _run(self) -> None:
        try:
            self._serve()
        except Exception:
            # Without this thread nobody reaches the engine any more; a new process is better than a deaf one.
            log.exception("the intake thread failed")
            os._exit(1)

    def _serve(self) -> None:
        while True:
            client, body = self._socket.recv_multipart()
            try:
                message = protocol.decode_client_message(body)
            except msgspec.DecodeError as error:
                log.warning("a message that is not of this protocol was dropped: %s", error)
                continue
            self._handle(client, message)

    def _handle(self, client: bytes, message: protocol.ClientMessage) -> None:
        match message:
            case protocol.Hello():
                self._output.put(Subscribe(client))
                self._output.put(Say(client, self._ready))
            case protocol.Generate():
                if message.instance in ("", self._ready.instance):
                    self._generate(client, message)
            case protocol.Cancel(id):
                self._submit(CancelRequest(client, id))
            case protocol.Reconcile(ids):
                self._submit(ReconcileRequest(client, ids))

    def _generate(self, client: bytes, request: protocol.Generate) -> None:
        try:
            sequence = make_sequence(client, request, self._model, self._limits)
        except Refusal as refusal:
            failed = protocol.Failed(request.id, refusal.code, refusal.message, refusal.param)
            self._output.put(Say(client, failed))
        except Exception:
            # One odd request must not take the thread that receives all others with it.
            log.exception("request %s can't be prepared", request.id)
            failed = protocol.Failed(request.id, "engine_error", "The engine could not prepare this request.")
            self._output.put(Say(client, failed))
        else:
            self._output.put(Say(client, protocol.Accepted(request.id, len(sequence.prompt))))
            self._submit(sequence)


def make_sequence(
    client: bytes, request: protocol.Generate, model: LoadedModel, limits: Limits | None = None
) -> Sequence:
    """Tokenises the prompt and checks it against the model. Raises Refusal."""
    limits = limits or Limits()
    prompt, param = _prompt(request, model)
    context = limits.context(model.context_length)
    room = context - len(prompt)
    wanted = request.max_tokens
    if room < 1 or (wanted is not None and wanted > room):
        answer = "" if wanted is None else f" and up to {wanted} of an answer"
        raise Refusal(
            "context_length_exceeded",
            f"This model's context holds {context} tokens"
            f"{' while memory is short' if context < model.context_length else ''}, "
            f"but the prompt has {len(prompt)}{answer}. Shorten the prompt"
            + ("." if wanted is None or room < 1 else " or lower max_tokens."),
            param,
        )
    for token in request.sampling.logit_bias:
        if not 0 <= token < model.vocab:
            raise Refusal("invalid_prompt", f"logit_bias: this model has no token {token}.", "logit_bias")
    sequence = Sequence(
        id=request.id,
        client=client,
        prompt=prompt,
        sampling=_sampling(request, model, limits),
        max_tokens=min(limits.default_max_tokens or request.default_max_tokens, room) if wanted is None else wanted,
        detokenizer=Detokenizer(model.tokenizer),
        stops=StopMatcher(request.stop),
        user=request.user,
        weight=request.weight,
        priority=request.priority,
        salt=request.salt,
        loops=limits.loops(),
    )
    if limits.timeout is not None:
        sequence.deadline = sequence.received + limits.timeout
    return sequence


def _sampling(request: protocol.Generate, model: LoadedModel, limits: Limits) -> protocol.Sampling:
    """What the request says; else the operator; else the model's publishers."""
    defaults = model.defaults | limits.sampling
    sampling = structs.replace(
        request.sampling, **{name: defaults[name] for name in request.omitted if name in defaults}
    )
    return structs.replace(sampling, temperature=0.0) if limits.greedy else sampling


def _prompt(request: protocol.Generate, model: LoadedModel) -> tuple[list[int], str]:
    """The prompt's tokens and the name of the field they came from."""
    param = "messages" if request.messages is not None else "prompt"
    try:
        if request.messages is not None:
            # Thinking is asked for, request by request, and is off unless it is.
            options = {"enable_thinking": False, **request.template}
            prompt = encode_chat(model.tokenizer, request.messages, options)
        elif request.tokens is not None:
            prompt = request.tokens
            stranger = next((token for token in prompt if not 0 <= token < model.vocab), None)
            if stranger is not None:
                raise Refusal("invalid_prompt", f"prompt: this model has no token {stranger}.", param)
        else:
            prompt = encode_text(model.tokenizer, request.text or "")
    except PromptError as error:
        raise Refusal("invalid_prompt", str(error), error.param or param) from error
    if not prompt:
        raise Refusal("invalid_prompt", f"{param}: the prompt is empty.", param)
    return prompt, param
